"""The command `nemo-bridge emit`: publish one event by hand, and show what becomes of it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from bridge.cli.event_lines import show_event, show_event_as_json
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import seconds
from bridge.cli.talk import BusOptions, json_value
from bridge.cli.terminal import complain, console
from bridge.client import BusClient, Listener
from bridge.core.errors import InvalidError
from bridge.core.filters import Glob
from bridge.core.model import Event
from bridge.core.near import near_event_type
from bridge.core.payloads import Matched

#: Seconds that a bridge may take to say what it does with an event.
_PATIENCE: Final = 2.0
#: Seconds that the other bridges on the bus have for that after the first one.
_OTHERS: Final = 0.2
#: Headers that hold for one event only.
_OF_ONE_EVENT: Final = frozenset({"idempotency_key", "deadline_ms"})
#: Seconds to wait for the last events that a bridge has published.
_LAST: Final = 1.0


class _Emission(msgspec.Struct, frozen=True):
    """The event to emit."""

    event_type: str
    payload: Any
    correlation_id: str | None
    headers: Mapping[str, str] | None

    @property
    def is_command(self) -> bool:
        """Whether the bus contract reserves the type for commands."""
        return self.event_type.startswith(("integration.", "bridge."))

    def to(self, bus: BusClient) -> None:
        """Emit it."""
        bus.emit(self.event_type, self.payload, correlation_id=self.correlation_id, headers=self.headers)


def emit(
    options: BusOptions,
    event_type: str,
    payload: str,
    correlation_id: str | None,
    header: Sequence[str],
    *,
    wait: bool,
    timeout: str,
    as_json: bool,
) -> ExitCode:
    """Publish one event on the bus; with `wait` show all that comes of it, and return whether it succeeded.

    Args:
        options: Where the bus is.
        event_type: The event's type.
        payload: The payload as JSON; `-`: it is on standard input.
        correlation_id: The event's; with `wait` one is made if there is none.
        header: Headers, as `NAME=VALUE`.
        wait: Wait for the responses.
        timeout: How long to wait for them.
        as_json: Print what comes as one JSON object per line.

    Raises:
        InvalidError: An argument is wrong.
        NoBusError: There is no bus.
    """
    value = json_value(payload, "the payload")
    headers = {}
    for pair in header:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidError(f"--header {pair}: write it as NAME=VALUE")
        headers[name] = text
    if not wait:
        if as_json:
            raise InvalidError("--json shows what comes of the event, so it needs --wait")
        return asyncio.run(_emit(options, _Emission(event_type, value, correlation_id, headers or None)))
    limit = seconds("--timeout", timeout)
    event = _Emission(event_type, value, correlation_id or str(uuid.uuid4()), headers or None)
    output = console(soft_wrap=True)
    show = show_event_as_json if as_json else show_event
    return asyncio.run(_emit_and_wait(options, event, limit, lambda one: show(output, one)))


async def _emit(options: BusOptions, event: _Emission) -> ExitCode:
    async with options.client(()) as bus:
        if event.is_command:
            note = await _why_no_bridge_executes(bus, event.event_type)
        else:
            note = "" if bus.has_listener(event.event_type) else _nothing_takes(bus, event.event_type)
        event.to(bus)
    if note:
        complain(note)
    return ExitCode.OK


def _nothing_takes(bus: BusClient, event_type: str) -> str:
    near = near_event_type(event_type, bus.taken_patterns)
    hint = "" if near is None else f"; did you mean {near!r}?"
    return f"nothing takes {event_type}: no route matches it, and nobody on the bus subscribes to it{hint}"


async def _why_no_bridge_executes(bus: BusClient, event_type: str) -> str:
    """Return why a command leads nowhere; the empty string where a bridge executes it."""
    try:
        answer = await bus.ask("bridge.match", {"event_type": event_type}, timeout=_PATIENCE)
    except TimeoutError:
        return f"nothing takes {event_type}: no bridge answers on this bus"
    found = _matched(answer)
    return "" if found is None or found.error is None else f"no bridge executes it: {found.error.message}"


def _matched(answer: Event) -> Matched | None:
    """Return a bridge's answer to `bridge.match`; None where it is none."""
    try:
        return msgspec.convert(answer.payload["result"], Matched)
    except (KeyError, TypeError, msgspec.ValidationError):  # any program may write to the bus
        return None


# --- with --wait


async def _emit_and_wait(
    options: BusOptions, event: _Emission, limit: float, show: Callable[[Event], None]
) -> ExitCode:
    bus = options.client(("",), listens=False)
    with bus.listen() as events:
        async with bus:
            waiting = _Waiting(bus, events, event, show)
            await waiting.ask_bridges()
            if not waiting.bridges:
                complain(f"{event.event_type} was not emitted: no bridge answers on this bus")
                return ExitCode.NO_ANSWER
            event.to(bus)
            if not waiting.expected:
                return waiting.explain()
            try:
                async with bus.clock.timeout(limit):
                    await waiting.responses()
            except TimeoutError:
                complain(f"no response within {limit:g} s: {', '.join(sorted(waiting.missing()))}")
            await waiting.last_events()
            return waiting.result


class _Waiting:
    """Waits for all that the bridges on a bus publish because of one event.

    Each bridge is asked before what it will do with the event (`bridge.match`). So it is known how many responses come.
    What else belongs to the event (receipts, the `emit` of a route) is published right after its response; when an
    answer to `bridge.ping` follows, all of it has come.

    Attributes:
        bridges: What each bridge does with the event, by the bridge's `source`.
        expected: Who answers: the bridge's `source`, and the route, or None for a command.
    """

    def __init__(self, bus: BusClient, events: Listener, event: _Emission, show: Callable[[Event], None]) -> None:
        self.bridges: dict[str | None, Matched] = {}
        self.expected: set[tuple[str | None, str | None]] = set()
        self._bus = bus
        self._events = events
        self._event = event
        self._show = show
        self._answered: set[tuple[str | None, str | None]] = set()
        self._failed = False

    async def ask_bridges(self) -> None:
        """Ask all bridges on the bus what they do with the event."""
        question = {"event_type": self._event.event_type, "payload": self._event.payload}
        # A key would be this command's own, and then the event would be answered with what is known for that key.
        headers = {name: text for name, text in (self._event.headers or {}).items() if name not in _OF_ONE_EVENT}
        async for answer in self._answers("match", question, _PATIENCE, headers or None):
            found = _matched(answer)
            if found is not None:
                self.bridges[answer.source] = found
        for source, found in self.bridges.items():
            self.expected.update((source, one.route) for one in found.routes if one.where is not False)
            if found.command:
                self.expected = {(source, None)}
                return
            if found.error is not None:
                self.expected.add((source, None))

    def explain(self) -> ExitCode:
        """Say why no response will come."""
        event_type = self._event.event_type
        refusing = sorted({one.route for found in self.bridges.values() for one in found.routes})
        if any(found.stops for found in self.bridges.values()):
            complain(f"{event_type} stops the bridge; there is no response")
            return ExitCode.OK
        if refusing:
            complain(f"no response will come: `where` is not true for this event in {_routes(refusing)}")
        elif any(Glob(pattern).matches(event_type) for pattern in self._bus.taken_patterns):
            # No route does, so a fabric does: bridges tell both in the same way.
            complain(f"no response will come: no route matches {event_type}, but a fabric exports it")
        elif self._bus.has_listener(event_type):
            complain(f"no response will come: no route matches {event_type}, but a program on the bus subscribes to it")
        else:
            complain(_nothing_takes(self._bus, event_type))
        return ExitCode.FAILED

    async def responses(self) -> None:
        """Wait until each response has come, and show all that comes until then."""
        while self.expected - self._answered:
            self._take(await self._next())

    def missing(self) -> set[str]:
        """Return who has not answered."""
        missing = self.expected - self._answered
        return {f"route {route}" if route else self._event.event_type for _, route in missing}

    async def last_events(self) -> None:
        """Show what the bridges have published until now."""
        async for _ in self._answers("ping", None, _LAST, None):
            pass

    @property
    def result(self) -> ExitCode:
        """Whether each response has come, and none says that something failed."""
        return ExitCode.FAILED if self._failed or self.expected - self._answered else ExitCode.OK

    async def _answers(
        self, operation: str, payload: Any, patience: float, headers: Mapping[str, str] | None
    ) -> AsyncIterator[Event]:
        """Send a command to all bridges and yield their answers; meanwhile show what belongs to the event.

        It ends when all bridges that are known have answered; if none is, some time after the first answer.
        """
        own = str(uuid.uuid4())
        known, left = bool(self.bridges), set(self.bridges)
        self._bus.emit(f"bridge.{operation}", payload, correlation_id=own, headers=headers)
        until = self._bus.clock.monotonic() + patience
        while True:
            try:
                async with self._bus.clock.timeout(max(0.0, until - self._bus.clock.monotonic())):
                    event = await self._next()
            except TimeoutError:
                return
            if event.correlation_id != own:
                self._take(event)
            elif event.event_type == f"response.bridge.{operation}":
                yield event
                left.discard(event.source)
                if known and not left:
                    return
                if not known:
                    until = min(until, self._bus.clock.monotonic() + _OTHERS)

    async def _next(self) -> Event:
        while True:
            event = await self._events.get()
            if event.source != self._bus.source:
                return event

    def _take(self, event: Event) -> None:
        """Show an event that belongs to ours, and note a response."""
        if event.correlation_id == self._event.correlation_id:
            self._show(event)
            if event.event_type == f"response.{self._event.event_type}" and isinstance(event.payload, dict):
                route = event.payload.get("route")
                self._answered.add((event.source, route if isinstance(route, str) else None))
                self._failed = self._failed or event.payload.get("ok") is not True
        elif event.event_type.startswith(self._circuits):
            self._show(event)

    @property
    def _circuits(self) -> tuple[str, ...]:
        """The beginnings of the events on the circuits of the integrations that are called."""
        names = {one.integration for found in self.bridges.values() for one in found.routes}
        if self._event.event_type.startswith("integration."):
            names.add(self._event.event_type.split(".")[1])
        return tuple(f"resilience.{name}.circuit." for name in names)


def _routes(names: Iterable[str]) -> str:
    return ", ".join(f"route {name}" for name in names)
