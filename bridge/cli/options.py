"""Define the options that several commands have."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.main import get_command_name
from typer.models import CommandInfo

from bridge.core.errors import InvalidError

_NUMBER: Final = re.compile(r"\d+(\.\d+)?")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Use the bus addresses and keys of this configuration."),
]
PublishTo = Annotated[
    str | None,
    typer.Option(
        "--publish", metavar="ADDRESS", envvar="NEMO_BUS_PUBLISH", help="The address to which programs publish."
    ),
]
SubscribeTo = Annotated[
    str | None,
    typer.Option(
        "--subscribe",
        metavar="ADDRESS",
        envvar="NEMO_BUS_SUBSCRIBE",
        help="The address from which programs receive events.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        envvar="NEMO_BUS_KEY",
        help="Your key pair for a closed bus: the file NAME.key_secret.",
    ),
]
ServerKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--server-key",
        metavar="FILE",
        envvar="NEMO_BUS_SERVER_KEY",
        help="The public key of the closed bus: a .key file.",
    ),
]


def examples(*lines: str) -> str:
    """Return the end of a command's help: examples, each one line."""
    return "\n".join(("Examples:", *(f"  {line}" for line in lines)))


def unwrap_help(app: typer.Typer) -> None:
    """Let the paragraphs of the commands' help fill the lines of the terminal, whatever lines they have in the code."""
    for command in app.registered_commands:
        paragraphs = (command.help or getattr(command.callback, "__doc__", None) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(one.split()) for one in paragraphs).strip()
    for group in app.registered_groups:
        if group.typer_instance is not None:
            unwrap_help(group.typer_instance)


def only(app: typer.Typer, arguments: Sequence[str]) -> typer.Typer:
    """Return the app with nothing but the command that the first argument names, or the whole app if it names none.

    To build all commands takes a twentieth of a start.
    """
    first = arguments[:1]
    commands = [command for command in app.registered_commands if _name(command) in first]
    groups = [group for group in app.registered_groups if group.name in first]
    if not commands and not groups:
        return app
    found = copy.copy(app)
    found.registered_commands, found.registered_groups = commands, groups
    return found


def _name(command: CommandInfo) -> str:
    return command.name or get_command_name(command.callback.__name__ if command.callback else "")


def seconds(option: str, text: str) -> float:
    """Return the seconds of a duration on the command line: `2`, `"2s"`, `"500ms"`.

    Raises:
        InvalidError: It is not a duration above 0; the message names the option.
    """
    from bridge.core.units import parse_duration  # noqa: PLC0415 - it needs pydantic, which not all commands do

    try:
        found = float(text) if _NUMBER.fullmatch(text) else float(parse_duration(text))
    except ValueError as error:
        raise InvalidError(f"{option}: {error}") from None
    if not found:
        raise InvalidError(f"{option}: write a time above 0")
    return found
