"""Decides what to do with an event. No input or output, no tasks, and no time but what is passed in.

A command names its integration in its type; any other event is matched against the routes. The decision for a type is
made once and kept, so that a message costs the same with one route and with a thousand.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from bridge.config import Route
from bridge.core.errors import (
    BridgeError,
    InvalidError,
    NotSupportedError,
    UnknownIntegrationError,
    UnknownOperationError,
)
from bridge.core.event_type import MOST_ANSWERABLE, check_event_type
from bridge.core.filters import AnyOf, Trigger
from bridge.core.model import (
    BRIDGE_OPERATIONS,
    CONTROLS,
    OPERATIONS,
    Command,
    Empty,
    Event,
    ForgetNode,
    Inspect,
    Letters,
    Match,
    Reload,
)
from bridge.core.near import did_you_mean
from bridge.routing.plan import RoutePlan

#: Types whose decision is kept; when more turn up, the memory starts anew (an application has dozens, a flood has any).
_REMEMBERED: Final = 4096
#: Beyond so many remembered decisions no near name is searched for: a flood of wrong names would take too much time.
_WITH_HINT: Final = 1024
#: Digits of the largest 64-bit number.
_MOST_DIGITS: Final = 20


class Addressee(msgspec.Struct, frozen=True):
    """What a command is addressed to.

    Attributes:
        integration: The integration's label; None for the bridge itself.
        operation: The operation's name.
        problem: Why there is no such integration or operation; None where there is.
    """

    integration: str | None
    operation: str
    problem: BridgeError | None = None


class Decision(msgspec.Struct, frozen=True):
    """What an event type leads to: one command, or any number of routes.

    Attributes:
        addressee: The addressee of a command; None for any other event.
        routes: The routes that match, in the order of the configuration.
        health: Whether it is a `health.*` event.
        unanswerable: Whether it leads to something, but the type of the response would be too long for the bus.
        sets_off: Whether it is a command or starts a route.
    """

    addressee: Addressee | None
    routes: tuple[RoutePlan, ...]
    health: bool = False
    unanswerable: bool = False
    sets_off: bool = True


class Router:
    """Decides by event type, and builds operations from events."""

    def __init__(self, integrations: Mapping[str, frozenset[str]], routes: Iterable[Route]) -> None:
        """Create it from each integration's operations, by label, and the routes in the order of the configuration."""
        self._integrations = integrations
        self._routes = tuple((AnyOf(tuple(Trigger(one) for one in route.on)), RoutePlan(route)) for route in routes)
        self._decisions: dict[str, Decision] = {}

    def decide(self, event_type: str) -> Decision:
        """Return the decision for an event type; a command never starts a route."""
        decision = self._decisions.get(event_type)
        if decision is None:
            if len(self._decisions) >= _REMEMBERED:
                self._decisions.clear()
            decision = self._decisions[event_type] = self._decide(event_type)
        return decision

    def has_routes(self, event_type: str) -> bool:
        """Return whether events of this type set off a route."""
        return bool(self.decide(event_type).routes)

    def _decide(self, event_type: str) -> Decision:
        head, _, rest = event_type.partition(".")
        too_long = len(event_type.encode()) > MOST_ANSWERABLE
        if head == "integration" and rest:
            name, _, operation = rest.partition(".")
            return Decision(self._addressee(name, operation), (), unanswerable=too_long)
        if head == "bridge" and rest:
            return Decision(self._bridge(rest), (), unanswerable=too_long)
        routes = tuple(plan for wanted, plan in self._routes if wanted.matches(event_type))
        starts = bool(routes)
        return Decision(None, routes, health=head == "health", unanswerable=too_long and starts, sets_off=starts)

    def _bridge(self, operation: str) -> Addressee:
        problem: BridgeError | None = None
        if operation not in BRIDGE_OPERATIONS:
            hint = self._near(operation, BRIDGE_OPERATIONS)
            problem = UnknownOperationError(f"the bridge has no operation {operation!r}{hint}")
        return Addressee(None, operation, problem)

    def _addressee(self, name: str, operation: str) -> Addressee:
        problem: BridgeError | None = None
        if name not in self._integrations:
            hint = self._near(name, self._integrations)
            problem = UnknownIntegrationError(f"there is no integration {name!r}{hint}")
        elif operation in OPERATIONS:
            has = self._integrations[name]
            if operation not in has:
                listed = ", ".join(sorted(has)) or "none"
                problem = NotSupportedError(f"integration {name!r} has no operation {operation!r}, only: {listed}")
        elif operation not in CONTROLS:
            hint = self._near(operation, (*self._integrations[name], *CONTROLS))
            problem = UnknownOperationError(f"there is no operation {operation!r}{hint}")
        return Addressee(name, operation, problem)

    def _near(self, name: str, known: Iterable[str]) -> str:
        return did_you_mean(name, known) if len(self._decisions) < _WITH_HINT else ""


_DECODERS: Final = {name: msgspec.msgpack.Decoder(struct) for name, struct in OPERATIONS.items()}


def parse_command(operation: str, event: Event) -> Command:
    """Return the checked arguments of a command, decoded directly from the event's payload.

    Raises:
        InvalidError: The payload does not fit; the message names the place.
    """
    try:
        command: Command = _DECODERS[operation].decode(event.raw)
    except msgspec.ValidationError as error:
        raise InvalidError(f"{operation}: {error}") from None
    return command


_EMPTY: Final = msgspec.msgpack.Decoder(Empty | None)


def check_empty(event: Event, operation: str) -> None:
    """Check that the payload of a command without arguments is null or an empty map.

    Raises:
        InvalidError: It is not.
    """
    try:
        _EMPTY.decode(event.raw)
    except msgspec.ValidationError as error:
        raise InvalidError(f"{operation}: {error}") from None


_LETTERS: Final = msgspec.msgpack.Decoder(Letters | None)


def parse_letters(operation: str, event: Event) -> Letters:
    """Return which dead letters a command selects; a payload of null selects all.

    Raises:
        InvalidError: The payload does not fit; the message names the place.
    """
    try:
        return _LETTERS.decode(event.raw) or Letters()
    except msgspec.ValidationError as error:
        raise InvalidError(f"{operation}: {error}") from None


_MATCH: Final = msgspec.msgpack.Decoder(Match)


def parse_match(event: Event) -> Match:
    """Return the event that a command `bridge.match` asks about.

    Raises:
        InvalidError: The payload does not fit; the message names the place.
    """
    try:
        wanted = _MATCH.decode(event.raw)
        check_event_type(wanted.event_type)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidError(f"match: {error}") from None
    return wanted


_INSPECT: Final = msgspec.msgpack.Decoder(Inspect)


def parse_inspect(event: Event) -> Inspect:
    """Return which integration a command `bridge.inspect` asks about.

    Raises:
        InvalidError: The payload does not fit; the message names the place.
    """
    try:
        return _INSPECT.decode(event.raw)
    except msgspec.ValidationError as error:
        raise InvalidError(f"inspect: {error}") from None


_FORGET_NODE: Final = msgspec.msgpack.Decoder(ForgetNode)


def parse_forget_node(event: Event) -> ForgetNode:
    """Return which node a command `bridge.forget_node` names.

    Raises:
        InvalidError: The payload does not fit; the message names the place.
    """
    try:
        return _FORGET_NODE.decode(event.raw)
    except msgspec.ValidationError as error:
        raise InvalidError(f"forget_node: {error}") from None


_RELOAD: Final = msgspec.msgpack.Decoder(Reload | None)


def parse_reload(operation: str, event: Event) -> Reload:
    """Return the arguments of `bridge.reload`; a payload of null means none.

    Raises:
        InvalidError: The payload does not fit; the message names the place.
    """
    try:
        return _RELOAD.decode(event.raw) or Reload()
    except msgspec.ValidationError as error:
        raise InvalidError(f"{operation}: {error}") from None


def deadline_of(event: Event, timeout_ms: int | None, *, now: float, wall_ms: int) -> float | None:
    """Return the earlier of `timeout_ms` and the header `deadline_ms`, in monotonic seconds; None for no limit.

    Args:
        event: The event; its header `deadline_ms` is Unix time in milliseconds.
        timeout_ms: The caller's time in milliseconds; None for no limit.
        now: The monotonic time in seconds.
        wall_ms: The Unix time in milliseconds.

    Raises:
        InvalidError: The header is not a number.
    """
    header = event.header("deadline_ms")
    if timeout_ms is None and header is None:
        return None
    limits: list[float] = []
    if timeout_ms is not None:
        limits.append(now + timeout_ms / 1000)
    if header is not None:
        # The length is bounded because Python refuses to read very long numbers, and floats to hold them.
        if not header.isascii() or not header.isdigit() or len(header) > _MOST_DIGITS:
            raise InvalidError(f"headers.deadline_ms: {header[:40]!r} is not a Unix time in milliseconds")
        limits.append(now + (int(header) - wall_ms) / 1000)
    return min(limits)
