"""What all commands share that talk to a bridge over its bus; and `nemo-bridge call` and `tap`."""

import asyncio
import contextlib
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeVar

import msgspec

from bridge.bus import encode_event, read_events
from bridge.cli import sidecar
from bridge.cli.event_lines import show_event, show_event_as_json
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import seconds
from bridge.cli.terminal import complain, console, failure, json_text, say
from bridge.client import BusClient, CallFailedError, CurveClient, RpcClient
from bridge.config import BusSettings
from bridge.core.bytes_object import with_bytes
from bridge.core.errors import BusError, ErrorObject, InvalidError, NoBusError
from bridge.core.files import append_whole
from bridge.core.filters import AnyOf, Glob
from bridge.core.model import Event
from bridge.core.near import near_name
from bridge.core.payloads import Failure

#: First segments of the event types of the bus contract, and those that are followed by an integration's label.
_OF_INTEGRATIONS: Final = frozenset({"health", "integration", "message", "receipt", "resilience"})
_FAMILIES: Final = _OF_INTEGRATIONS | {"bridge", "client", "response"}
#: What may stand there besides.
_NO_INTEGRATIONS: Final = frozenset({"bridge", "bus", "fabric", "node"})

#: Seconds to wait for the bus.
PATIENCE: Final = 5.0


_Result = TypeVar("_Result")


class BusOptions(msgspec.Struct, frozen=True):
    """The options that tell where the bus is and which keys to use. What is missing has a default.

    Attributes:
        config: A configuration file that names the addresses and the keys.
        publish: The address to publish to; it comes before the configuration's.
        subscribe: The address to subscribe to; it comes before the configuration's.
        key: The file of the key pair to use on a closed bus.
        server_key: The file of that bus' public key.
        bus: The `bus` block of a configuration that was read already, in place of `config`.
    """

    config: Path | None
    publish: str | None
    subscribe: str | None
    key: Path | None = None
    server_key: Path | None = None
    bus: BusSettings | None = None

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
        bus = self.bus if self.config is None else sidecar.read([self.config]).bus
        if bus is not None:
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


def json_value(text: str, what: str) -> Any:
    """Return the value of a JSON text, or of standard input where the text is `-`.

    Raises:
        InvalidError: It is not JSON, or has what the bus cannot carry; the message begins with `what`.
    """
    if text == "-":
        text = sys.stdin.read()
    try:  # where the locale has no UTF-8, Python keeps other bytes as halves of surrogate pairs
        text = text.encode(errors="surrogateescape").decode()
    except UnicodeError:
        raise InvalidError(f"{what} is not UTF-8") from None
    try:
        return with_bytes(json.loads(text), what)
    except RecursionError:
        raise InvalidError(f"{what} is nested too deeply") from None
    except json.JSONDecodeError as error:
        hint = ' (text needs quotes: "…")' if text[:1].isalpha() else ""
        raise InvalidError(f"{what} is not JSON: {error}{hint}") from None
    except ValueError:  # Python's limit for the digits of an integer
        raise InvalidError(f"{what} has an integer of more than 64 bits") from None


def understood(command: str, value: Any, kind: type[_Result]) -> _Result:
    """Return an answer of a bridge, or its result, as what the contract has for it.

    Raises:
        BusError: It is something else: any program on the bus may have written it.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BusError(f"the bridge's answer to {command} cannot be read: {error}") from None


class RefusedError(BusError):
    """The bridge has refused a command; the message is the bridge's.

    Attributes:
        kind: The kind of the error.
    """

    def __init__(self, error: ErrorObject) -> None:
        super().__init__(error.message)
        self.kind = error.kind


async def ask(bus: BusClient, command: str, payload: dict[str, Any], kind: type[_Result], limit: float) -> _Result:
    """Give the bridge a command and return its result.

    Args:
        bus: The bus, which receives `response.bridge.`.
        command: The command, as `bridge.reload`.
        payload: Its arguments.
        kind: What the contract has for the result.
        limit: Seconds to wait for the answer.

    Raises:
        NoBusError: No bridge has answered in time.
        RefusedError: The bridge has answered with an error.
        BusError: The answer is none of the contract: any program on the bus may write one.
    """
    return (await ask_in_full(bus, command, payload, kind, limit))[0]


async def ask_in_full(
    bus: BusClient, command: str, payload: dict[str, Any], kind: type[_Result], limit: float
) -> tuple[_Result, Any]:
    """Give the bridge a command; return its result as `ask` does, and also as it came.

    What came may have keys that a newer bridge has added.
    """
    try:
        answer = (await bus.ask(command, payload, timeout=limit)).payload
    except TimeoutError:
        raise NoBusError(f"no bridge answered within {limit:g} s; is `nemo-bridge run` running?") from None
    if isinstance(answer, dict) and answer.get("ok") is True:
        return understood(command, answer.get("result"), kind), answer.get("result")
    raise RefusedError(understood(command, answer, Failure).error)


def call(options: BusOptions, integration: str, method: str, params: str, timeout: str, key: str | None) -> None:
    """Call a method and print its result."""
    arguments = json_value(params, "JSON") if params else None
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
    show = show_event_as_json if as_json else show_event
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
            asyncio.run(_watch(options, patterns, take, count))


def _opened(path: Path, mode: Literal["ab", "rb"]) -> BinaryIO:
    try:
        return path.open(mode)
    except OSError as error:
        raise InvalidError(f"{path}: {error.strerror}") from None


async def _watch(options: BusOptions, patterns: Sequence[str], take: Callable[[Event], bool], count: int) -> None:
    shown = 0
    bus = options.client(("",), listens=False)
    with bus.listen() as events:
        async with bus:
            for doubt in doubtful_beginnings(patterns, bus.taken_patterns):
                complain(doubt)
            unchecked = True
            while count == 0 or shown < count:
                event = await events.get()
                if events.missed:
                    complain(f"too slow for {events.missed} events, which are not shown")
                if unchecked and event.event_type == "health.bridge":
                    unchecked = False
                    for doubt in doubtful_integrations(patterns, event.payload):
                        complain(doubt)
                shown += event.source != bus.source and take(event)


def doubtful_beginnings(patterns: Iterable[str], taken: Iterable[str]) -> Iterator[str]:
    """Return a note on each pattern whose first segment is nearly, but not quite, one that is known.

    Args:
        patterns: The patterns that a person gave.
        taken: The patterns of what sets off routes on this bus.
    """
    known = {*_FAMILIES, *(one.partition(".")[0] for one in taken)} - {"*", "**"}
    for pattern in patterns:
        head, dot, rest = pattern.partition(".")
        near = None if head in known or "*" in head else near_name(head, known, cutoff=0.75)
        if near is not None:
            yield f"no event type is known that begins with {head!r}; did you mean {near + dot + rest!r}?"


def doubtful_integrations(patterns: Iterable[str], health: Any) -> Iterator[str]:
    """Return a note on each pattern that names nearly an integration of the bridge.

    Args:
        patterns: The patterns that a person gave.
        health: The payload of a `health.bridge` event.
    """
    found = health.get("integrations") if isinstance(health, dict) else None
    names = [name for name in found if isinstance(name, str)] if isinstance(found, dict) else []
    for pattern in patterns:
        head, _, rest = pattern.partition(".")
        name, dot, more = rest.partition(".")
        if head in _OF_INTEGRATIONS and name and "*" not in name and name not in {*names, *_NO_INTEGRATIONS}:
            near = near_name(name, names)
            if near is not None:
                yield f"there is no integration {name!r}; did you mean {f'{head}.{near}{dot}{more}'!r}?"
