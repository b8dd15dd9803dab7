"""All fabrics of a bridge."""

import asyncio
import weakref
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from bridge.config import FabricSettings
from bridge.core.errors import BridgeError, InvalidError, UnavailableError
from bridge.core.fabric import Lease, UsedIntegration
from bridge.core.model import Event, Executed, Operation
from bridge.core.near import did_you_mean
from bridge.core.payloads import Fleet, Forgotten
from bridge.core.ports import Context, ProtocolAdapter
from bridge.fabric.surroundings import Surroundings
from bridge.outbox import DeliveryConnection

if TYPE_CHECKING:
    from bridge.fabric.fabric import Fabric
    from bridge.fabric.leases import Leases


class Fabrics:
    """The fabrics of a bridge. `run` owns their tasks; `apply` fits them to a configuration, at any time.

    Attributes:
        by_label: The fabrics that there are now.
    """

    def __init__(self, around: Surroundings) -> None:
        """Create it without a fabric."""
        self._around = around
        self.by_label: dict[str, Fabric] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._sessions: dict[str, ProtocolAdapter] = {}
        self._group: asyncio.TaskGroup | None = None
        self._over = asyncio.Event()
        self._applied = asyncio.Event()
        self._leases: weakref.WeakSet[_Lease] = weakref.WeakSet()

    # --- life

    def apply(self, settings: Mapping[str, FabricSettings]) -> None:
        """Fit the fabrics to a configuration, `fabric` blocks by label. One that has changed leaves and joins again."""
        for name, fabric in tuple(self.by_label.items()):
            if settings.get(name) != fabric.settings:
                del self.by_label[name]
                self._end(fabric, gone=name not in settings)
        for name, wanted in settings.items():
            if name not in self.by_label:
                from bridge.fabric.fabric import Fabric  # noqa: PLC0415 - few bridges have a fabric

                fabric = self.by_label[name] = Fabric(wanted, self._around, partial(self._takes_beside, name))
                if (session := self._sessions.get(wanted.integration)) is not None:
                    fabric.on_session(session)
                self._start(fabric)
        for lease in self._leases:
            lease.attach()
        applied, self._applied = self._applied, asyncio.Event()
        applied.set()

    async def run(self) -> None:
        """Run the fabrics until `close`."""
        async with asyncio.TaskGroup() as self._group:
            for fabric in self.by_label.values():
                self._start(fabric)
            await self._over.wait()
            for task in self._running.values():
                task.cancel()
        self._group = None

    def close(self) -> None:
        """Let `run` return; nothing is told to the other nodes by that."""
        self._over.set()

    def _start(self, fabric: "Fabric") -> None:
        if self._group is not None and not self._over.is_set():
            before = self._running.get(fabric.settings.name)
            self._running[fabric.settings.name] = self._group.create_task(_run_after(before, fabric))

    def _end(self, fabric: "Fabric", *, gone: bool) -> None:
        """End a fabric; one that is `gone` leaves in order, any other gives up its leases and joins again at once."""
        name = fabric.settings.name
        task = self._running.pop(name, None)
        if self._group is None or task is None:
            return
        ending = self._group.create_task(_leave_and_end(fabric, task) if gone else _end(fabric, task))
        if not gone:
            self._running[name] = ending

    async def drain(self) -> None:
        """Let the other nodes send no more commands; return when none comes any more."""
        async with asyncio.TaskGroup() as group:
            for fabric in self.by_label.values():
                group.create_task(fabric.drain())

    async def leave(self) -> None:
        """Tell the other nodes that this bridge leaves, and give up its leases. It takes about a second at most."""
        async with asyncio.TaskGroup() as group:
            for fabric in self.by_label.values():
                group.create_task(fabric.leave())

    # --- what happens

    def on_session(self, integration: str, session: ProtocolAdapter | None) -> None:
        """Take a new session of an integration, or that it has none; see `connection.SessionListener`."""
        if session is None:
            self._sessions.pop(integration, None)
        else:
            self._sessions[integration] = session
        for fabric in self.by_label.values():
            if fabric.settings.integration == integration:
                fabric.on_session(session)

    def on_status(self) -> None:
        """Tell the other nodes that the status of an integration has changed."""
        for fabric in self.by_label.values():
            fabric.touch()

    def on_event(self, event: Event) -> None:
        """Export an event of this bus to each fabric that takes it. Raises nothing."""
        for fabric in self.by_label.values():
            if fabric.exporter.takes(event.event_type):
                fabric.exporter.on_event(event)

    def takes(self, event_type: str) -> bool:
        """Return whether events of this type are exported."""
        return any(fabric.exporter.takes(event_type) for fabric in self.by_label.values())

    def _takes_beside(self, name: str, event_type: str) -> bool:
        """Return whether another fabric than this one exports events of a type."""
        return any(fabric.exporter.takes(event_type) for other, fabric in self.by_label.items() if other != name)

    def sender(self, integration: str, route: str) -> DeliveryConnection | None:
        """Return what sends the events of the outbox that a fabric exports; see `outbox.Outbox`."""
        for fabric in self.by_label.values():
            if fabric.route == route:
                return fabric.exporter.sender(integration)
        return None

    @property
    def patterns(self) -> set[str]:
        """The patterns of the event types that are exported."""
        return {pattern for fabric in self.by_label.values() for pattern in fabric.settings.exports}

    def get(self, fabric: str) -> "Fabric | None":
        """Return the fabric of a label; None where there is none now."""
        return self.by_label.get(fabric)

    async def applied(self) -> None:
        """Return when the fabrics are fitted to a configuration again."""
        await self._applied.wait()

    # --- core.fabric.Fabrics

    def used(self, fabric: str, integration: str) -> UsedIntegration:
        """See `core.fabric.Fabrics.used`."""
        return _Used(self, fabric, integration)

    def lease(self, fabric: str, subscription: str) -> Lease:
        """See `core.fabric.Fabrics.lease`."""
        lease = _Lease(self.by_label, fabric, subscription)
        self._leases.add(lease)
        return lease

    # --- for people

    def publish_health(self) -> None:
        """Publish the health of all fabrics and nodes as a heartbeat."""
        for fabric in self.by_label.values():
            fabric.publish_health(heartbeat=True)

    def view(self) -> Fleet:
        """Return the result of `bridge.fleet`."""
        return Fleet(fabrics={name: fabric.view() for name, fabric in self.by_label.items()})

    async def forget_node(self, node: str, fabric: str | None) -> Forgotten:
        """Give up the place of a node that is gone, in one fabric or in all that know it.

        Raises:
            InvalidError: There is no such node or fabric, or the node lives.
            BridgeError: The broker refuses, or cannot be reached.
        """
        if fabric is not None and fabric not in self.by_label:
            raise InvalidError(f"there is no fabric {fabric!r}{did_you_mean(fabric, self.by_label)}")
        known = {
            name: one
            for name, one in self.by_label.items()
            if fabric in {None, name} and node in one.membership.nodes()
        }
        if not known:
            names = {name for one in self.by_label.values() for name in one.membership.nodes()}
            raise InvalidError(f"there is no node {node!r}{did_you_mean(node, names)}")
        for one in known.values():
            await one.forget(node)
        return Forgotten(fabrics=sorted(known))


async def _run_after(before: asyncio.Task[None] | None, fabric: "Fabric") -> None:
    """Run a fabric when the one that had its name before has ended."""
    if before is not None:
        await asyncio.wait({before})
    await fabric.run()


async def _leave_and_end(fabric: "Fabric", task: asyncio.Task[None]) -> None:
    await fabric.leave()
    await _end(fabric, task)


async def _end(fabric: "Fabric", task: asyncio.Task[None]) -> None:
    await fabric.leases.leave()
    task.cancel()
    await asyncio.wait({task})
    fabric.close()


class _Used:
    """An integration of other nodes; the fabric behind it may come, change and go."""

    def __init__(self, fabrics: Fabrics, fabric: str, integration: str) -> None:
        self.by_label = fabrics
        self._fabric = fabric
        self._integration = integration

    @property
    def _now(self) -> UsedIntegration | None:
        fabric = self.by_label.get(self._fabric)
        return None if fabric is None else fabric.uses.of(self._integration)

    def unavailable(self) -> BridgeError | None:
        """See `core.fabric.UsedIntegration.unavailable`."""
        now = self._now
        return self._gone() if now is None else now.unavailable()

    async def changed(self) -> None:
        """See `core.fabric.UsedIntegration.changed`."""
        now = self._now
        await (self.by_label.applied() if now is None else now.changed())

    async def perform(self, operation: Operation, context: Context) -> Executed:
        """See `core.fabric.UsedIntegration.perform`."""
        now = self._now
        if now is None:
            raise self._gone()
        return await now.perform(operation, context)

    def _gone(self) -> UnavailableError:
        return UnavailableError(f"there is no fabric {self._fabric!r}", maybe_sent=False)


class _Lease:
    """A lease, as one subscription uses it; the fabric behind it may come, change and go."""

    def __init__(self, fabrics: "Mapping[str, Fabric]", fabric: str, subscription: str) -> None:
        self._fabrics = fabrics
        self._fabric = fabric
        self._subscription = subscription
        self._competes = False
        self._owner: Leases | None = None
        self._lease: Lease | None = None
        self.attach()

    def attach(self) -> None:
        """Belong to the fabric of that name as it is now; nothing changes where it does already."""
        fabric = self._fabrics.get(self._fabric)
        owner = None if fabric is None else fabric.leases
        if owner is self._owner:
            return
        if self._lease is not None and self._competes:
            self._lease.resign()
        self._owner = owner
        self._lease = None if owner is None else owner.lease(self._subscription)
        if self._lease is not None and self._competes:
            self._lease.campaign()

    @property
    def term(self) -> int | None:
        """See `core.fabric.Lease.term`."""
        return None if self._lease is None else self._lease.term

    def campaign(self) -> None:
        """See `core.fabric.Lease.campaign`."""
        self._competes = True
        if self._lease is not None:
            self._lease.campaign()

    def resign(self) -> None:
        """See `core.fabric.Lease.resign`."""
        self._competes = False
        if self._lease is not None:
            self._lease.resign()

    async def claim(self, tick: int | None = None) -> bool:
        """See `core.fabric.Lease.claim`."""
        return self._lease is not None and await self._lease.claim(tick)
