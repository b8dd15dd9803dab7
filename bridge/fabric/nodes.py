"""The nodes of a fabric as this bridge sees them: what they have written last, and which of them are lost."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from bridge.core.cluster import KeyEntry
from bridge.core.errors import InvalidError
from bridge.core.log import structlog
from bridge.core.model import ConnectionStatus
from bridge.core.payloads.fabric import NodeHealth, NodeStatus
from bridge.core.timer import Timer
from bridge.fabric.context import FabricContext
from bridge.fabric.records import MOST_BYTES, NodeRecord, decode, node_of

#: Nodes that are known at most, beside this one. Where there are more, those that are gone for longest make room.
MOST_NODES: Final = 1_000
#: Seconds between two reports of what has changed.
_PAUSE: Final = 0.1
#: Statuses of nodes that are there.
_LIVING: Final = frozenset({"connected", "draining"})
#: Statuses of integrations that can be asked.
_READY: Final = frozenset({ConnectionStatus.CONNECTED, ConnectionStatus.DEGRADED})
#: Names in a line of the log at most.
_MOST_NAMES: Final = 8

log = structlog.get_logger(__name__)


class NodeView(msgspec.Struct, frozen=True):
    """A node, as this bridge sees it.

    Attributes:
        name: Its name.
        status: `lost` where three heartbeats are missing, else what it says.
        since: When the status became so, Unix time in milliseconds.
        heard: When its last heartbeat came, in seconds of the clock's `monotonic`.
        record: What it has written last.
    """

    name: str
    status: NodeStatus
    since: int
    heard: float
    record: NodeRecord

    @property
    def living(self) -> bool:
        """Return whether it is there."""
        return self.status in _LIVING


class _Node(msgspec.Struct):
    """What is known of a node; see `NodeView`.

    Attributes:
        value: The record as it was written.
        revision: The revision of that.
        previous: The status before; None at first.
    """

    record: NodeRecord
    value: bytes
    revision: int
    heard: float
    status: NodeStatus
    since: int
    previous: NodeStatus | None = None


class Nodes:
    """All nodes of a fabric, made from the entries of its bucket.

    Time is taken from the clock that leaves out the time in which this process was suspended, so whoever stood still
    takes nobody for lost. Each change of a node's status and integrations is published as `health.node.<node>`.
    """

    def __init__(self, context: FabricContext, on_change: Callable[[], None]) -> None:
        """Create it without nodes.

        Args:
            context: What all parts of the fabric share.
            on_change: Called where something is another one now, at most ten times a second.
        """
        self._context = context
        self._clock = context.clock
        self._own = context.names.node
        self._on_change = on_change
        self._nodes: dict[str, _Node] = {}
        self._gone: dict[str, None] = {}  # names of the nodes that are not living; the first is so for longest
        self._offering: dict[str, list[str]] = {}
        self._unsaid: dict[str, None] = {}  # names of the nodes that are not as they were
        self._told: dict[str, NodeHealth] = {}  # what the bus keeps
        self._first: dict[str, KeyEntry] | None = None  # what was collected so far
        self._told_at = float("-inf")
        self._telling = Timer(self._clock)
        self._judging = Timer(self._clock)
        self._is_closed = False

    def begin(self) -> None:
        """Expect all that is in the bucket: `take` only collects it, until `complete`. The oldest entry comes first."""
        self._first = {}

    def complete(self) -> None:
        """Take what was collected; nodes that are not among it are forgotten."""
        first, self._first = self._first or {}, None
        for node in self._nodes.keys() - first.keys():
            self._remove(node)
        for node, entry in first.items():
            self._take(node, entry, age=max(entry.age, 0.0))

    def take(self, entry: KeyEntry) -> NodeRecord | None:
        """Take a change in the bucket; return the record where it is a node's that could be read.

        A change that comes while the bucket is watched came just now, whatever its age: a broker's clock may be set.
        """
        node = self._node_of(entry.key)
        if node is None or self._is_closed:
            return None
        if self._first is None:
            return self._take(node, entry, age=0.0)
        self._collect(self._first, node, entry)
        return None

    def views(self) -> dict[str, NodeView]:
        """Return all nodes by name, in the order of their names."""
        return {name: self._view(name, self._nodes[name]) for name in sorted(self._nodes)}

    def view(self, name: str) -> NodeView | None:
        """Return one node; None where it is not known."""
        node = self._nodes.get(name)
        return None if node is None else self._view(name, node)

    def revision(self, name: str) -> int:
        """Return the revision of what a node has written last; 0 where it is not known."""
        node = self._nodes.get(name)
        return 0 if node is None else node.revision

    def offering(self, integration: str) -> list[str]:
        """Return the nodes that can be asked for an integration now, in the order of their names."""
        found = self._offering.get(integration)
        if found is None:
            found = self._offering[integration] = sorted(
                name
                for name, node in self._nodes.items()
                if node.status == "connected"
                and (offer := node.record.offers.get(integration)) is not None
                and offer.status in _READY
            )
        return list(found)

    def longest(self, integration: str) -> float | None:
        """Return the seconds that a command may take at the slowest of `offering`; None where none of them says it."""
        offers = (self._nodes[name].record.offers[integration] for name in self.offering(integration))
        limits = [one.longest_ms for one in offers if one.longest_ms is not None]
        return max(limits) / 1000 if limits else None

    def close(self) -> None:
        """Forget all nodes, on the bus, too; nothing is published or called from now on."""
        self._is_closed = True
        self._telling.cancel()
        self._judging.cancel()
        for name in self._told:
            self._context.bus.forget(f"health.node.{name}")
        self._told.clear()
        self._nodes.clear()
        self._gone.clear()
        self._unsaid.clear()
        self._offering.clear()

    def _node_of(self, key: str) -> str | None:
        try:
            node = node_of(key)
        except ValueError as error:
            self._context.garbage(f"a key of the bucket: {error}")
            return None
        if node is None and not key.startswith("lease."):
            self._context.garbage("a key of the bucket: it begins neither with `node.` nor with `lease.`")
        return node

    def _collect(self, first: dict[str, KeyEntry], name: str, entry: KeyEntry) -> None:
        """Remember an entry; of too many, those that were written last, and our own."""
        if entry.value is not None and len(entry.value) > MOST_BYTES:
            entry = msgspec.structs.replace(entry, value=entry.value[: MOST_BYTES + 1])  # still no record
        first.pop(name, None)  # so that it comes last
        first[name] = entry
        if len(first) - (self._own in first) > MOST_NODES:
            del first[next(one for one in first if one != self._own)]
            self._too_many()

    def _take(self, name: str, entry: KeyEntry, *, age: float) -> NodeRecord | None:
        if entry.value is None:
            self._remove(name)
            return None
        known = self._nodes.get(name)
        if known is not None and known.revision == entry.revision:
            return known.record
        has_news = known is None or known.value != entry.value  # most heartbeats have none
        try:
            record = decode(name, entry.value) if known is None or has_news else known.record
        except ValueError as error:  # a node that is known is lost soon, unless it writes again
            self._context.garbage(f"the value of the key of node `{name}`: {error}")
            return None
        now = self._clock.monotonic()
        if known is None:
            self._add(name, record, entry.value, entry.revision, now - age)
        else:
            known.record, known.value, known.revision = record, entry.value, entry.revision
            known.heard = max(known.heard, now - age)
            self._set_status(name, known, self._status(record, known.heard, now))
            if has_news:
                self._mark(name)
        return record

    def _add(self, name: str, record: NodeRecord, value: bytes, revision: int, heard: float) -> None:
        now, wall = self._clock.monotonic(), self._clock.wall_ms()
        status = self._status(record, heard, now)
        if name != self._own and not self._make_room(is_living=status in _LIVING):
            self._too_many()
            return
        ago = {"stopped": now - heard, "lost": now - heard - record.patience}.get(status, 0.0)
        since = max(wall - round(ago * 1000), 0)
        self._nodes[name] = node = _Node(record, value, revision, heard, status, since)
        self._note_gone(name, status)
        self._judge_in_time(node)
        self._mark(name)

    def _make_room(self, *, is_living: bool) -> bool:
        """Return whether there is room for a node; one that is living takes the place of one that is gone."""
        count = len(self._nodes) - (self._own in self._nodes)
        if count < MOST_NODES:
            return True
        victim = next((one for one in self._gone if one != self._own), None)
        if not is_living or victim is None:
            return False
        self._remove(victim)
        return True

    def _too_many(self) -> None:
        self._context.garbage(f"the bucket has keys of more than {MOST_NODES} nodes; `fleet forget` gives up one")

    def _remove(self, name: str) -> None:
        node = self._nodes.pop(name, None)
        if node is not None:
            self._gone.pop(name, None)
            self._mark(name)

    def _status(self, record: NodeRecord, heard: float, now: float) -> NodeStatus:
        """Return a node's status; that of its record, unless heartbeats are missing."""
        return "lost" if record.alive and now >= heard + record.patience else record.status

    def _set_status(self, name: str, node: _Node, status: NodeStatus) -> None:
        if status != node.status:
            node.previous, node.status, node.since = node.status, status, self._clock.wall_ms()
            self._note_gone(name, status)
            self._mark(name)
        self._judge_in_time(node)

    def _note_gone(self, name: str, status: NodeStatus) -> None:
        self._gone.pop(name, None)
        if status not in _LIVING:
            self._gone[name] = None

    def _judge_in_time(self, node: _Node) -> None:
        """See to it that the node is judged when its next three heartbeats are missing."""
        due = node.heard + node.record.patience
        if node.status in _LIVING and due < self._judging.due:
            self._judging.set(due - self._clock.monotonic(), self._judge)

    def _judge(self) -> None:
        """Find the nodes that are lost by now."""
        now = self._clock.monotonic()
        for name, node in self._nodes.items():
            if node.status in _LIVING:
                self._set_status(name, node, self._status(node.record, node.heard, now))

    def _mark(self, name: str) -> None:
        """Note that a node is not as it was; it is told in this turn of the event loop or soon after."""
        self._offering.clear()
        self._unsaid[name] = None
        if not self._telling.is_set:
            self._telling.set(max(self._told_at + _PAUSE - self._clock.monotonic(), 0.0), self._tell)

    def _tell(self) -> None:
        """Publish the health of the nodes that are not as they were."""
        self._told_at = self._clock.monotonic()
        unsaid, self._unsaid = self._unsaid, {}
        before = {name: told.status for name in unsaid if (told := self._told.get(name)) is not None}
        for name in unsaid:
            self._tell_of(name)
        self._log(before)
        self._on_change()

    def _log(self, before: Mapping[str, NodeStatus]) -> None:
        """Log which other nodes are lost or back, compared with what was told before: many at once are one line."""
        now = {name: self._nodes[name].status for name in before if name in self._nodes and name != self._own}
        lost = sorted(name for name, status in now.items() if status == "lost" and before[name] != "lost")
        back = sorted(name for name, status in now.items() if status in _LIVING and before[name] == "lost")
        fabric = self._context.settings.name
        if lost:
            log.warning("nodes lost", fabric=fabric, nodes=lost[:_MOST_NAMES], count=len(lost))
        if back:
            log.info("nodes back", fabric=fabric, nodes=back[:_MOST_NAMES], count=len(back))

    def _tell_of(self, name: str) -> None:
        node, told = self._nodes.get(name), self._told.get(name)
        if node is None:
            if told is not None:
                del self._told[name]
                self._context.bus.forget(f"health.node.{name}")
            return
        health = self._health(name, node)
        if health != told:
            self._told[name] = health
            try:
                self._context.bus.keep(f"health.node.{name}", health)
            except InvalidError as error:
                self._context.garbage(f"the record of node `{name}` cannot be told on the bus: {error}")

    def _health(self, name: str, node: _Node) -> NodeHealth:
        record = node.record
        return NodeHealth(
            node=name,
            fabric=self._context.settings.name,
            status=node.status,
            previous=node.previous,
            since=node.since,
            bridge=record.bridge,
            version=record.version,
            integrations=record.integrations,
            offers=sorted(record.offers),
        )

    def _view(self, name: str, node: _Node) -> NodeView:
        return NodeView(name, node.status, node.since, node.heard, node.record)
