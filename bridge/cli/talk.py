"""The commands `nemo-bridge emit`, `call` and `tap`: send and read events by hand."""

import asyncio
import contextlib
import json
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from bridge.bus import encode_event, read_events
from bridge.cli import sidecar
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import seconds
from bridge.cli.terminal import complain, console, failure, json_text, say
from bridge.client import BusClient, CallFailedError, CurveClient, RpcClient
from bridge.core.bytes_object import with_bytes
from bridge.core.errors import BusError, InvalidError
from bridge.core.files import append_whole
from bridge.core.filters import AnyOf, Glob
from bridge.core.model import Event
from bridge.core.printable import printable
from bridge.core.values import with_text_keys

#: Colour of an event type by its first segment; others are plain.
_COLOURS = {"response": "green", "message": "cyan", "health": "blue", "resilience": "yellow", "receipt": "magenta"}
#: The ends of event types that say that something has failed.
_FAILURES = (".opened", ".failed", ".rejected", ".dead_letter", ".given_up", ".dead_lettered", ".expired")

#: Seconds to wait for the bus.
PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True)
class BusOptions:
    """The options that tell where the bus is and which keys to use. What is missing has a default.

    Attributes:
        config: A configuration file that names the addresses and the keys.
        publish: The address to publish to; it comes before the configuration's.
        subscribe: The address to subscribe to; it comes before the configuration's.
        key: The file of the key pair to use on a closed bus.
        server_key: The file of that bus' public key.
    """

    config: Path | None
    publish: str | None
    subscribe: str | None
    key: Path | None = None
    server_key: Path | None = None

    def client(self, prefixes: Sequence[str], *, listens: bool = True) -> BusClient:
        """Return a client for this bus, which receives event types with these prefixes.

        With `listens` False it does not count as a listener of them.

        Raises:
            InvalidError: Only one of the two keys is given, or an address or a key cannot be used.
            ConfigError: The configuration has errors.
            KeyFileError: A key file cannot be read.
        """
        publish, subscribe, curve = self.publish, self.subscribe, None
        key, server_key = self.key, self.server_key
        bytes_as: Literal["object", "bin"] = "object"
        if self.config is not None:
            bus = sidecar.read([self.config]).bus
            publish, subscribe = publish or bus.publish, subscribe or bus.subscribe
            bytes_as = bus.bytes
            if bus.curve is not None:
                # A program that can read the bridge's own key may use it, as an application.
                key = key or bus.curve.secret_key
                server_key = server_key or bus.curve.server_key or bus.curve.secret_key
        if (key is None) != (server_key is None):
            raise InvalidError(
                "a closed bus needs both: --key-file, our key pair, and --server-key, the bus' public key"
            )
        try:
            if key is not None and server_key is not None:
                curve = CurveClient.read(key, server_key)
            return BusClient(
                publish,
                subscribe,
                prefixes=prefixes,
                curve=curve,
                bytes_as=bytes_as,
                listens=listens,
                patience=PATIENCE,
            )
        except BusError as error:
            raise InvalidError(str(error)) from None


def _json(text: str, what: str) -> Any:
    if text == "-":
        text = sys.stdin.read()
    try:
        return with_bytes(json.loads(text), what)
    except RecursionError:
        raise InvalidError(f"{what} is nested too deeply") from None
    except json.JSONDecodeError as error:
        hint = ' (text needs quotes: "…")' if text[:1].isalpha() else ""
        raise InvalidError(f"{what} is not JSON: {error}{hint}") from None
    except ValueError:  # Python's limit for the digits of an integer
        raise InvalidError(f"{what} has an integer of more than 64 bits") from None


def emit(options: BusOptions, event_type: str, payload: str, correlation_id: str | None, header: Sequence[str]) -> None:
    """Publish one event on the bus."""
    value = _json(payload, "the payload")
    headers = {}
    for pair in header:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidError(f"--header {pair}: write it as NAME=VALUE")
        headers[name] = text

    async def put() -> None:
        async with options.client(()) as bus:
            bus.emit(event_type, value, correlation_id=correlation_id, headers=headers or None)

    asyncio.run(put())


def call(options: BusOptions, integration: str, method: str, params: str, timeout: str, key: str | None) -> None:
    """Call a method and print its result."""
    arguments = _json(params, "JSON") if params else None
    limit = seconds("--timeout", timeout)

    async def ask() -> Any:
        async with options.client(()) as bus:
            return await RpcClient(bus, integration).call(method, arguments, timeout=limit, key=key)

    try:
        result = asyncio.run(ask())
    except CallFailedError as failed:
        raise failure(f"{integration} {method}: {failed} (attempts: {failed.attempts})") from None
    except TimeoutError:
        raise failure(
            f"no response within {limit:g} s; is a bridge with integration {integration!r} on this bus?",
            ExitCode.NO_ANSWER,
        ) from None
    say(json_text(result, indent=2))


def tap(
    options: BusOptions, patterns: Sequence[str], *, as_json: bool, count: int, record: Path | None, replay: Path | None
) -> None:
    """Show events, from the bus or from a recording, until interrupted, or until `count` of them."""
    try:
        wanted = AnyOf(tuple(Glob(pattern) for pattern in patterns))
    except ValueError as error:
        raise InvalidError(str(error)) from None
    output = console(soft_wrap=True)
    show = _show_json if as_json else _show
    with contextlib.ExitStack() as files:
        copy = None if record is None else files.enter_context(_opened(record, "ab"))

        def take(event: Event) -> bool:
            if not wanted.matches(event.event_type, event.source):
                return False
            show(output, event)
            if copy is not None:
                try:
                    append_whole(copy.fileno(), encode_event(event))
                except OSError as error:
                    raise failure(f"{record}: {error.strerror}; the recording ends before this event") from None
            return True

        if replay is not None:
            kept = filter(take, read_events(files.enter_context(_opened(replay, "rb"))))
            deque(islice(kept, count or None), maxlen=0)
        else:
            asyncio.run(_watch(options, take, count))


def _opened(path: Path, mode: Literal["ab", "rb"]) -> BinaryIO:
    try:
        return path.open(mode)
    except OSError as error:
        raise InvalidError(f"{path}: {error.strerror}") from None


async def _watch(options: BusOptions, take: Callable[[Event], bool], count: int) -> None:
    shown = 0
    bus = options.client(("",), listens=False)
    with bus.listen() as events:
        async with bus:
            while count == 0 or shown < count:
                event = await events.get()
                if events.missed:
                    complain(f"too slow for {events.missed} events, which are not shown")
                shown += event.source != bus.source and take(event)


def _as_json(value: Any) -> str:
    """Return an event's content as JSON text, as near as JSON can express it: MessagePack has keys that JSON lacks."""
    try:
        return json_text(value)
    except TypeError:
        return json_text(with_text_keys(value))


def _time(milliseconds: int) -> str:
    """Return local time; a dash for a time stamp beyond the calendar, since anybody may write to the bus."""
    try:
        at = datetime.fromtimestamp(milliseconds / 1000).astimezone()
    except (OverflowError, OSError, ValueError):
        return f"{'-':12}"
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"


def _show_json(_: Console, event: Event) -> None:
    line = {
        "id": event.id,
        "event_type": event.event_type,
        "payload": event.payload,
        "timestamp": event.timestamp,
        "source": event.source,
        "correlation_id": event.correlation_id,
        "headers": event.headers,
    }
    print(_as_json(line), flush=True)


def _is_failure(event: Event) -> bool:
    """Return whether an event says that something has failed."""
    family = event.event_type.partition(".")[0]
    if family == "response":
        return isinstance(event.payload, dict) and event.payload.get("ok") is False
    return family in {"resilience", "receipt"} and event.event_type.endswith(_FAILURES)


def _show(output: Console, event: Event) -> None:
    colour = _COLOURS.get(event.event_type.partition(".")[0], "white")
    if _is_failure(event):
        colour = "red"
    line = Text(f"{_time(event.timestamp)}  ", style="dim")
    line.append(printable(event.event_type), style=f"bold {colour}")
    line.append(f"  {printable(event.source or '-')}", style="dim")
    if event.correlation_id:
        line.append(f"  ↔ {printable(event.correlation_id[:8])}", style="dim")
    output.print(line)
    body = _as_json(event.payload)
    if len(body) > 400:
        body = body[:400] + " …"
    output.print(JSONHighlighter()(Text(f"    {body}")))
