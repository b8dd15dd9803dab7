"""The command `nemo-bridge dead-letters`: list, replay and discard events that could not be delivered."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from bridge.cli.options import ConfigFile, KeyFile, PublishTo, ServerKeyFile, SubscribeTo
from bridge.cli.terminal import console, failure, json_text, say
from bridge.core.errors import InvalidError
from bridge.core.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bridge.cli.talk import BusOptions

#: Seconds that a bridge may take to answer.
_PATIENCE: Final = 30.0
#: Dead letters that are requested at a time.
_PAGE: Final = 200
_RESPONSES: Final = ("response.bridge.",)

T = TypeVar("T")

app = typer.Typer(help="List, show, replay and discard events that could not be delivered.", no_args_is_help=True)

Integration = Annotated[str | None, typer.Option(metavar="NAME", help="Only dead letters of this integration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="The ids that `list` shows.")]
Every = Annotated[bool, typer.Option("--all", help="All dead letters, or all of one integration.")]


@app.command("list")
def list_(
    integration: Integration = None,
    limit: Annotated[int, typer.Option(metavar="NUMBER", help="At most this many, the oldest first.", min=1)] = 100,
    json: AsJson = False,
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """List dead letters, the oldest first."""
    from bridge.cli.talk import BusOptions  # noqa: PLC0415 - each command imports only what it needs

    wanted = {} if integration is None else {"integration": integration}
    letters, total = _run(_read(BusOptions(config, publish, subscribe, key_file, server_key), wanted, limit))
    if json:
        for letter in letters:
            say(_as_json(letter))
    elif letters:
        console().print(_table(letters))
        if total > len(letters):
            say(f"{len(letters)} of {total}; --limit shows more")
    else:
        say("no dead letters")


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `list` shows.")],
    json: AsJson = False,
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Show one dead letter: the event, the error, every attempt."""
    from bridge.cli.talk import BusOptions  # noqa: PLC0415

    letters, _ = _run(_read(BusOptions(config, publish, subscribe, key_file, server_key), {"ids": [letter_id]}, 1))
    if not letters:
        raise failure(f"there is no dead letter {letter_id}")
    if json:
        say(_as_json(letters[0]))
    else:
        console().print(_page(letters[0]))


@app.command()
def replay(
    ids: Ids = None,
    every: Every = False,
    integration: Integration = None,
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Deliver dead letters again, with the same idempotency key and correlation id."""
    from bridge.cli.talk import BusOptions  # noqa: PLC0415

    wanted = _wanted(ids, integration, every=every)
    options = BusOptions(config, publish, subscribe, key_file, server_key)
    say(f"replayed: {_run(_move(options, 'replay', wanted))}")


@app.command()
def discard(
    ids: Ids = None,
    every: Every = False,
    integration: Integration = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Delete dead letters for ever."""
    from bridge.cli.talk import BusOptions  # noqa: PLC0415

    wanted = _wanted(ids, integration, every=every)
    if every and not yes:
        whose = "" if integration is None else printable(f" of {integration}")
        typer.confirm(f"Delete all dead letters{whose}?", abort=True)
    options = BusOptions(config, publish, subscribe, key_file, server_key)
    say(f"discarded: {_run(_move(options, 'discard', wanted))}")


def _wanted(ids: list[str] | None, integration: str | None, *, every: bool) -> dict[str, Any]:
    if bool(ids) == every:
        raise InvalidError("give either ids or --all")
    wanted: dict[str, Any] = {} if integration is None else {"integration": integration}
    return wanted | ({"ids": ids} if ids else {})


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # noqa: PLC0415 - this file is also imported for `--help`

    return asyncio.run(work)


async def _read(options: "BusOptions", wanted: dict[str, Any], limit: int) -> tuple[list[dict[str, Any]], int]:
    """Return dead letters and how many there are; ask page by page, since an answer holds a limited number."""
    from bridge.cli.talk import ask_in_full  # noqa: PLC0415
    from bridge.core.payloads import LetterList  # noqa: PLC0415

    letters: list[dict[str, Any]] = []
    total = 0
    async with options.client(_RESPONSES) as bus:
        while len(letters) < limit:
            page = wanted | {"limit": min(_PAGE, limit - len(letters))}
            if letters:
                page["after"] = letters[-1]["letter_id"]
            found, whole = await ask_in_full(bus, "bridge.dead_letters", page, LetterList, _PATIENCE)
            total = total or found.total
            if not found.letters:
                break
            letters += whole["letters"]
    return letters, total


async def _move(options: "BusOptions", what: str, wanted: dict[str, Any]) -> int:
    from bridge.cli.talk import ask  # noqa: PLC0415
    from bridge.core.payloads import Moved  # noqa: PLC0415

    async with options.client(_RESPONSES) as bus:
        return (await ask(bus, f"bridge.{what}", wanted, Moved, _PATIENCE)).moved


# --- output


def _as_json(letter: dict[str, Any]) -> str:
    return json_text(letter)


def _table(letters: list[dict[str, Any]]) -> "RenderableType":
    from rich.table import Table  # noqa: PLC0415

    table = Table(
        "id",
        "when",
        "integration",
        "operation",
        "event",
        "error",
        "attempts",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for one in letters:
        error = f"{one['error']['kind']}: {one['error']['message']}"
        cells = (
            one["letter_id"],
            _when(one["at"]),
            one["integration"],
            one["operation"],
            one["event"]["event_type"],
            f"unknown outcome; {error}" if one["unknown"] else error,
            str(one["attempts"]),
        )
        table.add_row(*(_plain(printable(cell)) for cell in cells))
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True  # other commands take the id
    return table


def _page(one: dict[str, Any]) -> "RenderableType":
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    event = one["event"]
    rows = {
        "letter": one["letter_id"],
        "integration": f"{one['integration']}, route {one['route']}, {one['operation']}",
        "key": one["idempotency_key"],
        "accepted": _when(one["accepted_ms"]),
        "given up": _when(one["at"]),
        "error": _as_json(one["error"]),
        "outcome": "unknown: the remote may have executed it" if one["unknown"] else "not executed",
        "event": f"{event['event_type']} {event['id']} from {event['source']}, correlation {event['correlation_id']}",
        "payload": _as_json(event["payload"]),
        "attempts": str(one["attempts"]),
    }
    for name, value in rows.items():
        table.add_row(name, _plain(printable(value)))
    for attempt in one["history"]:
        line = f"{_when(attempt['at'])}, {attempt['duration_ms']:.0f} ms: {attempt['error']['kind']}: "
        table.add_row("", _plain(printable(line + attempt["error"]["message"])))
    return table


def _plain(value: str) -> "RenderableType":
    """Return text that `rich` prints as it is, also where it has brackets."""
    from rich.text import Text  # noqa: PLC0415

    return Text(value)


def _when(milliseconds: int) -> str:
    from datetime import datetime  # noqa: PLC0415

    return f"{datetime.fromtimestamp(milliseconds / 1000).astimezone():%Y-%m-%d %H:%M:%S}"
