"""Finds what a person should look at, and says it once, however many integrations have the same trouble."""

from collections.abc import Iterator, Mapping
from typing import Final, get_args

import msgspec

from bridge.connection import Connection
from bridge.core.errors import ErrorObject
from bridge.core.model import CircuitState, ConnectionStatus
from bridge.core.payloads import BridgeHealth, IntegrationRow, Problem, ProblemKind
from bridge.observe.episodes import Episodes
from bridge.outbox import Outbox

#: The most problems that are told, and characters of one text.
_MOST: Final = 100
_MOST_TEXT: Final = 500
#: Many operations fail: so many in the last minute at least, and at least one of so many that ended.
_MANY: Final = 5
_ONE_OF: Final = 10
#: Steps of a series that make up about a minute.
_MINUTE: Final = 4
#: Milliseconds in the outbox after which an event has waited for long.
_LONG: Final = 60_000
#: Milliseconds after which it is worth a word that an integration still connects for the first time.
_LONG_CONNECT: Final = 15_000
_URGENCY: Final = {kind: number for number, kind in enumerate(get_args(ProblemKind))}
_WARNINGS: Final = frozenset(get_args(ProblemKind)[get_args(ProblemKind).index("dead_letters") :])
_BY_STATUS: Final[Mapping[ConnectionStatus, ProblemKind]] = {
    ConnectionStatus.FAILED: "failed",
    ConnectionStatus.DISCONNECTED: "disconnected",
    ConnectionStatus.PAUSED: "paused",
    ConnectionStatus.STOPPED: "stopped",
}


class Trouble(msgspec.Struct, frozen=True):
    """The trouble of one integration, or of the bridge.

    Attributes:
        kind: See `Problem`.
        reason: What those have in common whose troubles are one problem.
        text: What is wrong, where `count` does not say it.
        since: When it began, Unix time in milliseconds.
        integration: The integration's label; None for the bridge.
        count: How often it has happened.
        of: How often what happened could have happened.
    """

    kind: ProblemKind
    reason: str
    text: str
    since: int
    integration: str | None = None
    count: int = 0
    of: int = 0


class Problems:
    """Gathers the troubles, and groups them."""

    def __init__(self, now: int) -> None:
        """Begin without troubles; `now` is Unix time in milliseconds."""
        self._now = now
        self._groups: dict[tuple[ProblemKind, str], list[Trouble]] = {}

    def listed(self) -> list[Problem]:
        """Return the problems, the worst first."""
        groups = sorted(
            self._groups.values(), key=lambda group: (_URGENCY[group[0].kind], -len(group), min(t.since for t in group))
        )
        return [_problem(group) for group in groups[:_MOST]]

    def _add(self, trouble: Trouble) -> None:
        self._groups.setdefault((trouble.kind, trouble.reason), []).append(trouble)

    # --- of the bridge

    def of_bridge(self, health: BridgeHealth, episodes: Episodes, started: int) -> None:
        """Add what the bridge's own state and the bus show; `started` is when the bridge started."""
        outbox = health.outbox
        if outbox.problem is not None:
            self._add(
                Trouble("outbox", "", f"the outbox accepts nothing: {outbox.problem}", episodes.since(("outbox", None)))
            )
        if outbox.missing is not None:
            self._add(Trouble("outbox_loss", "", f"the outbox has lost events: {outbox.missing}", started))
        for kind, text in _OF_BUS.items():
            episode = episodes.get((kind, None))
            if episode is not None:
                self._add(Trouble(kind, "", text, episode.since, count=episode.count))

    def of_outbox(self, outbox: Outbox, health: BridgeHealth, known: Mapping[str, int]) -> None:
        """Add what waits in the outbox; `known` are the integrations that there are, with what waits for each."""
        for name, count in outbox.orphans.items():
            self._add(Trouble("orphans", "", "", self._now, name, count))
        for name, letters in outbox.dead_letters.items():
            self._add(Trouble("dead_letters", "", "", letters.since, name, letters.count))
        if health.outbox.oldest_ms > _LONG:
            for name, count in known.items():
                self._add(Trouble("waiting", "", "", self._now - health.outbox.oldest_ms, name, count))

    # --- of an integration

    def of_integration(self, row: IntegrationRow, connection: Connection, episodes: Episodes) -> None:
        """Add the troubles of one integration."""
        for trouble in self._of_integration(row, connection, episodes):
            self._add(trouble)

    def _of_integration(self, row: IntegrationRow, connection: Connection, episodes: Episodes) -> Iterator[Trouble]:
        name = row.integration
        kind = _BY_STATUS.get(row.status)
        if kind is not None:
            reason = _reason(row.error)
            yield Trouble(kind, reason, f"{row.status}: {reason}" if reason else row.status.value, row.since, name)
        elif row.status is ConnectionStatus.CONNECTING and self._now - row.since > _LONG_CONNECT:
            yield Trouble("connecting", "", "not connected yet", row.since, name)
        if row.circuit is not CircuitState.CLOSED and kind not in {"failed", "disconnected"}:
            yield _circuit(row, connection)
        elif kind is None:
            yield from self._operations(row, connection)
        if row.unwell:
            yield from _subscriptions(row, connection)
        elif row.status is ConnectionStatus.DEGRADED and row.circuit is CircuitState.CLOSED:
            yield Trouble("slow", "", "health checks take more than half of their time limit", row.since, name)
        if (episode := episodes.get(("dropped", name))) is not None:
            yield Trouble("dropped", "", "", episode.since, name, episode.count)
        for text in connection.subscriptions.unheard():
            yield Trouble("unheard", text, text, episodes.since(("unheard", name)), name)

    def _operations(self, row: IntegrationRow, connection: Connection) -> Iterator[Trouble]:
        """Yield a trouble where many operations failed in the last minute."""
        series = row.series
        if not series:
            return
        failed = sum(series.failed[-_MINUTE:])
        ended = failed + sum(series.succeeded[-_MINUTE:])
        if failed < _MANY or failed * _ONE_OF < ended:
            return
        steps = 0
        while steps < len(series.failed) and series.failed[-1 - steps]:
            steps += 1
        last = connection.guard.measured.failed
        error = last[-1].error if last and last[-1].at >= self._now - _MINUTE * series.step_ms else None
        since = min(self._now, series.at - max(0, steps - 1) * series.step_ms)
        reason = "" if error is None else error.kind
        yield Trouble("operations", reason, _reason(error), since, row.integration, failed, ended)


_OF_BUS: Final[Mapping[ProblemKind, str]] = {
    "lost": "of the bridge's own events were lost before they were sent: the bus did not take them",
    "missing": "events of other programs were lost on the bus",
    "rejected": "messages on the bus were not accepted",
}


def _reason(error: ErrorObject | None) -> str:
    return "" if error is None else f"{error.kind}: {error.message}"


def _circuit(row: IntegrationRow, connection: Connection) -> Trouble:
    state = row.circuit.value.replace("_", "-")
    changes = connection.guard.measured.circuit
    since = row.since
    for one in reversed(changes):
        if one.state is CircuitState.CLOSED:
            break
        since = one.at
    reason = "opened by hand" if connection.guard.breaker.forced else _reason(row.error)
    return Trouble(
        "circuit", reason, f"circuit {state}: {reason}" if reason else f"circuit {state}", since, row.integration
    )


def _subscriptions(row: IntegrationRow, connection: Connection) -> Iterator[Trouble]:
    found: dict[str, int] = {}
    for one in connection.subscriptions.unwell(row.unwell).values():
        reason = one.status if one.error is None else f"{one.status}: {_reason(one.error)}"
        found[reason] = found.get(reason, 0) + 1
    for reason, count in found.items():
        yield Trouble("subscriptions", reason, reason, row.since, row.integration, count)


def _problem(group: list[Trouble]) -> Problem:
    first = group[0]
    since = min(one.since for one in group)
    count = sum(one.count for one in group)
    match first.kind:
        case "lost" | "missing" | "rejected":
            text = f"{count} {first.text}"
        case "dropped":
            text = f"{_some(count, 'message')} from outside could not become an event"
        case "operations":
            text = f"{count} of {sum(one.of for one in group)} operations failed in the last minute"
            text += f", the last one: {group[-1].text}" if group[-1].text else " without an attempt"
        case "subscriptions":
            text = f"{_some(count, 'subscription')} not live: {first.text}"
        case "dead_letters":
            text = f"{_some(count, 'dead letter')} to be replayed or discarded"
        case "orphans":
            text = f"{_some(count, 'event')} in the outbox for integrations that do not exist"
        case "waiting":
            text = f"{_some(count, 'event')} in the outbox, the oldest for more than a minute"
        case _:
            text = first.text
    text = " ".join(text.split())
    return Problem(
        kind=first.kind,
        severity="warning" if first.kind in _WARNINGS else "error",
        text=text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…",
        since=since,
        integrations=sorted({one.integration for one in group if one.integration is not None}),
    )


def _some(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
