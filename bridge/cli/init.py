"""The command `nemo-bridge init`: write a configuration to begin with, from a recipe of the package.

A recipe is a file that works as it is. Its first comment says what it is for, and has the commands to try it, indented.
They name the file that is written by default.
"""

import re
import shlex
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

import bridge
from bridge.cli.terminal import failure, say
from bridge.config.diagnostics import near, one_of
from bridge.core.errors import InvalidError

_COMMAND: Final = re.compile(r"#   +(\S.*)")
_DEFAULT_FILE: Final = re.compile(r"nemo-bridge run (\S+\.hcl)")


class Recipe(msgspec.Struct, frozen=True):
    """A configuration to begin with.

    Attributes:
        name: What `nemo-bridge init` knows it by.
        text: The file.
    """

    name: str
    text: str

    @property
    def summary(self) -> str:
        """One line on what it is for."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def file(self) -> str:
        """The name of the file that is written by default."""
        found = _DEFAULT_FILE.search(self.text)
        assert found is not None, f"the recipe {self.name} does not say how it is run"  # noqa: S101
        return found[1]

    @property
    def commands(self) -> list[str]:
        """The commands to try it, in order, each with its comment."""
        head = self.text.partition("\n\n")[0]
        return [found[1] for line in head.splitlines() if (found := _COMMAND.fullmatch(line))]

    def named(self, file: str) -> "Recipe":
        """Return the recipe as it is written to a file with this name."""
        return Recipe(self.name, self.text.replace(self.file, file))


def recipes() -> dict[str, Recipe]:
    """Return all recipes by name, sorted."""
    folder = resources.files(bridge) / "recipes"
    names = sorted(path.name.removesuffix(".hcl") for path in folder.iterdir() if path.name.endswith(".hcl"))
    return {name: Recipe(name, (folder / f"{name}.hcl").read_text("utf-8")) for name in names}


def show_names() -> None:
    """Print the name of each recipe with what it is for."""
    known = recipes()
    width = max(map(len, known))
    for recipe in known.values():
        say(f"{recipe.name:<{width}}  {recipe.summary}")


def write(name: str, into: Path | None) -> None:
    """Write a recipe to a file that does not exist yet, and say what to do next.

    Args:
        name: The recipe's.
        into: The file, or a folder in which the recipe's own file name is used; None for the working directory.

    Raises:
        InvalidError: There is no such recipe, or the file's name cannot be used.
        typer.Exit: The file exists, or cannot be written; the person was told why.
    """
    known = recipes()
    if name not in known:
        raise InvalidError(f"there is no recipe {name}{near(name, known)}; there are {one_of(known)}")
    recipe = known[name]
    path = into or Path(recipe.file)
    try:
        if path.is_dir():
            path /= recipe.file
        if not str(path).isprintable():
            raise InvalidError(f"--into {str(path)!r}: a name with control characters cannot be used in commands")
        written = shlex.quote(str(path))
        recipe = recipe.named(written)
        _write_new(path, recipe.text)
    except FileExistsError:
        raise failure(f"{path} exists already, and is left as it is; name another file: --into FILE") from None
    except OSError as error:
        raise failure(f"{path}: {error.strerror}") from None
    say(f"wrote {path}: {recipe.summary}")
    say("Read it, and try it, each command in a terminal of its own:")
    for command in recipe.commands:
        say(f"  {command}")
    say("The tests at its end need none of that, no bus and no secret:")
    say(f"  nemo-bridge test {written}")


def _write_new(path: Path, text: str) -> None:
    """Write a file that does not exist yet; what cannot be written whole is removed. Raises OSError."""
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink()
            raise
