"""What `nemo-bridge explain` prints."""

import pytest
import typer

from bridge.cli import explain
from bridge.config.explanations import EXPLANATIONS
from bridge.core.diagnostic import Code


@pytest.mark.parametrize("text", ["NB012", "nb12", "12", " nb012 "])
def test_a_code(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """However it is written, there are title, text, and an example that is wrong and one that is right."""
    explain.show(text)
    assert capsys.readouterr().out == (
        "NB012: A string, comment or here-document has no end\n"
        "\n"
        f"{EXPLANATIONS[Code.UNCLOSED_STRING].text}\n"
        "\n"
        "Wrong:\n"
        "\n"
        "    log {\n"
        '      level = "info\n'
        "    }\n"
        "\n"
        "Right:\n"
        "\n"
        "    log {\n"
        '      level = "info"\n'
        "    }\n"
    )


@pytest.mark.parametrize("text", ["NB999", "none", "", "NB0120"])
def test_no_code(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is an error that says how to list them."""
    with pytest.raises(typer.Exit) as left:
        explain.show(text)
    assert left.value.exit_code == 2
    assert "`nemo-bridge explain` lists all" in capsys.readouterr().err


def test_all_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a code, all are listed with their titles."""
    explain.show_all()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(Code)
    assert "NB012  A string, comment or here-document has no end" in lines
