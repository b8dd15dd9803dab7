"""What must hold for each run of a simulation, whatever the configuration, the events and the faults.

Each function takes a finished run and yields one line for each violation.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from bridge.config import Configuration
from bridge.core.errors import BridgeError
from bridge.core.filters import Trigger
from bridge.core.model import REPEATED, CircuitState
from bridge.core.payloads import BridgeHealth, IntegrationHealth
from bridge.routing.plan import RoutePlan
from bridge.simulation.record import (
    Attempt,
    Delivered,
    Ended,
    Entry,
    LogLine,
    Record,
    Said,
    SessionChange,
    Step,
    Stored,
)
from bridge.simulation.simulation import RELOADED, Simulation

#: Sessions that may be begun in so many seconds, at most (`core.backoff.Backoff`).
_SESSIONS: Final = 8
_WINDOW_MS: Final = 10_000
#: Milliseconds by which two roundings may differ.
_ROUNDING: Final = 1.5
_SUMS: Final = ("succeeded", "failed", "dead_lettered", "expired", "shed", "in_flight", "queued")
#: Families of events by which the bridge reports; only a pattern that names them is set off by them.
_CIRCUIT: Final = {"opened": "open", "half_opened": "half_open", "closed": "closed"}


@dataclass(slots=True)
class Run:
    """A simulation that has come to its end.

    Attributes:
        configuration: What was run, as it was read.
        record: All that happened.
        status: The answer of `bridge.status` before the process was stopped in order.
        left: Tasks that were left when the process had stopped.
        is_settled: Whether nothing was left to do at the end.
        unacknowledged: Contents of messages that the stand-ins still had, by integration.
        listens: Whether somebody listened to everything, all the time.
    """

    configuration: Configuration
    record: Record
    status: Mapping[str, BridgeHealth | IntegrationHealth]
    left: list[str] = field(default_factory=list)
    is_settled: bool = True
    unacknowledged: Mapping[str, list[Any]] = field(default_factory=dict)
    listens: bool = True


def finish(world: Simulation, configuration: Configuration, *, listens: bool = True) -> Run:
    """Stop a simulation in order, and return what `violations` looks at."""
    run = Run(
        configuration,
        Record([*world.record.entries]),
        world.status(),
        is_settled=world.is_settled,
        unacknowledged={name: remote.unacknowledged() for name, remote in world.remotes.items()},
        listens=listens,
    )
    run.left = world.finish()
    return run


def violations(run: Run) -> list[str]:
    """Return one line for each invariant that does not hold, in an order that is always the same."""
    return [f"{name}: {line}" for name, check in INVARIANTS.items() for line in check(run)]


def sums_balance(run: Run) -> Iterator[str]:
    """`accepted` is the sum of all stages, whenever it is told, and `in_flight` and `queued` are the same twice."""
    for one in run.record.events():
        payload = one.event.payload
        if not _is_own(run, one) or not one.event.event_type.startswith("health.") or "accounting" not in payload:
            continue
        sums = payload["accounting"]
        if sums["accepted"] != sum(sums[name] for name in _SUMS):
            yield f"{_at(one)} {one.event.event_type} tells {sums}"
        if (payload["in_flight"], payload["queued"]) != (sums["in_flight"], sums["queued"]):
            yield f"{_at(one)} {one.event.event_type} tells in_flight and queued in two ways"


def one_end_of_each_stored_event(run: Run) -> Iterator[str]:
    """Each event that the outbox accepted has exactly one end; what is delivered was done by the remote."""
    ends: dict[int, list[Ended]] = defaultdict(list)
    for one in run.record:
        if isinstance(one, Ended):
            ends[one.seq].append(one)
    done = {(one.remote, one.idempotency_key) for one in run.record.attempts() if one.executed and one.outcome == "ok"}
    for stored in _stored(run):
        found = ends.get(stored.seq, [])
        if len(found) > 1 or (run.is_settled and not found):
            yield f"{_at(stored)} {_name(stored)} has {len(found)} ends"
        if found and found[0].outcome == "delivered" and (stored.integration, stored.idempotency_key) not in done:
            yield f"{_at(found[0])} {_name(stored)} counts as delivered, and the remote has not done it"


def one_outcome_is_told(run: Run) -> Iterator[str]:
    """Receipts of a key name one outcome, and each end of an event that asked for one is told by a receipt."""
    told: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for one in run.record.events():
        family, _, outcome = one.event.event_type.rpartition(".")
        if _is_own(run, one) and family.startswith("receipt."):
            cause = one.event.payload["cause"]
            if cause["source"] == run.configuration.bridge.source and one.event.payload["idempotency_key"] is None:
                continue  # another process of it numbers its events from 1 again
            key = (family.partition(".")[2], one.event.payload["idempotency_key"])
            told[(*key, cause["source"], cause["id"])].add(outcome)
    for key, outcomes in told.items():
        if len(outcomes) > 1 and _routes_with_receipts(run, key[0]) == 1:  # a receipt does not name its route
            yield f"the receipts of {key} name {sorted(outcomes)}"
    by_seq = {stored.seq: stored for stored in _stored(run)}
    for end in run.record:
        if isinstance(end, Ended) and (stored := by_seq.get(end.seq)) is not None and stored.receipts:
            outcomes = told.get((stored.integration, stored.idempotency_key, stored.cause[0], stored.cause[1]), set())
            if end.outcome not in outcomes:
                yield f"{_at(end)} {_name(stored)} is {end.outcome}, and the receipts say {sorted(outcomes)}"


def _routes_with_receipts(run: Run, integration: str) -> int:
    return sum(route.receipts for route in run.configuration.routes if route.integration == integration)


def one_response(run: Run) -> Iterator[str]:
    """Who asks gets one response from each route and command, unless the process was killed before it."""
    wanted: Counter[tuple[str, str | None, str | None]] = Counter()
    allowed: Counter[tuple[str, str | None, str | None]] = Counter()
    given: Counter[tuple[str, str | None, str | None]] = Counter()
    asked = _Asked(run)
    for one in run.record:
        asked.note(one)
        if not isinstance(one, Said) or one.event.correlation_id is None:
            continue
        event = one.event
        if event.event_type.startswith("response.") and _is_own(run, one):
            given[event.event_type.partition(".")[2], event.correlation_id, event.payload.get("route")] += 1
            continue
        for route, certain in asked.by(one):
            key = (event.event_type, event.correlation_id, route)
            allowed[key] += 1
            wanted[key] += certain
    most = math.inf if _replays(run) else 0  # a dead letter that is delivered again is answered again
    for key in given.keys() | wanted.keys():
        too_many = given[key] > max(allowed[key], most)
        if too_many or (run.is_settled and given[key] < wanted[key]):
            event_type, correlation_id, route = key
            whom = f"{event_type} with the correlation id {correlation_id}" + (f" by route {route}" if route else "")
            yield f"{whom} has {given[key]} responses, not {wanted[key]} to {allowed[key]}"


class _Asked:
    """Finds what an event asks for, and whether the answer is certain."""

    def __init__(self, run: Run) -> None:
        self._routes = [
            (RoutePlan(route), [Trigger(pattern) for pattern in route.on]) for route in run.configuration.routes
        ]
        self._integrations = run.configuration.integrations
        self._source = run.configuration.bridge.source
        self._stop_with = run.configuration.bridge.stop_with
        self._kills = [place for place, one in enumerate(run.record) if _is(one, "killed")]
        self._stored = {(stored.route, *stored.cause) for stored in _stored(run)}
        self._place = -1
        self._runs = False

    def note(self, one: Entry) -> None:
        """Take the next entry of the record."""
        self._place += 1
        if isinstance(one, LogLine) and one.text == "ready":
            self._runs = True
        elif _is(one, "killed") or (isinstance(one, LogLine) and one.text == "stopping"):
            self._runs = False

    def by(self, one: Said) -> Iterator[tuple[str | None, bool]]:
        """Return the routes (None: a command) that answer an event, and whether they certainly do."""
        event = one.event
        family = event.event_type.partition(".")[0]
        if event.event_type == self._stop_with:
            return
        is_killed = any(place > self._place for place in self._kills)
        certain = self._runs and not is_killed
        if family in {"integration", "bridge"}:
            if event.source != self._source:
                yield None, certain
            return
        if event.headers is not None and REPEATED in event.headers:
            return
        for plan, triggers in self._routes:
            if any(trigger.matches(event.event_type) for trigger in triggers) and _applies(plan, event):
                route = plan.route.name
                is_stored = (route, event.source, event.id, event.event_type) in self._stored
                yield route, certain or is_stored


def _applies(plan: RoutePlan, event: Any) -> bool:
    try:
        return plan.applies({"event": event})
    except BridgeError:
        return True  # which is answered, too


def order_by_key(run: Run) -> Iterator[str]:
    """Of a key, no process sends an event before the attempts of those before it are over."""
    lives: list[dict[tuple[str, str | None], list[tuple[int, Attempt]]]] = [defaultdict(list)]
    for place, one in enumerate(run.record):
        if _is(one, "started"):
            lives.append(defaultdict(list))
        if isinstance(one, Attempt):
            lives[-1][one.remote, one.idempotency_key].append((place, one))
    if _replays(run):  # what is delivered again comes later
        return
    shared = _shared_keys(run)
    keyed = [one for one in _stored(run) if one.key is not None and _key_of(one) not in shared]
    for attempts in lives:
        last: dict[tuple[str, str | None], tuple[int, Stored]] = {}
        for stored in keyed:
            found = attempts.get(_key_of(stored))
            if not found:
                continue
            before = last.get((stored.integration, stored.key))
            if before is not None and before[0] > found[0][0]:
                yield f"{_at(found[0][1])} {_name(stored)} is sent before {_name(before[1])}, which has the same key"
            if before is None or before[0] < found[-1][0]:
                last[stored.integration, stored.key] = (found[-1][0], stored)


def sessions_within_backoff(run: Run) -> Iterator[str]:
    """A process opens at most eight sessions with a remote in ten seconds, whatever the remote does."""
    begun: dict[str, list[int]] = defaultdict(list)
    for one in run.record:
        if _is(one, "started"):
            begun.clear()
        if isinstance(one, SessionChange) and one.what in {"opened", "refused"}:
            times = begun[one.remote]
            times.append(one.at_ms)
            if len(times) > _SESSIONS and one.at_ms - times[-1 - _SESSIONS] < _WINDOW_MS:
                yield f"{_at(one)} {one.remote}: {_SESSIONS + 1} sessions in {one.at_ms - times[-1 - _SESSIONS]} ms"


def breaker_is_legal(run: Run) -> Iterator[str]:
    """Transitions follow each other, are what health says, and no attempt is made while a circuit is open."""
    settings = {name: one.resilience for name, one in run.configuration.integrations.items()}
    states = dict.fromkeys(settings, "closed")
    probes: dict[str, Attempt | None] = dict.fromkeys(settings)
    for one in run.record:
        if _is(one, "started"):
            states, probes = dict.fromkeys(settings, "closed"), dict.fromkeys(settings)
        if isinstance(one, Attempt):
            probe = probes[one.remote]
            if states[one.remote] == "open":
                yield f"{_at(one)} {one.remote}: an attempt while the circuit is open"
            elif states[one.remote] == "half_open" and probe is not None and _runs_at(probe, one.at_ms):
                yield f"{_at(one)} {one.remote}: a second probe while one runs"
            elif states[one.remote] == "half_open":
                probes[one.remote] = one
            continue
        if not isinstance(one, Said) or not _is_own(run, one):
            continue
        family, _, rest = one.event.event_type.partition(".")
        name, _, what = rest.partition(".")
        payload = one.event.payload
        if family == "health" and name in states and payload["circuit"] != states[name]:
            yield f"{_at(one)} {name}: health says {payload['circuit']}, the circuit is {states[name]}"
        elif family == "resilience" and what.startswith("circuit."):
            change = what.partition(".")[2]
            if payload["from"] != states[name] or payload["to"] != _CIRCUIT[change] or payload["from"] == payload["to"]:
                yield f"{_at(one)} {name}: {change} from {payload['from']} to {payload['to']}, it was {states[name]}"
            least = settings[name].circuit_breaker.failure_threshold
            by_hand = ".circuit." in payload["cause"]["event_type"]
            if change == "opened" and payload["from"] == "closed" and payload["failures"] < least and not by_hand:
                yield f"{_at(one)} {name}: opened after {payload['failures']} failures, not {least}"
            states[name], probes[name] = payload["to"], None


def _runs_at(probe: Attempt, at_ms: int) -> bool:
    return not probe.given_up and (probe.ended_ms is None or probe.ended_ms > at_ms)


def numbers_are_true(run: Run) -> Iterator[str]:
    """Retries, attempts, times and counts that are told are those that were."""
    yield from _retries(run)
    yield from _attempts_told(run)
    yield from _counts_at_the_end(run)


def _retries(run: Run) -> Iterator[str]:
    settings = {name: one.resilience.retry for name, one in run.configuration.integrations.items()}
    for one in run.record.events():
        family, _, rest = one.event.event_type.partition(".")
        name, _, what = rest.partition(".")
        if not _is_own(run, one) or family != "resilience" or what != "retry":
            continue
        payload, retry = one.event.payload, settings[name]
        if not 1 <= payload["attempt"] < payload["max_attempts"] == retry.max_attempts:
            yield f"{_at(one)} {name}: retry after attempt {payload['attempt']} of {payload['max_attempts']}"
        asked = payload["error"].get("retry_after_ms", 0)
        if payload["delay_ms"] > max(retry.max_delay * 1000, asked) + 1:
            yield f"{_at(one)} {name}: a retry waits {payload['delay_ms']} ms"


def _attempts_told(run: Run) -> Iterator[str]:
    """What a stored event's end counts as attempts are those at the remote, where one process has made them all."""
    if _replays(run) or any(_is(one, "started") for one in run.record):
        return
    made = Counter((one.remote, one.idempotency_key) for one in run.record.attempts())
    shared = _shared_keys(run)
    by_seq = {stored.seq: stored for stored in _stored(run)}
    for end in run.record:
        if not isinstance(end, Ended) or end.seq not in by_seq:
            continue
        stored = by_seq[end.seq]
        key = _key_of(stored)
        if key not in shared and made[key] != end.attempts:
            yield f"{_at(end)} {_name(stored)} counts {end.attempts} attempts, the remote {made[key]}"


def _counts_at_the_end(run: Run) -> Iterator[str]:
    if not run.is_settled or not run.status:
        return
    since = max((place for place, one in enumerate(run.record) if _is(one, "started")), default=-1)
    life = run.record.entries[since + 1 :]
    # What comes for a subscription that a reload is about to end is not counted.
    is_reloaded = any(isinstance(one, Step) and one.what == RELOADED for one in life)
    delivered = Counter(one.remote for one in life if isinstance(one, Delivered))
    opened = Counter(one.remote for one in life if isinstance(one, SessionChange) and one.what == "opened")
    for name, one in run.status.items():
        if isinstance(one, BridgeHealth):
            published = sum(isinstance(entry, Said) and _is_own(run, entry) for entry in life)
            if one.bus.published != published:
                yield f"bridge: {one.bus.published} published, {published} were"
            continue
        if name in run.unacknowledged and one.messages != delivered[name] and not is_reloaded:
            yield f"{name}: {one.messages} messages, {delivered[name]} were delivered"
        if opened[name] and one.reconnects > opened[name] - 1:
            yield f"{name}: {one.reconnects} reconnects, {opened[name]} sessions were opened"


def messages_are_kept(run: Run) -> Iterator[str]:
    """A message that was acknowledged is on the bus; at the end none waits that could come."""
    said: set[bytes] = set()
    dropped = any(isinstance(one, IntegrationHealth) and one.dropped for one in run.status.values())
    for one in run.record.events():
        payload = one.event.payload
        if isinstance(payload, dict) and "topic" in payload and "message" in payload:
            said.add(_encoded(payload["topic"], payload["message"]))
    for delivery in run.record.deliveries():
        is_acknowledged = delivery.outcome == "acknowledged" and not dropped
        if is_acknowledged and _encoded(delivery.topic, delivery.content) not in said:
            yield f"{_at(delivery)} {delivery.remote}: message {delivery.number} was acknowledged and is not on the bus"
    if run.is_settled and run.listens:
        for name, waiting in run.unacknowledged.items():
            for content in waiting:
                yield f"{name}: the message {content!r} was never acknowledged"


def health_is_the_state(run: Run) -> Iterator[str]:
    """The last value of each health is what `bridge.status` says."""
    last: dict[str, dict[str, Any]] = {}
    for one in run.record.events():
        family, _, name = one.event.event_type.partition(".")
        if family == "health" and _is_own(run, one):
            last[name] = one.event.payload
    for name, state in run.status.items():
        now = msgspec.to_builtins(state)
        told = last.get(name)
        if told is None:
            yield f"{name}: no health was told"
            continue
        for key in ("status", "circuit", "warnings", "integrations"):
            if told.get(key) != now.get(key):
                yield f"{name}: {key} was told as {told.get(key)}, it is {now.get(key)}"
        if (told.get("error") or {}).get("kind") != (now.get("error") or {}).get("kind"):
            yield f"{name}: error was told as {told.get('error')}, it is {now.get('error')}"


def all_comes_to_an_end(run: Run) -> Iterator[str]:
    """When all faults are over, everything that waits gets done, and each integration is well again."""
    if not run.is_settled:
        for name, one in run.status.items():
            if isinstance(one, IntegrationHealth):
                yield f"{name}: {one.status.value}, {one.in_flight} in flight, {one.queued} queued, {one.circuit.value}"
        yield "something is left to do, and nothing does it"
    for name, one in run.status.items():
        if not isinstance(one, IntegrationHealth) or one.circuit is not CircuitState.CLOSED:
            continue
        limit = run.configuration.integrations[name].health.timeout * 1000
        was_slow = one.latency_ms is not None and one.latency_ms > limit / 2  # at its last check, which is long ago
        if one.status.value == "degraded" and not was_slow:
            yield f"{name}: degraded, although all faults are over: {one.warnings} {one.subscriptions}"


def no_task_is_left(run: Run) -> Iterator[str]:
    """A process that has stopped in order leaves no task."""
    for name in run.left:
        yield f"{name} goes on"


def no_bug_is_logged(run: Run) -> Iterator[str]:
    """No line of the log is an error, but where the disk fails."""
    for one in run.record:
        if isinstance(one, LogLine) and one.level in {"error", "critical"} and one.text != "outbox accepts nothing":
            yield f"{_at(one)} {one.text} {dict(one.fields)}"
        if isinstance(one, LogLine) and one.text.startswith("cut:"):
            yield f"{_at(one)} {one.text} {dict(one.fields)}"


INVARIANTS: Final[Mapping[str, Callable[[Run], Iterator[str]]]] = {
    check.__name__: check
    for check in (
        sums_balance,
        one_end_of_each_stored_event,
        one_outcome_is_told,
        one_response,
        order_by_key,
        sessions_within_backoff,
        breaker_is_legal,
        numbers_are_true,
        messages_are_kept,
        health_is_the_state,
        all_comes_to_an_end,
        no_task_is_left,
        no_bug_is_logged,
    )
}


def _stored(run: Run) -> list[Stored]:
    return [one for one in run.record if isinstance(one, Stored)]


def _shared_keys(run: Run) -> set[tuple[str, str | None]]:
    """Return the integrations with keys that several operations may have used: each route uses that of the event."""
    routes = Counter(route.integration for route in run.configuration.routes)
    return {_key_of(stored) for stored in _stored(run) if stored.own_key and routes[stored.integration] > 1}


def _replays(run: Run) -> bool:
    return bool(run.record.events("bridge.replay"))


def _key_of(stored: Stored) -> tuple[str, str | None]:
    return stored.integration, stored.idempotency_key


def _is(one: Entry, kind: str) -> bool:
    return isinstance(one, Step) and one.kind == kind


def _is_own(run: Run, one: Said) -> bool:
    return one.event.source == run.configuration.bridge.source


def _at(one: Entry) -> str:
    return f"at {one.at_ms} ms:"


def _name(stored: Stored) -> str:
    return f"event {stored.cause[1]} ({stored.cause[2]}) of route {stored.route}"


def _encoded(topic: Any, content: Any) -> bytes:
    return msgspec.msgpack.encode((topic, content))
