"""`nemo-bridge schema` prints what `schemas/` has."""

import pytest

from bridge.cli import schema
from tests.support.bus.schemas import FOLDER

FILES = sorted(
    path.relative_to(FOLDER).as_posix().removesuffix(".json").removesuffix(".schema") for path in FOLDER.rglob("*.json")
)


def test_the_list_has_every_file(capsys: pytest.CaptureFixture[str]):
    """Each file of the folder is in the list, and nothing else."""
    schema.show_names()
    assert sorted(line.split()[0] for line in capsys.readouterr().out.splitlines()) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_schema_is_printed_as_it_stands_in_its_file(name: str, capsys: pytest.CaptureFixture[str]):
    """What is printed is the file, byte for byte."""
    assert schema.show(name) == 0
    file = FOLDER / ("asyncapi.json" if name == "asyncapi" else f"{name}.schema.json")
    assert capsys.readouterr().out == file.read_text("utf-8")


def test_an_event_type_is_a_name_too(capsys: pytest.CaptureFixture[str]):
    """The type of an event leads to the schema of its payload."""
    assert schema.show("health.shop") == 0
    assert capsys.readouterr().out == (FOLDER / "health/integration.schema.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("helth/bridge", "did you mean health/bridge or "),
        ("request", "did you mean command/request"),
        ("nonsense-of-a-name", "--list"),
    ],
)
def test_a_wrong_name_is_told_what_is_near(name: str, hint: str, capsys: pytest.CaptureFixture[str]):
    """There is no output but one line of error, with what was probably meant."""
    assert schema.show(name) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"there is no schema {name}; " in err
    assert hint in err
    assert err.count("\n") == 1
