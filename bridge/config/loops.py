"""Find routes that set themselves off: by their `emit`, or by a message that comes back from the remote.

Where a protocol has no headers, `hop` ends at the remote, and nothing else would stop such a circle.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Final

import msgspec

from bridge.config.diagnostics import Diagnostics
from bridge.config.expressions import Expression
from bridge.config.models import Integration, Route, SubscriptionSettings
from bridge.core.diagnostic import Code
from bridge.core.event_type import to_emitted_type
from bridge.core.filters import Trigger, overlap

#: The argument that names where an operation sends.
_DESTINATION: Final = {"publish": "topic", "request": "method", "enqueue": "queue"}
_ANY: Final = "**"
#: What the search may do. A unit is about a microsecond: a type that is compared with a pattern, a step that is
#: followed; 25 are a step that is kept.
_MOST_WORK: Final = 4_000_000
_KEEPING: Final = 25


class _TooMuchError(Exception):
    """The routes may set each other off in more ways than the search may look at."""


class _Work(msgspec.Struct):
    """What the search may still do."""

    left: int = _MOST_WORK

    def take(self, amount: int) -> None:
        """Take some of it. Raises _TooMuchError where nothing is left."""
        self.left -= amount
        if self.left < 0:
            raise _TooMuchError


class _Listening:
    """A pattern of a route's `on`."""

    def __init__(self, number: int, route: Route, pattern: str) -> None:
        self.number = number
        self.name = route.name
        self.always = route.where is None
        self.glob = tuple(pattern.split("."))
        self._pattern = pattern

    @cached_property
    def trigger(self) -> Trigger:
        """Matches event types; made when it is needed, since most patterns are never compared."""
        return Trigger(self._pattern)


class _Listeners:
    """Finds the routes that an event sets off, but for their `where`, in the order of the configuration.

    A pattern is found by the segments before its first wildcard, since there may be many routes.
    """

    def __init__(self, routes: Sequence[Route], work: _Work) -> None:
        self._work = work
        self._exact: dict[tuple[str, ...], list[_Listening]] = {}
        self._below: dict[tuple[str, ...], list[_Listening]] = {}
        self._found: dict[tuple[str, ...], list[_Listening]] = {}
        for number, route in enumerate(routes):
            for pattern in route.on:
                one = _Listening(number, route, pattern)
                head = _head(one.glob)
                self._exact.setdefault(head, []).append(one)
                work.take(len(one.glob))
                for length in range(len(head)):
                    self._below.setdefault(head[:length], []).append(one)

    def hearing(self, event_type: str) -> list[_Listening]:
        """Return the routes that an event of this type sets off."""
        possible = [*self._from(tuple(event_type.split(".")))]
        self._work.take(len(possible))
        return _once(one for one in possible if one.trigger.matches(event_type))

    def perhaps_hearing(self, types: tuple[str, ...]) -> list[_Listening]:
        """Return the routes that one of the types which a glob stands for may set off."""
        if types not in self._found:
            head = _head(types)
            possible = [*self._from(head), *self._below.get(head, ())]
            self._work.take(len(possible) * 10 * len(types))
            self._found[types] = _once(one for one in possible if overlap(types, one.glob))
        return self._found[types]

    def _from(self, head: tuple[str, ...]) -> Iterator[_Listening]:
        """Yield the patterns whose segments before the first wildcard are the first ones of `head`."""
        for length in range(len(head) + 1):
            yield from self._exact.get(head[:length], ())


def _head(glob: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(takewhile(lambda segment: segment not in {"*", _ANY}, glob))


def _once(found: Iterable[_Listening]) -> list[_Listening]:
    """Return one pattern of each route, in the order of the routes."""
    by_number = {one.number: one for one in found}
    return [by_number[number] for number in sorted(by_number)]


class _Step(msgspec.Struct, frozen=True):
    """One route sets off another.

    Attributes:
        route: The route that is set off.
        how: How, for a person; it begins with a verb.
        certain: Whether each event of the first route does it, as far as the configuration tells.
    """

    route: str
    how: str
    certain: bool


def check_loops(
    routes: Sequence[Route],
    subscriptions: Sequence[SubscriptionSettings],
    integrations: Mapping[str, Integration | None],
    diagnostics: Diagnostics,
) -> None:
    """Add a diagnostic for each circle that is certain, and a warning for each that is possible."""
    try:
        _report_circles(routes, subscriptions, integrations, diagnostics)
    except _TooMuchError:
        message = "they may set each other off in too many ways; not all circles among them are noticed"
        diagnostics.warn(routes[0].location, "routes", message, code=Code.POSSIBLE_LOOP)


def _report_circles(
    routes: Sequence[Route],
    subscriptions: Sequence[SubscriptionSettings],
    integrations: Mapping[str, Integration | None],
    diagnostics: Diagnostics,
) -> None:
    work = _Work()
    listeners = _Listeners(routes, work)
    steps: dict[str, list[_Step]] = {}
    for route in routes:
        steps[route.name] = []
        for step in _steps(route, listeners, subscriptions, integrations, work):
            work.take(_KEEPING)
            steps[route.name].append(step)
    certain = _without_ends({name: [step for step in found if step.certain] for name, found in steps.items()}, work)
    steps = _without_ends(steps, work)
    reported: set[frozenset[str]] = set()
    for route in routes:
        circle = _circle(route.name, certain, work) if route.name in certain else []
        if circle and _is_new(circle, reported):
            message = f"sets itself off without end: {_told(circle)}"
            diagnostics.add(route.location, f'route "{route.name}"', message, code=Code.ENDLESS_LOOP)
    for route in routes:
        circle = _circle(route.name, steps, work) if route.name in steps else []
        if circle and _is_new(circle, reported):
            message = f"may set itself off: {_told(circle)}"
            diagnostics.warn(route.location, f'route "{route.name}"', message, code=Code.POSSIBLE_LOOP)


def _is_new(circle: Sequence[_Step], reported: set[frozenset[str]]) -> bool:
    members = frozenset(step.route for step in circle)
    if members in reported:
        return False
    reported.add(members)
    return True


def _told(circle: Sequence[_Step]) -> str:
    return "; ".join(f'it {step.how}, which sets off route "{step.route}"' for step in circle)


def _circle(start: str, steps: Mapping[str, Sequence[_Step]], work: _Work) -> list[_Step]:
    """Return the shortest way from a route back to itself; empty where there is none."""
    came_by: dict[str, tuple[str, _Step]] = {}
    waiting = deque([start])
    while waiting:
        name = waiting.popleft()
        work.take(1 + len(steps[name]))
        for step in steps[name]:
            if step.route in came_by:
                continue
            came_by[step.route] = (name, step)
            if step.route == start:
                return _way(start, came_by)
            waiting.append(step.route)
    return []


def _way(start: str, came_by: Mapping[str, tuple[str, _Step]]) -> list[_Step]:
    name, step = came_by[start]
    way = [step]
    while name != start:
        name, step = came_by[name]
        way.append(step)
    return way[::-1]


def _without_ends(steps: Mapping[str, Sequence[_Step]], work: _Work) -> dict[str, list[_Step]]:
    """Return the routes that may be part of a circle: without those that set nothing off, again and again."""
    work.take(len(steps) + sum(map(len, steps.values())))
    causes: dict[str, list[str]] = {}
    for name, found in steps.items():
        for step in found:
            causes.setdefault(step.route, []).append(name)
    left = {name: len(found) for name, found in steps.items()}
    ends = [name for name, count in left.items() if not count]
    while ends:
        for name in causes.get(ends.pop(), ()):
            left[name] -= 1
            if not left[name]:
                ends.append(name)
    return {name: [step for step in found if left[step.route]] for name, found in steps.items() if left[name]}


def _steps(
    route: Route,
    listeners: _Listeners,
    subscriptions: Sequence[SubscriptionSettings],
    integrations: Mapping[str, Integration | None],
    work: _Work,
) -> Iterator[_Step]:
    """Yield what a route sets off."""
    if route.emit is not None:
        yield from _set_off(route.emit, f"emits {route.emit.text}", listeners, certain=True)
    destination: Expression | None = getattr(route, _DESTINATION[route.operation])
    own = integrations.get(route.integration)
    if destination is None or own is None:
        return
    for one in subscriptions:
        work.take(1)
        other = integrations.get(one.integration)
        if other is None:
            continue
        if not _may_be_same_remote(own, other) or not _comes_back(route, destination, one, own, work):
            continue
        certain = destination.constant and _is_same_remote(own, other) and (one.group is None or one.queue is not None)
        how = f'sends to {destination.text}, which subscription "{one.name}" receives'
        default = f"message.{one.integration}"
        yield from _set_off(default if one.emit is None else one.emit, how, listeners, certain=certain)


def _may_be_same_remote(one: Integration, other: Integration) -> bool:
    if one.id == other.id:
        return True
    return one.type == other.type and one.endpoint is not None and one.endpoint == other.endpoint


def _is_same_remote(one: Integration, other: Integration) -> bool:
    """Return whether what one integration sends certainly reaches the other one at their common remote."""
    return one.id == other.id or (one.auth, one.config) == (other.auth, other.config)


def _comes_back(
    route: Route, destination: Expression, subscription: SubscriptionSettings, own: Integration, work: _Work
) -> bool:
    """Return whether what a route sends may come to a subscription."""
    if (route.operation == "enqueue") != (subscription.queue is not None):
        return False
    pattern = subscription.queue or subscription.topic or ""
    shape = destination.shape
    work.take(10 + (len(pattern) + sum(len(part or "") for part in shape)) // 16)
    if route.operation == "enqueue":
        return _fullmatch(shape, pattern)
    comes_back = own.spec.comes_back
    if comes_back is None:
        return False
    # What an expression gives is not known: one word is tried in its place, and whether it can give the pattern itself.
    text = "".join("x" if part is None else part for part in shape)
    return comes_back(text, pattern) or (not destination.constant and _fullmatch(shape, pattern))


def _fullmatch(shape: tuple[str | None, ...], text: str) -> bool:
    """Return whether a template may give this text. Each part of it is looked for once, at its first position."""
    parts = [""]
    for part in shape:
        if part is None:
            parts.append("")
        else:
            parts[-1] += part
    if len(parts) == 1:
        return parts[0] == text
    start, *middle, end = parts
    if len(start) + len(end) > len(text) or not (text.startswith(start) and text.endswith(end)):
        return False
    position, limit = len(start), len(text) - len(end)
    for part in middle:
        position = text.find(part, position, limit)
        if position < 0:
            return False
        position += len(part)
    return True


def _set_off(emit: Expression | str, how: str, listeners: _Listeners, *, certain: bool) -> Iterator[_Step]:
    """Yield the routes that an event type sets off."""
    if isinstance(emit, Expression) and emit.constant:
        emit = to_emitted_type(emit.evaluate({}))
    if isinstance(emit, str):
        for route in listeners.hearing(emit):
            yield _Step(route.name, how, certain and route.always)
        return
    for route in listeners.perhaps_hearing(_glob(emit.shape)):
        yield _Step(route.name, how, certain=False)


def _glob(shape: tuple[str | None, ...]) -> tuple[str, ...]:
    """Return the types that a template may give as a glob; an expression in it may give any number of segments."""
    text = "".join("\0" if part is None else part.replace("/", ".") for part in shape)
    return tuple(_ANY if "\0" in segment else segment for segment in text.split("."))
