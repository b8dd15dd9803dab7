"""`nemo-bridge init` writes a recipe that works, and says what to do with it."""

import errno
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from bridge.cli import init
from bridge.cli.main import app
from bridge.config import load
from bridge.core.endpoint import AuthNone
from bridge.core.errors import InvalidError
from bridge.registry import AdapterRegistry

RECIPES = init.recipes()
#: What the commands of recipes are, beside those of the bridge.
TOOLS = {"echo", "cat", "mkdir", "nemo", "redis-cli"}


def test_the_recipes_are_there() -> None:
    """Those that the documentation names, and no others."""
    expected = {"cron", "files", "json-rpc", "mqtt-to-http", "nats", "nemo", "queue-worker", "redis-stream"}
    assert set(RECIPES) == expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_passes_check_as_it_is_written(name: str, tmp_path: Path) -> None:
    """No complaint and no warning, without a variable of the environment, and under any file name."""
    file = tmp_path / "a b.hcl"
    init.write(name, file)
    configuration = load([file], adapters=AdapterRegistry(), environ={})
    assert configuration.integrations
    assert configuration.routes or configuration.subscriptions
    assert configuration.warnings == ()


def test_what_a_recipe_suggests_in_a_comment_works(tmp_path: Path) -> None:
    """The `auth` blocks that are commented out are good ones."""
    tried = 0
    for name, recipe in RECIPES.items():
        text, count = re.subn(
            r"^  # auth \{\n(  # .*\n)*?  # \}$",
            lambda found: re.sub(r"^  # ", "  ", found[0], flags=re.MULTILINE),
            recipe.text,
            flags=re.MULTILINE,
        )
        file = tmp_path / f"{name}.hcl"
        file.write_text(text)
        environ = dict.fromkeys(re.findall(r"\benv\.(\w+)", text), "s3cret")
        configuration = load([file], adapters=AdapterRegistry(), environ=environ)
        assert count == sum(type(one.auth) is not AuthNone for one in configuration.integrations.values())
        tried += count
    assert tried >= 4


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_for_a_person_to_read(name: str) -> None:
    """It begins with what it is for, and has no long lines and nothing but ASCII and arrows."""
    recipe = RECIPES[name]
    assert recipe.summary.endswith(".")
    assert recipe.text.endswith("\n")
    assert max(map(len, recipe.text.splitlines())) <= 120
    assert recipe.text.replace("→", "").replace("…", "").isascii()


@pytest.mark.parametrize("name", RECIPES)
def test_the_commands_of_a_recipe_exist(name: str) -> None:
    """Each begins with a command of the bridge, or a usual tool, and runs the file that is written."""
    words = [shlex.split(command) for command in RECIPES[name].commands]
    ours = get_command(app).commands
    assert ["nemo-bridge", "run", RECIPES[name].file] in words
    for first, *more in words:
        assert (first == "nemo-bridge" and more[0] in ours) or first in TOOLS
        assert not [word for word in more if word.endswith(".hcl") and word != RECIPES[name].file]


def test_the_next_commands_name_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the file itself and on the terminal they name the file that was written, quoted for a shell."""
    file = tmp_path / "my shop.hcl"
    init.write("json-rpc", file)
    said = capsys.readouterr().out
    run = f"nemo-bridge run '{file}'"
    assert said.startswith(f"wrote {file}: JSON-RPC")
    assert f"\n  {run}\n" in said
    assert f"#   {run}\n" in file.read_text()
    assert "shop.hcl" not in file.read_text().replace(str(file), "")
    assert said.endswith(f"\n  nemo-bridge test '{file}'\n")
    assert f": nemo-bridge test '{file}'\n" in file.read_text()


def test_a_folder_gets_the_recipes_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does the working directory where no file is named."""
    init.write("json-rpc", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shop.hcl"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    init.write("json-rpc", None)
    assert (tmp_path / "here" / "shop.hcl").read_text() == RECIPES["json-rpc"].text


@pytest.mark.parametrize("kind", ["file", "link that leads nowhere"])
def test_nothing_is_overwritten(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there stays as it is, and the person is told."""
    file = tmp_path / "shop.hcl"
    if kind == "file":
        file.write_text("mine")
    else:
        file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(typer.Exit):
        init.write("json-rpc", file)
    assert "exists already" in capsys.readouterr().err
    if kind == "file":
        assert file.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_what_cannot_be_written_whole_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk leaves no half of a configuration."""

    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    really_open = Path.open

    def opened(path: Path, mode: str = "r", **more: Any) -> Any:
        found = really_open(path, mode, **more)
        if mode != "x":
            return found
        found.close()
        return Full()

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(typer.Exit):
        init.write("json-rpc", tmp_path / "shop.hcl")
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_wrong_names(tmp_path: Path) -> None:
    """A recipe that is not there is told what is near; a file name must fit into a command."""
    with pytest.raises(InvalidError, match=r"no recipe jsonrpc \(did you mean `json-rpc`\?\); there are `cron`"):
        init.write("jsonrpc", None)
    with pytest.raises(InvalidError, match="control characters"):
        init.write("json-rpc", tmp_path / "a\nb.hcl")
    assert list(tmp_path.iterdir()) == []


def test_the_list_has_one_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    """The name, and what it is for."""
    init.show_names()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    assert all(line.endswith(".") for line in lines)
