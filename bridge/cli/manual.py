"""`python -m bridge.cli.manual PAGE MANUAL [--check]`: write the reference of all commands from their definitions.

PAGE is the page of the documentation, in Markdown; MANUAL is the manual page, for `man`.
"""

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from typer.main import get_command

from bridge import __version__
from bridge.cli.exit_codes import MEANINGS
from bridge.cli.main import app

_NAME: Final = "nemo-bridge"
_GENERATED: Final = "Written by scripts/schemas from the commands in bridge/cli; changes here are lost."
#: The names of the options that all commands have that use the bus.
_BUS: Final = frozenset({"config", "publish", "subscribe", "key_file", "server_key"})
#: Environment variables that are no options of a command.
_ENVIRONMENT: Final = {
    "XDG_RUNTIME_DIR": "The folder of the bus' sockets, where the configuration names no addresses (Linux).",
    "XDG_STATE_HOME": "The folder of the outbox, where the configuration has no `data_dir` (Linux).",
    "NO_COLOR": "With any value, nothing is printed in colour.",
}


class Parameter(msgspec.Struct, frozen=True):
    """An argument or option of a command.

    Attributes:
        names: How it is written, as `--config, -c PATH`.
        text: What it does, with its default.
        variable: The environment variable that may have its value.
    """

    names: str
    text: str
    variable: str | None


class Command(msgspec.Struct, frozen=True):
    """A command.

    Attributes:
        name: All its words, as `nemo-bridge keys new`.
        usage: One line that shows how it is called.
        paragraphs: What it does.
        arguments: Its arguments.
        options: Its options, those for the bus left out.
        uses_bus: Whether it has the options for the bus.
        examples: Command lines.
        group: Whether it only groups other commands, and does nothing by itself.
    """

    name: str
    usage: str
    paragraphs: tuple[str, ...]
    arguments: tuple[Parameter, ...]
    options: tuple[Parameter, ...]
    uses_bus: bool
    examples: tuple[str, ...]
    group: bool


def bus_options() -> list[Parameter]:
    """Return the options of all commands that use the bus."""
    program: Any = get_command(app)
    context = program.make_context(_NAME, [], resilient_parsing=True)
    status = program.get_command(context, "status")
    return [_parameter(one, context) for one in status.get_params(context) if one.name in _BUS]


def commands() -> list[Command]:
    """Return all commands: first `nemo-bridge` itself, then each in the order of the help, groups before their own."""
    return list(_commands(get_command(app), None, _NAME))


def _commands(command: Any, parent: Any, name: str) -> Iterator[Command]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    shown = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    uses_bus = {one.name for one in shown} >= _BUS
    left_out = _BUS if uses_bus else frozenset[str]()
    arguments = [_parameter(one, context) for one in shown if one.param_type_name == "argument"]
    options = [
        _parameter(one, context)
        for one in shown
        if one.param_type_name == "option" and one.name != "help" and one.name not in left_out
    ]
    yield Command(
        name=name,
        usage=_usage(name, command, context),
        paragraphs=tuple(" ".join(part.split()) for part in (command.help or "").split("\n\n") if part.strip()),
        arguments=tuple(arguments),
        options=tuple(options),
        uses_bus=uses_bus,
        examples=tuple(line.strip() for line in (command.epilog or "").splitlines()[1:]),
        group=hasattr(command, "commands") and not command.invoke_without_command,
    )
    for word, inside in getattr(command, "commands", {}).items():
        if not inside.hidden:
            yield from _commands(inside, context, f"{name} {word}")


def _parameter(one: Any, context: Any) -> Parameter:
    text = " ".join((one.help or "").split())
    if text and not text.endswith("."):
        text += "."
    default = one.default
    if one.required:
        text += " Required."
    elif not callable(default) and not getattr(one, "is_flag", False) and default not in (None, "", [], ()):
        shown = " ".join(str(value) for value in default) if isinstance(default, list | tuple) else str(default)
        text += f" Default: `{shown}`."
    if one.param_type_name == "argument":
        names = _metavar(one, context)
    else:
        names = ", ".join((*one.opts, *one.secondary_opts))
        if not one.is_flag:
            names += f" {_metavar(one, context)}"
    variable = one.envvar if isinstance(one.envvar, str) else None
    return Parameter(names, text.strip(), variable)


def _metavar(one: Any, context: Any) -> str:
    """Return what stands for the value of a parameter."""
    found: str = one.metavar or (one.display_type(context) or "").strip("<>").upper()
    return found


def _usage(name: str, command: Any, context: Any) -> str:
    """Return one line that shows how a command is called."""
    words = [name, "[OPTIONS]"]
    for one in command.get_params(context):
        if one.param_type_name == "argument":
            word = _metavar(one, context) + ("..." if one.nargs != 1 else "")
            words.append(word if one.required else f"[{word}]")
    if hasattr(command, "commands"):
        words.append("[COMMAND]" if command.invoke_without_command else "COMMAND")
    return " ".join(words)


def _variables() -> dict[str, str]:
    """Return what each environment variable is for."""
    options = {one.variable: f"The same as `{one.names}`." for one in bus_options() if one.variable is not None}
    return options | _ENVIRONMENT


# --- Markdown


def page() -> str:
    """Return the page of the documentation."""
    return "\n".join(_page(commands())) + "\n"


def _page(found: list[Command]) -> Iterator[str]:
    yield f"<!-- {_GENERATED} -->\n\n# Commands\n"
    yield "`nemo-bridge COMMAND --help` says the same on the terminal.\n"
    for command in found:
        yield f"## `{command.name}`\n"
        yield from (f"{paragraph}\n" for paragraph in command.paragraphs)
        yield f"```text\n{command.usage}\n```\n"
        yield from _table("argument", command.arguments)
        yield from _table("option", command.options)
        if command.uses_bus:
            yield "It has the [options for the bus](#options-for-the-bus), too.\n"
        if command.examples:
            yield "Examples:\n\n```sh"
            yield from command.examples
            yield "```\n"
    yield "## Options for the bus\n\nThey tell where the bus is, and which keys to use if it is closed.\n"
    yield from _table("option", bus_options())
    yield "## Exit codes\n\nThey mean the same for every command.\n\n| code | means |\n| --- | --- |"
    yield from (f"| {code.value} | {text} |" for code, text in MEANINGS.items())
    yield "\n## Environment\n\n| variable | meaning |\n| --- | --- |"
    yield from (f"| `{name}` | {text} |" for name, text in sorted(_variables().items()))


def _table(title: str, parameters: Iterable[Parameter]) -> Iterator[str]:
    rows = [f"| `{_cell(one.names)}` | {_cell(one.text)}{_or_variable(one)} |" for one in parameters]
    if rows:
        yield "\n".join((f"| {title} | meaning |\n| --- | --- |", *rows, ""))


def _cell(text: str) -> str:
    """Return a text for a cell of a table."""
    return text.replace("|", "\\|")


def _or_variable(one: Parameter) -> str:
    return "" if one.variable is None else f" Environment: `{one.variable}`."


# --- the manual page


def manual() -> str:
    """Return the manual page, in the man(7) language."""
    return "\n".join(_manual(commands())) + "\n"


def _manual(found: list[Command]) -> Iterator[str]:
    yield f'.\\" {_GENERATED}'
    yield f'.TH NEMO\\-BRIDGE 1 "" "{_NAME} {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"{_roff(_NAME)} \\- {_roff(found[0].paragraphs[0][:1].lower() + found[0].paragraphs[0][1:].rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield f".B {_roff(_NAME)}\n.I COMMAND\n[OPTIONS] [ARGS]..."
    yield ".SH OPTIONS"
    yield from _items(found[0].options)
    yield ".SH COMMANDS"
    for command in found[1:]:
        if command.group:
            continue
        yield f".SS {_roff(command.usage.removeprefix(f'{_NAME} '))}"
        for number, paragraph in enumerate(command.paragraphs):
            yield from ([".PP"] if number else [])
            yield _prose(paragraph)
        yield from _items((*command.arguments, *command.options))
        if command.uses_bus:
            yield ".PP\nIt has the options for the bus, too."
        if command.examples:
            yield ".PP\nExamples:\n.PP\n.EX"
            yield from (f"  {_roff(line)}" for line in command.examples)
            yield ".EE"
    yield ".SH OPTIONS FOR THE BUS"
    yield from _items(bus_options())
    yield ".SH EXIT STATUS"
    for code, text in MEANINGS.items():
        yield f".TP\n.B {code.value}\n{_prose(text)}"
    yield ".SH ENVIRONMENT"
    for name, text in sorted(_variables().items()):
        yield f".TP\n.B {_roff(name)}\n{_prose(text)}"


def _items(parameters: Iterable[Parameter]) -> Iterator[str]:
    for one in parameters:
        yield f".TP\n.B {_roff(one.names)}\n{_prose(one.text + _or_variable(one))}"


def _prose(text: str) -> str:
    """Return a paragraph in lines, with what is in backticks in bold."""
    parts = [_roff(part) for part in text.split("`")]
    parts[1::2] = [f"\\fB{part}\\fR" for part in parts[1::2]]
    lines = textwrap.wrap("".join(parts), 100, break_long_words=False, break_on_hyphens=False)
    return "\n".join(_line(line) for line in lines)


def _roff(text: str) -> str:
    """Return a text of one line with the characters escaped that have a meaning in roff."""
    return _line(text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga"))


def _line(text: str) -> str:
    """Return a line that begins with no request."""
    return f"\\&{text}" if text.startswith((".", "'")) else text


def main() -> int:
    """Run the command; return 1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="scripts/schemas", description="Write the reference of all commands.")
    parser.add_argument("page", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("manual", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something would change")
    arguments = parser.parse_args()
    changed = 0
    for file, text in ((arguments.page, page()), (arguments.manual, manual())):
        if not file.is_file() or file.read_text("utf-8") != text:
            changed += 1
            print(file)
            if not arguments.check:
                file.parent.mkdir(exist_ok=True)
                file.write_text(text, "utf-8")
    return int(arguments.check and changed > 0)


if __name__ == "__main__":
    sys.exit(main())
