"""This bridge as a node of a fabric: its name, its heartbeat, and its place among the others.

The key `node.<node>` of the bucket belongs to whoever writes it. Each write names the revision of the one before, so of
two bridges with one name only one can go on. The other one finds out at its next write. It does not write any more
until the key has not changed for three heartbeats.

A bridge that was killed finds the record of its own installation (see `identity`) and takes the name at once. So does
one that finds a record that says `stopped`. All others wait first whether the record changes.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from bridge.core.cluster import ClusterSession, ConflictError, KeyEntry
from bridge.core.errors import BridgeError, RejectedError, UnavailableError
from bridge.core.log import structlog
from bridge.core.log_fields import error_fields
from bridge.core.model import ConnectionStatus
from bridge.core.units import duration_text, size_text
from bridge.fabric.context import FabricContext
from bridge.fabric.identity import instance_of
from bridge.fabric.nodes import Nodes, NodeView
from bridge.fabric.records import (
    LONGEST_HEARTBEAT,
    LONGEST_OFFER,
    MOST_BYTES,
    SHORTEST_HEARTBEAT,
    NodeRecord,
    OfferRecord,
    decode,
    encode,
)

#: Seconds that the broker has to answer a call. Less than others give it: after a write that was lost, the next one
#: must come before the other nodes have missed three heartbeats.
_ANSWER: Final = 5.0
#: Seconds between two writes, and between two looks at a name that others write, too.
_PAUSE: Final = 0.25
#: Seconds that an orderly end may take, and the end of a watch.
_LEAVE: Final = 1.0
_UNWATCH: Final = 0.1
#: Nodes that a problem names; of more it tells how many there are.
_MOST_NAMED: Final = 3

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


class OwnState(msgspec.Struct, frozen=True):
    """What the others may know of this bridge now.

    Attributes:
        integrations: Its integrations and their status, without those that it uses of others.
        offers: Those that the others may use, and the seconds that a command without a deadline may take there with
            all its attempts; None where it has no limit.
        leases: The `singleton` subscriptions for which it holds the lease.
    """

    integrations: Mapping[str, ConnectionStatus]
    offers: Mapping[str, float | None] = {}
    leases: Sequence[str] = ()


class _Watch(msgspec.Struct):
    """A watch of the bucket.

    Attributes:
        wake: Set where there is something to do before the next heartbeat.
        is_contested: Another bridge has written our key.
        ended: Why it has ended by itself.
        is_over: It is not ours any more.
    """

    wake: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    is_contested: bool = False
    ended: BridgeError | None = None
    is_over: bool = False


class _Rival(msgspec.Struct, frozen=True):
    """What stands under our name and is not ours.

    Attributes:
        revision: Its revision.
        since: When we saw that first, on this session; seconds of the clock's `monotonic`.
    """

    revision: int
    since: float


class Membership:
    """This bridge's membership in a fabric, and all nodes of it."""

    def __init__(
        self,
        context: FabricContext,
        *,
        own: Callable[[], OwnState],
        heartbeat: float,
        state_dir: Path | None,
        bridge: str,
        version: str,
        pid: int,
        run_id: str,
    ) -> None:
        """Create it; nothing is written to the bucket before `run`.

        Args:
            context: What all parts of the fabric share.
            own: Returns what the others may know of this bridge now.
            heartbeat: Seconds between two writes of the record; those beyond the limits of `records` are brought
                within them.
            state_dir: Where the id of this installation is kept, as `fabric-<fabric>.id`; None: it is kept nowhere, and
                a restart after `kill -9` waits for three heartbeats before it has its name again.
            bridge: The bridge's name.
            version: Its version.
            pid: Its process.
            run_id: Tells this process from all others.
        """
        settings = context.settings
        self._context = context
        self._clock = context.clock
        self._bucket = context.names.bucket
        self._node = context.names.node
        self._key = context.names.node_key(self._node)
        self._own = own
        self._heartbeat = min(max(heartbeat, SHORTEST_HEARTBEAT), LONGEST_HEARTBEAT)
        self._record = NodeRecord(
            node=self._node,
            instance=instance_of(state_dir, settings.name, context.rng),
            run=run_id,
            bridge=bridge,
            version=version,
            pid=pid,
            started_ms=self._clock.wall_ms(),
            heartbeat_ms=round(self._heartbeat * 1000),
            status="connected",
            integrations={},
            offers={},
            leases=[],
            delivery=settings.delivery,
            max_age_ms=round(settings.max_age * 1000),
            max_bytes=settings.max_bytes,
            replicas=settings.replicas,
        )
        self._nodes = Nodes(context, self._on_nodes)
        self._on_joined: list[Callable[[bool], None]] = []
        self._on_change: list[Callable[[], None]] = []
        self._problems: list[str] | None = None
        self._joined = False
        self._error: BridgeError | None = None
        self._session: ClusterSession | None = None
        self._watch = _Watch()
        self._writing = asyncio.Lock()
        self._is_draining = False
        self._has_left = False
        self._is_closed = False
        self._is_shortened = False
        # What we wrote last, and when we began to write or looked last whether there is something to write.
        self._revision = 0
        self._written = b""
        self._written_at = self._looked_at = float("-inf")
        self._is_new = True  # this process was not a node yet, so a record of its installation is one of its past
        self._is_unsure = False  # a write was not answered, so it may be there
        self._rival: _Rival | None = None
        self._refused: str | None = None  # the run of the bridge that has our name, and was told about

    @property
    def joined(self) -> bool:
        """Whether this bridge is a node now: it has its name, as far as it knows.

        It stays true while `run` has failed with BridgeError and is to be run again on the same session.
        """
        return self._joined

    @property
    def error(self) -> BridgeError | None:
        """Why it is not a node, where it tries to become one; `permanent` where another living bridge has its name."""
        return self._error

    def on_joined(self, callback: Callable[[bool], None]) -> None:
        """Call back with each new value of `joined`."""
        self._on_joined.append(callback)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back where `nodes`, `offering`, `longest` or `problems` have another answer, at most ten times a second.

        That a heartbeat came is no change.
        """
        self._on_change.append(callback)

    async def run(self, session: ClusterSession) -> None:
        """Become a node on this session and remain one, until it is cancelled.

        The bucket must be there. Where it was deleted, this ends with an error, and the bucket must be made again.

        Raises:
            BridgeError: The bucket cannot be read, written or watched now.
        """
        if session is not self._session:
            self._set_joined(False)
        self._session, self._rival = session, None
        self._watch = watch = _Watch()
        self._nodes.begin()
        try:
            begun = session.watch(self._bucket, partial(self._on_entry, watch), partial(self._on_ended, watch))
            end = await self._call(begun, "watching the bucket")
            try:
                self._nodes.complete()
                await self._be_a_node(session, watch)
            finally:
                watch.is_over = True
                with suppress(BridgeError, TimeoutError):
                    async with self._clock.timeout(_UNWATCH):
                        await end()
        except asyncio.CancelledError:
            self._set_joined(False)
            raise
        finally:
            watch.is_over = True

    def touch(self) -> None:
        """Say that the state of this bridge may have changed: it is written soon, at most four times a second."""
        self._watch.wake.set()

    def drain(self) -> None:
        """Say that this bridge takes no more commands; it is `draining` from now on."""
        self._is_draining = True
        self.touch()

    async def leave(self) -> None:
        """Say that this bridge leaves in order: it is `stopped`. Returns within a second; does not raise.

        Call it while `run` runs, and cancel that afterwards. From then on nothing is written any more.
        """
        self._has_left = True
        session = self._session
        if session is None or not (self._joined or self._writing.locked()):
            return
        try:
            # A write that is on its way may be the first one: the others have the record before this node knows it.
            async with self._clock.timeout(_LEAVE), self._writing:
                if not self._revision:
                    return
                value = encode(msgspec.structs.replace(self._now(), status="stopped"))
                revision = await session.update(self._bucket, self._key, value, self._revision)
                self._nodes.take(KeyEntry(self._key, value, revision))
        except (BridgeError, ConflictError, TimeoutError) as error:
            # The others see it as lost instead, three heartbeats later.
            log.info(
                "left fabric unannounced",
                fabric=self._context.settings.name,
                node=self._node,
                reason=str(error) or "no answer in time",
            )
        self._set_joined(False)

    def close(self) -> None:
        """Forget all nodes: their health is not repeated on the bus any more, and nothing calls back from now on."""
        self._is_closed = True
        self._nodes.close()

    async def forget(self, session: ClusterSession, node: str) -> None:
        """Give up a node that is gone: its key, and its place in the stream.

        Raises:
            RejectedError: It is alive, it is this bridge, or there is no such node.
            BridgeError: The broker cannot do it now.
        """
        if node == self._node:
            raise RejectedError(f"`{node}` is this bridge; ask another node of the fabric to forget it")
        key = self._context.names.node_key(node)
        entry = await self._call(session.get(self._bucket, key), "reading the record of a node")
        if entry is None:
            gone = ", ".join(f"`{one.name}`" for one in self.nodes().values() if not one.living)
            raise RejectedError(f"there is no node `{node}`; nodes that are gone: {gone or 'none'}")
        if entry.value is not None:  # else it was forgotten before; its place in the stream may be left
            self._check_is_gone(node, entry)
            try:
                await self._call(session.delete(self._bucket, key, entry.revision), "deleting the record of a node")
            except ConflictError:
                raise RejectedError(f"node `{node}` is alive: it has written its record just now") from None
        if self._context.settings.durable:
            names = self._context.names
            deleted = session.delete_consumer(names.stream, names.consumer_of(node))
            await self._call(deleted, "deleting the consumer of a node")

    def nodes(self) -> dict[str, NodeView]:
        """Return all nodes by name, in the order of their names, this bridge too.

        Where another bridge has this one's name, the node of that name is the other one.
        """
        return self._nodes.views()

    def offering(self, integration: str) -> list[str]:
        """Return the nodes that can be asked for an integration now, in the order of their names."""
        return self._nodes.offering(integration)

    def longest(self, integration: str) -> float | None:
        """Return the seconds that a command may take at the slowest of `offering`; None where none of them says it."""
        return self._nodes.longest(integration)

    def problems(self) -> list[str]:
        """Return one line for each setting that living other nodes have differently: which, and whose."""
        if self._problems is None:
            self._problems = list(self._differences())
        return list(self._problems)

    # --- the name and the heartbeat

    async def _be_a_node(self, session: ClusterSession, watch: _Watch) -> None:
        """Take the name, and write the heartbeat; begin again where the name is lost."""
        while True:
            if watch.ended is not None:
                raise watch.ended
            if self._has_left:
                await asyncio.get_running_loop().create_future()
            if not self._joined or not await self._beat(session, watch):
                await self._contend(session, watch)

    async def _beat(self, session: ClusterSession, watch: _Watch) -> bool:
        """Wait until there is something to write, and write it; return False where our key has another revision."""
        due = self._written_at + self._heartbeat
        await self._wait(watch, until=due)
        await self._wait_until(min(self._looked_at + _PAUSE, due))
        if watch.ended is not None or self._has_left:
            return True
        is_contested, watch.is_contested = watch.is_contested, False
        watch.wake.clear()
        self._looked_at = now = self._clock.monotonic()
        value = self._encoded()
        if value == self._written and now < due and not is_contested:
            return True
        return await self._write(session, KeyEntry(self._key, self._written, self._revision), value)

    async def _contend(self, session: ClusterSession, watch: _Watch) -> None:
        """Look who has our name. Take it where that may be; else wait until it may have changed."""
        watch.wake.clear()
        watch.is_contested = False
        entry = await self._call(session.get(self._bucket, self._key), "reading the record of this node")
        record = _read(self._node, entry)
        now = self._clock.monotonic()
        if entry is not None and record is not None and not self._is_free(entry, record):
            if self._joined or (self._rival is not None and self._rival.revision != entry.revision):
                self._refuse(record)
            if self._rival is None or self._rival.revision != entry.revision:
                self._rival = _Rival(entry.revision, now)
            over = self._rival.since + record.patience
            if now < over:
                self._wait_for(record)
                await self._wait(watch, until=over)
                await self._wait_until(min(now + _PAUSE, over))
                return
        if not await self._write(session, entry, self._encoded()):
            await self._wait_until(now + _PAUSE)
            return
        if self._has_left:
            return
        if not self._joined:
            log.info("joined fabric", fabric=self._context.settings.name, node=self._node)
        self._is_new, self._rival, self._refused, self._error = False, None, None, None
        self._set_joined(True)

    def _is_free(self, entry: KeyEntry, record: NodeRecord) -> bool:
        """Return whether we may take our name at once from what stands there."""
        own = self._record
        if not record.alive:
            return True
        if record.run == own.run and (self._is_unsure or entry.revision == self._revision):
            return True
        return self._is_new and (record.run == own.run or record.instance == own.instance)

    async def _write(self, session: ClusterSession, base: KeyEntry | None, value: bytes) -> bool:
        """Write our record in place of `base`; return False where something else stands there by now."""
        async with self._writing:
            if self._has_left:
                return True
            was_unsure, self._is_unsure = self._is_unsure, True
            self._written_at = self._looked_at = self._clock.monotonic()
            try:
                if base is None or base.value is None:
                    written = session.create(self._bucket, self._key, value)
                else:
                    written = session.update(self._bucket, self._key, value, base.revision)
                revision = await self._call(written, "writing the record of this node")
            except ConflictError:
                self._is_unsure = was_unsure
                return False
            self._is_unsure = False
            self._revision, self._written = revision, value
            self._nodes.take(KeyEntry(self._key, value, revision))
            return True

    def _refuse(self, record: NodeRecord) -> None:
        """Another living bridge has our name: say so, loudly, once for each process."""
        self._is_new = self._is_unsure = False
        self._revision = 0
        if self._refused != record.run:
            self._refused = record.run
            fabric = self._context.settings.name
            text = (
                f"the name `{self._node}` is taken in the fabric `{fabric}` by another living bridge: "
                f"`{record.bridge}` {record.version}, process {record.pid}; give one of the two another `node`"
            )
            self._error = RejectedError(text, permanent=True)
            log.error("node name taken", fabric=fabric, **error_fields(self._error))
            self._context.changed()
        self._set_joined(False)

    def _wait_for(self, record: NodeRecord) -> None:
        """Tell that we wait whether a record with our name changes."""
        if self._error is None:
            text = (
                f"the name `{self._node}` belongs to the bridge `{record.bridge}`, process {record.pid}, which may "
                f"have ended; it is free when its record has not changed for {record.patience:g} s"
            )
            self._error = UnavailableError(text)
            self._context.changed()

    def _now(self) -> NodeRecord:
        """Return what is to be written now."""
        own = self._own()
        offers = {
            label: OfferRecord(
                status=own.integrations.get(label, ConnectionStatus.DISCONNECTED),
                longest_ms=None if longest is None else min(longest, LONGEST_OFFER) * 1000,
            )
            for label, longest in own.offers.items()
        }
        return msgspec.structs.replace(
            self._record,
            status="draining" if self._is_draining else "connected",
            integrations=dict(own.integrations),
            offers=offers,
            leases=sorted(own.leases),
        )

    def _encoded(self) -> bytes:
        """Return what is to be written now as the bucket has it; of what is too large, what the others need most."""
        record = self._now()
        value = encode(record)
        was_shortened, self._is_shortened = self._is_shortened, len(value) > MOST_BYTES
        if self._is_shortened:
            offered = {label: one.status for label, one in record.offers.items()}
            value = encode(msgspec.structs.replace(record, integrations=offered, leases=[]))
            if len(value) > MOST_BYTES:
                value = encode(msgspec.structs.replace(record, integrations={}, offers={}, leases=[]))
        if self._is_shortened != was_shortened:
            self._on_nodes()
        return value

    def _set_joined(self, joined: bool) -> None:
        if joined != self._joined:
            self._joined = joined
            self._context.changed()
            if not self._is_closed:
                for callback in self._on_joined:
                    callback(joined)

    # --- what the others write

    def _on_entry(self, watch: _Watch, entry: KeyEntry) -> None:
        if watch.is_over:
            return
        record = self._nodes.take(entry)
        if entry.key == self._key:
            is_foreign = record is not None and record.run != self._record.run
            watch.is_contested |= self._joined and is_foreign
            if is_foreign or not self._joined:
                watch.wake.set()

    def _on_ended(self, watch: _Watch, error: BridgeError) -> None:
        watch.ended = error
        watch.wake.set()

    def _on_nodes(self) -> None:
        self._problems = None
        self._context.changed()
        if not self._is_closed:
            for callback in self._on_change:
                callback()

    def _check_is_gone(self, node: str, entry: KeyEntry) -> None:
        """Raise RejectedError where a node may be alive; what is no record was written by no node."""
        if _read(node, entry) is None:
            return
        view = self._nodes.view(node)
        if view is not None and not view.living and self._nodes.revision(node) == entry.revision:
            return
        status = f"`{view.status}`" if view is not None and view.living else "alive, or was so just now"
        raise RejectedError(f"node `{node}` is {status}; stop it first, or wait until it is `lost`")

    def _differences(self) -> Iterator[str]:
        own = self._record
        if self._is_shortened:
            yield (
                f"the record of this node would have more than {MOST_BYTES} bytes; it leaves out integrations that are "
                "not offered, or all of them"
            )
        others = [one for one in self._nodes.views().values() if one.living and one.record.run != own.run]
        for key, text in _SETTINGS.items():
            here, names = getattr(own, key), dict[str, list[str]]()
            for other in others:
                there = getattr(other.record, key)
                is_used = key not in _OF_THE_STREAM or other.record.delivery == own.delivery == "at_least_once"
                if there != here and is_used:
                    names.setdefault(text(there), []).append(other.name)
            for there, nodes in names.items():
                yield (
                    f"`{key.removesuffix('_ms')}` is {text(here)} here and {there} at {_listed(nodes)}; "
                    "it must be the same at all nodes of a fabric"
                )

    # --- time

    async def _call(self, work: Coroutine[Any, Any, _T], what: str) -> _T:
        """See `FabricContext.call`."""
        return await self._context.call(work, what, limit=_ANSWER)

    async def _wait(self, watch: _Watch, *, until: float) -> None:
        """Return at a time of the clock's `monotonic`, or as soon as there is something to do."""
        left = until - self._clock.monotonic()
        if left > 0:
            with suppress(TimeoutError):
                async with self._clock.timeout(left):
                    await watch.wake.wait()

    async def _wait_until(self, moment: float) -> None:
        left = moment - self._clock.monotonic()
        if left > 0:
            await self._clock.sleep(left)


def _read(node: str, entry: KeyEntry | None) -> NodeRecord | None:
    """Return the record of a key; None where there is none, or no bridge has written it. The watch counts that."""
    if entry is None or entry.value is None:
        return None
    try:
        return decode(node, entry.value)
    except ValueError:
        return None


def _listed(names: Sequence[str]) -> str:
    shown = [f"`{name}`" for name in names[:_MOST_NAMED]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


#: Settings that all nodes must have alike, and how a value of each is shown.
_SETTINGS: Final[Mapping[str, Callable[[Any], str]]] = {
    "delivery": lambda value: f"`{value}`",
    "max_age_ms": lambda value: f"`{duration_text(value / 1000)}`",
    "max_bytes": lambda value: "without a limit" if value is None else f"`{size_text(value)}`",
    "replicas": lambda value: f"`{value}`",
}
#: Those of them that only matter where both deliver at least once.
_OF_THE_STREAM: Final = frozenset({"max_age_ms", "max_bytes"})
