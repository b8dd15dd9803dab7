"""The command `nemo-bridge plan`: show what a reload would change."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer
from rich.text import Text

from bridge.cli import sidecar
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import seconds
from bridge.cli.talk import BusOptions, RefusedError, ask, understood
from bridge.cli.terminal import console, json_text, say
from bridge.client import BusClient
from bridge.config.changes import Snapshot, plan_of
from bridge.config.show import MASK
from bridge.core.errors import BusError, ConfigError
from bridge.core.files import read_regular
from bridge.core.payloads import LoadedConfiguration, Reloaded
from bridge.core.printable import printable

if TYPE_CHECKING:
    from bridge.connection import FileStates

#: Seconds to wait for a bridge where the files cannot be read here.
_PATIENCE: Final = 3.0
#: Bytes of a file that is compared.
_LARGEST: Final = 16 << 20
#: The arguments that mean two configurations and no bridge.
_OLD_AND_NEW: Final = 2
#: What a bridge of an earlier version, which knows no fabrics, leaves out of the answer of each command.
_LEFT_OUT: Final[Mapping[str, Mapping[str, Any]]] = {
    "configuration": {"fabrics": {}},
    "reload": {"fabrics": {"added": [], "removed": [], "changed": {}}},
}
#: Keys whose value is always an expression.
_EXPRESSIONS: Final = frozenset({"where", "key"})
#: The beginnings of an expression that was written as such, in contrast to text.
_EXPRESSION: Final = re.compile(r'["{\[]|(event|message)\b')


def plan(
    options: BusOptions, files: Sequence[Path], pairs: Sequence[str], *, running: bool, as_json: bool, timeout: str
) -> bool:
    """Show what would change, and return whether something would.

    Args:
        options: The bus of the running bridge.
        files: Two configurations to compare, or the files to compare the running bridge with; none: its own.
        pairs: Variables, as `NAME=VALUE`.
        running: Whether to compare with the running bridge, also where there are two files.
        as_json: Whether to print the plan as one JSON object, in the form of the answer of `bridge.reload`.
        timeout: How long to wait for the bridge, as on the command line.

    Raises:
        BusError: No bridge answers, or an old one.
        ConfigError: A configuration has faults.
        typer.Exit: The running bridge's own files have faults, which are printed.
    """
    limit = seconds("--timeout", timeout)
    notes: list[str] = []
    if len(files) == _OLD_AND_NEW and not running:
        old, new = (_snapshot(file, pairs) for file in files)
        found = plan_of(old, new)
        title = f"{files[0]} → {files[1]}"
    else:
        found, title = asyncio.run(_ask(options, files, pairs, limit, notes))
    plain: dict[str, Any] = msgspec.to_builtins(found)
    if as_json:
        say(json_text(plain, indent=2))
    else:
        output = console(soft_wrap=True)
        output.print(Text(printable(title), style="dim"))
        for line in (*lines(plain), *(Text(note, style="dim") for note in notes)):
            output.print(line)
    return has_changes(plain)


async def _ask(
    options: BusOptions, files: Sequence[Path], pairs: Sequence[str], limit: float, notes: list[str]
) -> tuple[Reloaded, str]:
    """Return the plan against the running bridge, and what it compares."""
    new, faults = None, None
    try:
        new = sidecar.read(files, pairs, with_placeholders=True) if files else None
    except ConfigError as error:
        # The bridge may have what is missing here, such as its variables; it is asked before this is given up.
        faults, limit = error, min(limit, _PATIENCE)
    if new is not None and options.config is None:
        options = msgspec.structs.replace(options, bus=new.bus)
    try:
        async with options.client(("response.bridge.",)) as bus:
            running = await _command(bus, "configuration", {}, LoadedConfiguration, limit)
            if not files or (not pairs and _are_same(files, running.files)):
                found = await _command(bus, "reload", {"dry_run": True}, Reloaded, limit)
                return found, f"the running bridge → {', '.join(running.files)}"
    except BusError as error:
        raise faults or error from None
    if new is None:
        assert faults is not None  # noqa: S101 - there are files, which could not be read
        raise faults
    old = Snapshot.from_shown(
        integrations=running.integrations,
        routes=running.routes,
        subscriptions=running.subscriptions,
        fabrics=running.fabrics,
        settings=running.settings,
    )
    if any(value == MASK for blocks in (running.integrations, running.settings) for value in _all_values(blocks)):
        notes.append("secrets were not compared: they do not leave the bridge")
    found = plan_of(old, Snapshot.of(new).as_shown(), running.pending)
    return found, f"the running bridge → {', '.join(map(str, files))}"


def _are_same(files: Sequence[Path], running: Sequence[str]) -> bool:
    """Return whether these are the files that the bridge reads."""
    return {file.resolve() for file in files} == {Path(file).resolve() for file in running}


def _all_values(blocks: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    for values in blocks.values():
        yield from values.values()


async def _command(bus: BusClient, name: str, payload: dict[str, Any], kind: Any, limit: float) -> Any:
    """Give the bridge a command and return its result, with what an earlier version leaves out.

    Raises:
        BusError: No bridge answers, or it refuses the command.
        typer.Exit: The bridge's own files have faults, which are printed.
    """
    try:
        whole = await ask(bus, f"bridge.{name}", payload, dict[str, Any], limit)
        return understood(f"bridge.{name}", {**_LEFT_OUT[name], **whole}, kind)
    except RefusedError as error:
        if error.kind == "unknown_operation":
            raise BusError("the running bridge is too old for this command") from None
        if error.kind == "invalid":
            say(str(error), err=True)
            raise typer.Exit(ExitCode.INVALID) from None
        raise


def _snapshot(file: Path, pairs: Sequence[str]) -> Snapshot:
    """Return the values of the configuration in a file or directory, with the content of the files that it names."""
    from bridge.connection import file_states, named_files  # noqa: PLC0415 - only two files on disk need it

    configuration = sidecar.read([file], pairs, with_placeholders=True)
    versions = {name: _contents(file_states(one)) for name, one in configuration.integrations.items()}
    base = (file if file.is_dir() else file.parent).absolute()
    return Snapshot.of(configuration, versions, base, own=_contents(named_files(configuration.bus)))


def _contents(files: "FileStates") -> dict[str, bytes | None]:
    return {path: _content(Path(path)) for path, _ in files}


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path, _LARGEST)
    except OSError:
        return None


# --- output


def has_changes(found: Mapping[str, Any]) -> bool:
    """Return whether a plan changes anything."""
    kinds = (found["integrations"], found["routes"], found["subscriptions"], found["fabrics"])
    return bool(found["needs_restart"] or found["changed"] or any(any(kind.values()) for kind in kinds))


def lines(found: Mapping[str, Any]) -> Iterator[Text]:
    """Yield the lines that show a plan to a person."""
    if not has_changes(found):
        yield Text("no changes")
    for kind in ("integration", "route", "subscription", "fabric"):
        changes = found[f"{kind}s"]
        for name in changes["added"]:
            yield Text(f'+ {kind} "{printable(name)}"', style="green")
        for name in changes["removed"]:
            yield Text(f'- {kind} "{printable(name)}"', style="red")
        for name, keys in changes["changed"].items():
            yield Text(f'~ {kind} "{printable(name)}"', style="yellow")
            yield from _keys(keys)
    for name in found["changed"]:
        if name not in found["integrations"]["changed"]:
            why = "its subscriptions, its fabric, or files that it names"
            yield Text(f'~ integration "{printable(name)}": {why}', style="yellow")
    for name, keys in found["settings"].items():
        yield Text(f"! {printable(name)}, at the next start", style="yellow")
        yield from _keys(keys)
    for name, count in found["stranded"].items():
        events = "1 event waits" if count == 1 else f"{count} events wait"
        yield Text(f'{events} in the outbox for "{printable(name)}", which does not exist then', style="red")


def _keys(keys: Mapping[str, Sequence[Any]]) -> Iterator[Text]:
    for key, (before, after) in keys.items():
        if before == after:
            change = "changed; the value is a secret"
        else:
            change = f"{_shown(key, before)} → {_shown(key, after)}"
        yield Text(f"    {printable(key)}: {printable(change)}")


def _shown(key: str, value: Any) -> str:
    """Return a value as a file has it."""
    if value is None:
        return "(not set)"
    if isinstance(value, str):
        is_expression = key in _EXPRESSIONS or _EXPRESSION.match(value)
        return value if is_expression else json.dumps(value, ensure_ascii=False)
    return json_text(value)
