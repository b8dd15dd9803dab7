"""Finds what a person should look at, and says it once, however many integrations have the same trouble."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, get_args

import msgspec

from bridge.connection import Connection
from bridge.core.errors import ErrorObject
from bridge.core.model import CircuitState, ConnectionStatus
from bridge.core.payloads import BridgeHealth, FabricView, IntegrationRow, Problem, ProblemKind
from bridge.observe.episodes import Episodes
from bridge.outbox import Outbox

#: The most problems that are told, and characters of one text.
MOST: Final = 100
_MOST_TEXT: Final = 500
#: Many operations fail: so many in the last minute at least, and at least one of so many that ended.
MANY: Final = 5
ONE_OF: Final = 10
#: Steps of a series that make up a minute.
_MINUTE: Final = 4
#: Milliseconds in the outbox after which an event has waited for long.
LONG: Final = 60_000
#: Milliseconds after which it is worth a word that an integration still connects for the first time.
LONG_CONNECT: Final = 15_000
_KINDS: Final = get_args(ProblemKind)
_URGENCY: Final = {kind: number for number, kind in enumerate(_KINDS)}
_WARNINGS: Final = frozenset(_KINDS[_KINDS.index("dead_letters") :])
_BY_STATUS: Final[Mapping[ConnectionStatus, ProblemKind]] = {
    ConnectionStatus.FAILED: "failed",
    ConnectionStatus.DISCONNECTED: "disconnected",
    ConnectionStatus.PAUSED: "paused",
    ConnectionStatus.STOPPED: "stopped",
}
#: Names of nodes that one text has; of more only the number is.
_MOST_NODES: Final = 5
_NOT_CONNECTED: Final = frozenset({ConnectionStatus.FAILED, ConnectionStatus.DISCONNECTED})
_FABRIC_ENDED: Final = frozenset({"failed", "disconnected"})
_OF_BUS: Final[Mapping[ProblemKind, str]] = {
    "lost": "of the bridge's own events were lost before they were sent: the bus did not take them",
    "missing": "events of other programs were lost on the bus",
    "rejected": "messages on the bus were not accepted",
}
#: What says of an error whom it concerns, and not what it is: addresses, ports, ids, and names in quotes.
_PARTICULARS: Final = re.compile(r"(?<!\w)'[^']*'(?!\w)|\S*\d\S*[^\s:;,]")


class Trouble(msgspec.Struct, frozen=True):
    """The trouble of one integration, or of the bridge.

    Attributes:
        kind: See `Problem`.
        since: When it began, Unix time in milliseconds.
        integration: The integration's label; None for the bridge.
        text: What is wrong, beside what the kind and the counts say.
        count: How often it has happened.
        of: How often it could have happened.
    """

    kind: ProblemKind
    since: int
    integration: str | None = None
    text: str = ""
    count: int = 0
    of: int = 0

    @property
    def alike(self) -> str:
        """The text without what differs from integration to integration; equal where two have the same trouble."""
        if self.integration is None:
            return self.text
        return re.sub(rf"\b{re.escape(self.integration)}\b", "…", _PARTICULARS.sub("…", self.text))


class Problems:
    """Gathers the troubles, and groups them."""

    def __init__(self, now: int) -> None:
        """Begin without troubles; `now` is Unix time in milliseconds."""
        self._now = now
        self._groups: dict[tuple[ProblemKind, str], list[Trouble]] = {}

    def listed(self) -> list[Problem]:
        """Return the problems, the worst first."""
        found = [_problem(group) for group in self._groups.values()]
        found.sort(key=lambda one: (_URGENCY[one.kind], -len(one.integrations), one.since))
        return found[:MOST]

    def _add(self, trouble: Trouble) -> None:
        self._groups.setdefault((trouble.kind, trouble.alike), []).append(trouble)

    # --- of the bridge

    def of_bridge(self, health: BridgeHealth, episodes: Episodes, started: int) -> None:
        """Add what the bridge's own state and the bus show; `started` is when the bridge started."""
        outbox = health.outbox
        if outbox.problem is not None:
            self._add(Trouble("outbox", episodes.since(("outbox", None)), text=outbox.problem))
        if outbox.missing is not None:
            self._add(Trouble("outbox_loss", started, text=outbox.missing))
        for kind, text in _OF_BUS.items():
            episode = episodes.get((kind, None))
            if episode is not None:
                self._add(Trouble(kind, episode.since, text=text, count=episode.count))

    def of_outbox(self, outbox: Outbox, oldest_ms: int, episodes: Episodes) -> None:
        """Add what is in the outbox; `oldest_ms` is the age of the oldest event that waits there."""
        orphans = outbox.orphans
        for name, count in orphans.items():
            self._add(Trouble("orphans", episodes.since(("orphans", name)), name, count=count))
        for name, letters in outbox.dead_letters.items():
            self._add(Trouble("dead_letters", letters.since, name, count=letters.count))
        if oldest_ms > LONG:
            for name, count in outbox.pending.items():
                if name not in orphans:
                    self._add(Trouble("waiting", self._now - oldest_ms, name, count=count))

    def of_fabric(self, view: FabricView) -> None:
        """Add what is wrong with one fabric. An integration that nobody offers is a trouble of that integration."""
        health, name = view.health, f"fabric {view.health.fabric}"
        if health.error is not None or health.status in _FABRIC_ENDED:
            reason = _reason(health.error)
            text = f"{name}: {health.status}: {reason}" if reason else f"{name}: {health.status}"
            self._add(Trouble("fabric", health.since, text=text))
        elif health.status == "connecting" and self._now - health.since > LONG_CONNECT:
            self._add(Trouble("fabric", health.since, text=f"{name}: not connected yet"))
        for warning in health.warnings:
            self._add(Trouble("fabric_warnings", health.since, text=f"{name}: {warning}"))
        lost = {node: one.since for node, one in view.nodes.items() if one.status == "lost"}
        if lost:
            names = ", ".join(sorted(lost)[:_MOST_NODES])
            more = f" and {len(lost) - _MOST_NODES} more" if len(lost) > _MOST_NODES else ""
            are = "is" if len(lost) == 1 else "are"
            text = f"{_some(len(lost), 'node')} of {name} {are} lost: {names}{more}"
            self._add(Trouble("nodes", min(lost.values()), text=text))

    # --- of an integration

    def of_integration(self, row: IntegrationRow, connection: Connection, episodes: Episodes) -> None:
        """Add the troubles of one integration."""
        for trouble in self._of_integration(row, connection, episodes):
            self._add(trouble)

    def _of_integration(self, row: IntegrationRow, connection: Connection, episodes: Episodes) -> Iterator[Trouble]:
        name = row.integration
        kind = _BY_STATUS.get(row.status)
        if kind is not None:
            yield Trouble(kind, row.since, name, _reason(row.error) if row.status in _NOT_CONNECTED else "")
        elif row.status is ConnectionStatus.CONNECTING and self._now - row.since > LONG_CONNECT:
            yield Trouble("connecting", row.since, name)
        if row.circuit is CircuitState.CLOSED:
            if kind is None:
                yield from self._operations(row, connection)
            if row.unwell:
                yield from _subscriptions(row, connection)
            elif row.status is ConnectionStatus.DEGRADED:
                yield Trouble("slow", row.since, name)
        elif row.status not in _NOT_CONNECTED:
            yield _circuit(row, connection)
        if (episode := episodes.get(("dropped", name))) is not None:
            yield Trouble("dropped", episode.since, name, count=episode.count)
        for text in connection.subscriptions.unheard():
            yield Trouble("unheard", episodes.since(("unheard", name)), name, text)

    def _operations(self, row: IntegrationRow, connection: Connection) -> Iterator[Trouble]:
        """Yield a trouble where many operations failed in the last minute."""
        series = row.series
        if not series:
            return
        failed = sum(series.failed[-_MINUTE:])
        ended = failed + sum(series.succeeded[-_MINUTE:])
        if failed < MANY or failed * ONE_OF < ended:
            return
        before = [*reversed(series.failed[:-1]), 0]
        steps = before.index(0)
        last = connection.guard.measured.failed
        is_new = bool(last) and last[-1].at >= self._now - (_MINUTE + 1) * series.step_ms
        text = _reason(last[-1].error) if is_new else ""
        yield Trouble("operations", series.at - steps * series.step_ms, row.integration, text, failed, ended)


def _reason(error: ErrorObject | None) -> str:
    return "" if error is None else f"{error.kind}: {error.message}"


def _circuit(row: IntegrationRow, connection: Connection) -> Trouble:
    since = row.since
    for one in reversed(connection.guard.measured.circuit):
        if one.state is CircuitState.CLOSED:
            break
        since = one.at
    reason = "opened by hand" if connection.guard.breaker.forced else _reason(row.error)
    return Trouble("circuit", since, row.integration, reason)


def _subscriptions(row: IntegrationRow, connection: Connection) -> Iterator[Trouble]:
    found: dict[str, int] = {}
    for one in connection.subscriptions.unwell(row.unwell).values():
        reason = one.status if one.error is None else f"{one.status}: {_reason(one.error)}"
        found[reason] = found.get(reason, 0) + 1
    for reason, count in found.items():
        yield Trouble("subscriptions", row.since, row.integration, reason, count)


def _problem(group: Sequence[Trouble]) -> Problem:
    first = group[0]
    text = " ".join(_text(group).split())
    return Problem(
        kind=first.kind,
        severity="warning" if first.kind in _WARNINGS else "error",
        text=text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…",
        since=min(one.since for one in group),
        integrations=sorted({one.integration for one in group if one.integration is not None}),
    )


def _text(group: Sequence[Trouble]) -> str:
    first, count, of = group[0], sum(one.count for one in group), sum(one.of for one in group)
    text = first.text if all(one.text == first.text for one in group) else first.alike
    match first.kind:
        case "outbox":
            return f"the outbox accepts nothing: {text}"
        case "outbox_loss":
            return f"the outbox has lost events: {text}"
        case "lost" | "missing" | "rejected":
            return f"{count} {text}"
        case "failed" | "disconnected" | "paused" | "stopped":
            return f"{first.kind}: {text}" if text else first.kind
        case "connecting":
            return "not connected yet"
        case "circuit":
            return f"circuit open: {text}" if text else "circuit open"
        case "dropped":
            return f"{_some(count, 'message')} from outside could not become an event"
        case "operations":
            why = f", the last one with {text}" if text else " without an attempt"
            return f"{count} of {of} operations failed in the last minute{why}"
        case "subscriptions":
            return f"{_some(count, 'subscription')} not live: {text}"
        case "dead_letters":
            return f"{_some(count, 'dead letter')} to be replayed or discarded"
        case "orphans":
            return f"{_some(count, 'event')} in the outbox for integrations that do not exist"
        case "waiting":
            return f"{_some(count, 'event')} in the outbox, the oldest for more than a minute"
        case "slow":
            return "health checks take more than half of their time limit"
        case "unheard" | "fabric" | "nodes" | "fabric_warnings":
            return text


def _some(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
