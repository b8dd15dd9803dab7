"""What must hold for each run of a simulation, whatever the configuration, the events and the faults.

Each function takes a finished run and yields one line for each violation.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from bridge.config import Configuration
from bridge.core.errors import BridgeError
from bridge.core.filters import Trigger
from bridge.core.model import REPEATED, CircuitState
from bridge.core.payloads import BridgeHealth, IntegrationHealth, Overview
from bridge.routing.plan import RoutePlan
from bridge.simulation.record import (
    Attempt,
    Configured,
    Delivered,
    Discarded,
    Ended,
    Entry,
    Garbage,
    Listening,
    LogLine,
    Record,
    Said,
    SessionChange,
    Step,
    Stored,
)
from bridge.simulation.simulation import Simulation

#: Sessions that may be begun in so many seconds, at most (`core.backoff.Backoff`).
_SESSIONS: Final = 8
_WINDOW_MS: Final = 10_000
#: Milliseconds by which two roundings may differ.
_ROUNDING: Final = 1.5
_SUMS: Final = ("succeeded", "failed", "dead_lettered", "expired", "shed", "in_flight", "queued")
#: Bytes of an event of the bus beyond a message from outside, at most.
_ENVELOPE: Final = 1024
#: Families of events by which the bridge reports; only a pattern that names them is set off by them.
_CIRCUIT: Final = {"opened": "open", "half_opened": "half_open", "closed": "closed"}


class Run(msgspec.Struct):
    """A simulation that has come to its end.

    Attributes:
        configuration: What was run, as it was read.
        record: All that happened.
        status: The answer of `bridge.status` before the process was stopped in order.
        overview: The answer of `bridge.overview` then.
        left: Tasks that were left when the process had stopped.
        is_settled: Whether nothing was left to do at the end.
        unacknowledged: Contents of messages that the stand-ins still had, by integration.
        listens: Whether somebody listened to everything, all the time.
    """

    configuration: Configuration
    record: Record
    status: Mapping[str, BridgeHealth | IntegrationHealth]
    overview: Overview | None = None
    left: list[str] = msgspec.field(default_factory=list)
    is_settled: bool = True
    unacknowledged: Mapping[str, list[Any]] = msgspec.field(default_factory=dict)
    listens: bool = True


def finish(world: Simulation, configuration: Configuration, *, listens: bool = True) -> Run:
    """Stop a simulation in order, and return what `violations` looks at."""
    run = Run(
        configuration,
        Record([*world.record.entries]),
        world.status(),
        world.overview(),
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
        stored = by_seq.get(end.seq) if isinstance(end, Ended) else None
        if isinstance(end, Ended) and stored is not None and stored.receipts and not stored.replayed:
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
        if isinstance(one, Stored) and one.replayed and one.correlation_id is not None:  # it is answered again
            again = (one.cause[2], one.correlation_id, one.route)
            allowed[again] += 1
            wanted[again] += 1
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
    for key in given.keys() | wanted.keys():
        if given[key] > allowed[key] or (run.is_settled and given[key] < wanted[key]):
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
        self._in_force = _InForce(run)

    def note(self, one: Entry) -> None:
        """Take the next entry of the record."""
        self._place += 1
        self._in_force.note(one)

    def by(self, one: Said) -> Iterator[tuple[str | None, bool]]:
        """Return the routes (None: a command) that answer an event, and whether they certainly do."""
        event = one.event
        family = event.event_type.partition(".")[0]
        if event.event_type == self._stop_with:
            return
        is_killed = any(place > self._place for place in self._kills)
        certain = self._in_force.runs and not is_killed
        if family in {"integration", "bridge"}:
            if event.source != self._source:
                yield None, certain
            return
        if event.headers is not None and REPEATED in event.headers:
            return
        for plan, triggers in self._routes:
            route = plan.route.name
            if (
                self._in_force.may_have(route)
                and any(trigger.matches(event.event_type) for trigger in triggers)
                and _applies(plan, event)
            ):
                is_stored = (route, event.source, event.id, event.event_type) in self._stored
                yield route, (certain and self._in_force.has(route)) or is_stored


class _InForce:
    """Follows which routes are in force; in the middle of a reload, those of either configuration may be.

    Attributes:
        runs: Whether a process runs that has not begun to stop.
    """

    def __init__(self, run: Run) -> None:
        self._files = frozenset(route.name for route in run.configuration.routes)
        self._either = [self._files]
        self._reloads = 0
        self.runs = False

    def note(self, one: Entry) -> None:
        """Take the next entry of the record."""
        if isinstance(one, Configured):
            self._files = one.routes
            self._either.append(one.routes)
            self._reloads += self.runs
        elif _is(one, "killed"):
            self.runs = False
        elif isinstance(one, LogLine):
            self._note_line(one)

    def _note_line(self, one: LogLine) -> None:
        if one.text == "ready":
            self._either, self._reloads, self.runs = [self._files], 0, True
        elif one.text == "stopping":
            self.runs = False
        elif one.text in {"reloaded", "not reloaded"} and self._reloads:
            self._reloads -= 1
            if one.text == "reloaded" and not self._reloads and self.runs:
                self._either = [self._files]

    def has(self, route: str) -> bool:
        """Return whether a route is certainly in force."""
        return all(route in one for one in self._either)

    def may_have(self, route: str) -> bool:
        """Return whether a route may be in force."""
        return any(route in one for one in self._either)


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
    # A dead letter is delivered again with its key, as is an event that comes again when its answer is forgotten.
    times = Counter(_key_of(one) for one in _stored(run))
    left_out = _shared_keys(run) | {key for key, count in times.items() if count > 1}
    keyed = [one for one in _stored(run) if one.key is not None and _key_of(one) not in left_out]
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
        for name in _replaced(one):
            begun.pop(name, None)
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
        for name in _replaced(one):
            states[name], probes[name] = "closed", None
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
    """The ends of a stored event count as many attempts as the remote, where one process has made them all."""
    if any(_is(one, "started") for one in run.record):
        return
    made = Counter((one.remote, one.idempotency_key) for one in run.record.attempts())
    ends = {end.seq: end for end in run.record if isinstance(end, Ended)}
    told: Counter[tuple[str, str | None]] = Counter()
    left_out = _shared_keys(run)
    for stored in _stored(run):
        if stored.seq in ends:
            told[_key_of(stored)] += ends[stored.seq].attempts
        else:
            left_out.add(_key_of(stored))
    for stored in _stored(run):
        key = _key_of(stored)
        if key not in left_out and made[key] != told[key]:
            yield f"{_at(ends[stored.seq])} {_name(stored)} counts {told[key]} attempts, the remote {made[key]}"


def _counts_at_the_end(run: Run) -> Iterator[str]:
    if not run.is_settled or not run.status:
        return
    since = max((place for place, one in enumerate(run.record) if _is(one, "started")), default=-1)
    life = run.record.entries[since + 1 :]
    # What comes for a subscription that a reload is about to end is not counted.
    is_reloaded = any(isinstance(one, Configured) for one in life)
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


def letters_are_kept(run: Run) -> Iterator[str]:
    """Each dead letter is there until it is replayed or discarded; commands tell how many that were."""
    made = sum(isinstance(one, Ended) and one.outcome == "dead_lettered" for one in run.record)
    moved = {
        "replay": sum(one.replayed for one in _stored(run)),
        "discard": sum(one.count for one in run.record if isinstance(one, Discarded)),
    }
    bridge = run.status.get("bridge")
    left = made - moved["replay"] - moved["discard"]
    if isinstance(bridge, BridgeHealth) and bridge.outbox.dead_letters != left:
        yield f"there are {bridge.outbox.dead_letters} dead letters, {left} were left"
    is_killed = any(_is(one, "killed") for one in run.record)
    for command, count in moved.items():
        asked = run.record.events(f"bridge.{command}")
        answers = [one.event.payload for one in run.record.events(f"response.bridge.{command}") if _is_own(run, one)]
        told = sum(one["result"]["moved"] for one in answers if one["ok"])
        if not is_killed and len(answers) == len(asked) and told != count:
            yield f"bridge.{command} told of {told} dead letters, {count} were moved"
    for one in run.record.events("response.bridge.dead_letters"):
        error = None if one.event.payload["ok"] else one.event.payload["error"]
        if _is_own(run, one) and error is not None and error["kind"] == "protocol":
            yield f"{_at(one)} the list of dead letters does not fit on the bus: {error['message']}"


def pauses_are_kept(run: Run) -> Iterator[str]:
    """When `pause` or `drain` was answered, no attempt begins before somebody resumes the integration."""
    asked: dict[tuple[str, str, str | None], int] = {}
    resumed: dict[str, int] = {}
    held: dict[str, str] = {}
    for place, one in enumerate(run.record):
        if _is(one, "started"):
            held.clear()
        for name in _replaced(one):
            held.pop(name, None)
        if isinstance(one, Attempt) and one.remote in held:
            yield f"{_at(one)} {one.remote}: an attempt after `{held[one.remote]}`"
        if not isinstance(one, Said):
            continue
        family, _, rest = one.event.event_type.partition(".")
        is_answer = family == "response" and _is_own(run, one)
        name, _, command = (rest.removeprefix("integration.") if is_answer else rest).partition(".")
        key = (name, command, one.event.correlation_id)
        if family == "integration" and command == "resume":
            resumed[name] = place
            held.pop(name, None)
        elif family == "integration" and command in {"pause", "drain"}:
            asked[key] = place
        elif is_answer and key in asked and one.event.payload["ok"] and asked[key] > resumed.get(name, -1):
            held[name] = command


def listeners_are_waited_for(run: Run) -> Iterator[str]:
    """A message that needs a listener comes on the bus only while somebody listens."""
    needing = _types_that_need_a_listener(run)
    prefixes: set[str] = set()
    for one in run.record:
        if isinstance(one, Listening):
            (prefixes.add if one.listens else prefixes.discard)(one.prefix)
        if not isinstance(one, Said) or one.event.event_type not in needing or not _is_own(run, one):
            continue
        is_repeated = one.event.headers is not None and REPEATED in one.event.headers
        if not is_repeated and not one.event.event_type.startswith(tuple(prefixes)):
            yield f"{_at(one)} {one.event.event_type} came, and nobody listened"


def _types_that_need_a_listener(run: Run) -> set[str]:
    needing: set[str] = set()
    others: set[str] = set()
    triggers = [Trigger(pattern) for route in run.configuration.routes for pattern in route.on]
    for one in run.configuration.subscriptions:
        if one.emit is None or not one.emit.constant:
            continue
        spec = run.configuration.integrations[one.integration].spec
        event_type = str(one.emit.evaluate({}))
        waits = one.listener == "required" and spec.acknowledged("consume" if one.queue else "subscribe", one.qos)
        is_taken = any(trigger.matches(event_type) for trigger in triggers)
        (needing if waits and not is_taken else others).add(event_type)
    return needing - others


def all_can_be_read(run: Run) -> Iterator[str]:
    """Each message on the bus is an event within the limits of the bus."""
    for one in run.record:
        if isinstance(one, Garbage):
            yield f"{_at(one)} a message is no event: {one.reason}"


def messages_are_kept(run: Run) -> Iterator[str]:
    """A message that was acknowledged is on the bus; at the end none waits that could come."""
    said: set[bytes] = set()
    dropped = any(isinstance(one, IntegrationHealth) and one.dropped for one in run.status.values())
    largest = run.configuration.bus.max_message - _ENVELOPE
    for one in run.record.events():
        payload = one.event.payload
        if isinstance(payload, dict) and "topic" in payload and "message" in payload:
            said.add(_encoded(payload["topic"], payload["message"]))
    for delivery in run.record.deliveries():
        content = _encoded(delivery.topic, delivery.content)
        fits = not dropped and len(content) <= largest
        if delivery.outcome == "acknowledged" and fits and content not in said:
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


def overview_is_the_state(run: Run) -> Iterator[str]:
    """`bridge.overview` says of each integration what `bridge.status` says, and its dead letters add up."""
    if run.overview is None:
        return
    for row in run.overview.integrations:
        health = run.status[row.integration]
        assert isinstance(health, IntegrationHealth)  # noqa: S101 - it has the label of an integration
        shown = (row.status, row.circuit, row.in_flight, row.queued + row.pending, row.dropped)
        if shown != (health.status, health.circuit, health.in_flight, health.queued, health.dropped):
            yield f"{row.integration}: the overview has {shown}, its health is {health}"
    letters, stored = (
        sum(row.dead_letters for row in run.overview.integrations),
        run.overview.bridge.outbox.dead_letters,
    )
    if letters != stored:
        yield f"the integrations have {letters} dead letters, the outbox has {stored}"


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
        letters_are_kept,
        pauses_are_kept,
        listeners_are_waited_for,
        all_can_be_read,
        messages_are_kept,
        health_is_the_state,
        overview_is_the_state,
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


def _replaced(one: Entry) -> Iterator[str]:
    """Yield the integrations that a reload has ended; one with that name starts anew."""
    if isinstance(one, LogLine) and one.text == "reloaded":
        for line in one.fields.get("integrations", ()):
            if line.startswith("- "):
                yield line.removeprefix("- ")


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
