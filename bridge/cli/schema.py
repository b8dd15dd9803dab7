"""The command `nemo-bridge schema`: print a schema of the bus contract, or all of it as an AsyncAPI document."""

import difflib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import bridge
from bridge.cli import terminal
from bridge.cli.exit_codes import ExitCode
from bridge.contract import MESSAGE_TYPES, message_type_for

#: The names that are no message types.
_OTHERS: Final = {
    "asyncapi": "the whole contract as an AsyncAPI document",
    "configuration": "the configuration as data",
    "event": "the envelope of every event",
}
#: The AsyncAPI document is the only file that is named otherwise.
_ASYNCAPI: Final = "asyncapi"


def show(name: str) -> ExitCode:
    """Print a schema; return `ExitCode.INVALID` where there is none by that name.

    Args:
        name: Its name, such as `command/request`, `asyncapi`, or the type of an event that the contract has.
    """
    known = names()
    if name not in known:
        kind = message_type_for(name)
        if kind is None:
            close = difflib.get_close_matches(name, [*known, *_last_parts(known)], n=3)
            meant = list(dict.fromkeys(_last_parts(known).get(one, one) for one in close))
            hint = f"; did you mean {' or '.join(meant)}?" if meant else "; `nemo-bridge schema --list` has them all"
            terminal.complain(f"there is no schema {name}{hint}")
            return ExitCode.INVALID
        name = kind.name
    text = (_folder() / ("asyncapi.json" if name == _ASYNCAPI else f"{name}.schema.json")).read_text("utf-8")
    terminal.say(text.removesuffix("\n"))
    return ExitCode.OK


def show_names() -> None:
    """Print the names of all schemas, each with what it describes."""
    known = names()
    width = max(map(len, known))
    for name, text in known.items():
        terminal.say(f"{name:<{width}}  {text}")


def names() -> dict[str, str]:
    """Return the names of all schemas with what they describe, sorted."""
    found = dict(_OTHERS)
    for kind in MESSAGE_TYPES:
        topic = kind.topic.replace("{integration}", "<id>").replace("{event_type}", "<type>")
        found.setdefault(kind.name, topic.replace("{anything}", "<anything else>"))
    return dict(sorted(found.items()))


def _last_parts(known: dict[str, str]) -> dict[str, str]:
    """Return each name by its part behind the slash: somebody who types `request` means `command/request`."""
    return {name.rpartition("/")[2]: name for name in sorted(known, reverse=True)}


def _folder() -> Traversable:
    """Return the folder of the schemas: inside the package in a wheel, beside it in the project's own folder."""
    inside = resources.files(bridge) / "schemas"
    return inside if inside.is_dir() else Path(bridge.__file__).parents[1] / "schemas"
