"""One fabric: joins it on each session of the integration that carries it, runs its parts, and tells its health."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from bridge.config import FabricSettings
from bridge.core.backoff import Backoff
from bridge.core.cancel import BoundedTasks
from bridge.core.cluster import ClusterSession, StreamSpec, cluster_of
from bridge.core.errors import BridgeError, InvalidError, NotConnectedError
from bridge.core.log import structlog
from bridge.core.log_fields import error_fields
from bridge.core.model import ConnectionStatus
from bridge.core.payloads import FabricHealth, FabricRejected, FabricStatus, FabricView, FleetNode
from bridge.core.ports import ProtocolAdapter
from bridge.core.rate_limited import RateLimited
from bridge.core.timer import Timer
from bridge.fabric.context import FabricContext
from bridge.fabric.exports import Exporter, route_of
from bridge.fabric.imports import Importer
from bridge.fabric.leases import Leases
from bridge.fabric.membership import Membership, OwnState
from bridge.fabric.names import Names
from bridge.fabric.offers import Offers, longest
from bridge.fabric.surroundings import Surroundings
from bridge.fabric.uses import Uses

#: Seconds between two looks at the stream: whether it is there, and has the limits that the nodes agree on.
_LOOK: Final = 30.0
#: Seconds for which a part must run until its last failure is not told any more.
_WELL_AFTER: Final = 1.0
#: Seconds that leaving in order may take.
_LEAVE: Final = 1.0
#: Seconds for which the stream knows a message's id; it cannot know it for longer than it keeps the message.
_DUPLICATES: Final = 120.0

#: With these statuses an integration has no session, and it is not only being opened for the first time.
_AWAY: Final = frozenset({ConnectionStatus.DISCONNECTED, ConnectionStatus.FAILED, ConnectionStatus.STOPPED})
#: With these statuses a fabric does not do all that it should.
_DOWN: Final[frozenset[FabricStatus]] = frozenset({"disconnected", "failed", "degraded"})

log = structlog.get_logger(__name__)


class _Part(msgspec.Struct, frozen=True):
    """What runs on each session.

    Attributes:
        name: Names it in health and log.
        run: Runs it on a session, until it is cancelled; raises BridgeError where it has failed.
        as_member: Whether it runs only while this bridge is a node of the fabric.
    """

    name: str
    run: Callable[[ClusterSession], Coroutine[Any, Any, None]]
    as_member: bool = True


class Fabric:
    """This bridge as a node of one fabric.

    Attributes:
        settings: The `fabric` block.
        membership: The nodes.
        exporter: Sends events of this bus.
        leases: The leases of `singleton` subscriptions.
        uses: The integrations of others that this bridge uses.
    """

    def __init__(
        self, settings: FabricSettings, around: Surroundings, exported_elsewhere: Callable[[str], bool]
    ) -> None:
        """Create it; nothing is asked of the broker before `run`.

        Args:
            settings: Its block.
            around: What it uses of the bridge.
            exported_elsewhere: Returns whether another fabric of the bridge exports events of a type.
        """
        self.settings = settings
        self._clock = around.clock
        self._rng = around.rng
        self._bus = around.bus
        self._names = Names(settings.name, settings.node)
        self._rejections: RateLimited[str, str] = RateLimited(around.clock, self._report_rejected)
        self._tasks = BoundedTasks(clock=around.clock, integration=settings.integration)
        self._context = context = FabricContext(
            settings=settings,
            names=self._names,
            clock=around.clock,
            rng=around.rng,
            tasks=self._tasks,
            bus=around.bus,
            garbage=self._garbage,
            changed=self.publish_health,
        )
        self._around = around
        self.membership = Membership(
            context,
            own=self._own,
            heartbeat=around.heartbeat,
            state_dir=around.state_dir,
            bridge=around.name,
            version=around.version,
            pid=around.pid,
            run_id=around.run_id,
        )
        self.exporter = Exporter(
            context,
            connection=lambda: around.connection(settings.integration),
            outbox=around.outbox(),
            responder=around.responder(),
            joined=lambda: self.membership.joined,
            nodes=self.membership.nodes,
            source=around.source,
            stop_with=around.stop_with,
        )
        self.leases = Leases(context, lambda: self.membership.joined, around.run_id)
        self.uses = Uses(context, self.membership)
        self._importer = Importer(
            context,
            listens=lambda event_type: around.listens(event_type) or exported_elsewhere(event_type),
            stop_with=around.stop_with,
        )
        self._offers = Offers(context, execute=around.execute, status=self._status_of)
        self.membership.on_joined(self._on_joined)
        self.membership.on_change(self._on_membership)
        self._parts = self._make_parts()
        self._session: ClusterSession | None = None
        self._session_changed = asyncio.Event()
        self._member = asyncio.Event()
        self._no_member = asyncio.Event()
        self._no_member.set()
        self._errors: dict[str, BridgeError] = {}
        self._stream_differs: str | None = None
        self._status: FabricStatus = "connecting"
        self._previous: FabricStatus | None = None
        self._since = around.clock.wall_ms()
        self._said: tuple[Any, ...] = ()
        self._left = False

    @property
    def route(self) -> str:
        """What stands as the route of the operations that send its events."""
        return route_of(self.settings.name)

    def _make_parts(self) -> tuple[_Part, ...]:
        parts = [_Part("membership", self._join, as_member=False), _Part("leases", self.leases.run)]
        if self.settings.uses:
            parts.append(_Part("use", self.uses.run))
        if self.settings.durable:
            parts.append(_Part("stream", self._keep_stream))
        if self.settings.imports:
            parts.append(_Part("import", self._import))
        if self.settings.offers:
            parts.append(_Part("offer", self._offers.run))
        return tuple(parts)

    # --- life

    def on_session(self, session: ProtocolAdapter | None) -> None:
        """Use this session of the integration from now on; None: there is none."""
        try:
            self._session = None if session is None else cluster_of(session)
        except NotConnectedError:
            self._session = None
        self._session_changed.set()
        connection = self._around.connection(self.settings.integration)
        # While the end of the session has not reached the integration's status, there is no reason to tell.
        if self._session is not None or connection is None or connection.status in _AWAY:
            self.publish_health()

    async def run(self) -> None:
        """Join the fabric on each session, and run what it consists of, until cancelled."""
        self.publish_health(heartbeat=True)
        try:
            while True:
                self._session_changed.clear()
                if (session := self._session) is not None:
                    await self._use(session)
                else:
                    await self._session_changed.wait()
        finally:
            await self._tasks.close()
            self._rejections.flush()
            self.exporter.close()

    async def _use(self, session: ClusterSession) -> None:
        """Run all parts on a session until another one is there, or none."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(part, session)) for part in self._parts]
            await self._session_changed.wait()
            for task in tasks:
                task.cancel()
        self._errors.clear()
        self.publish_health()

    async def _keep(self, part: _Part, session: ClusterSession) -> None:
        """Run one part again and again: what it cannot do now says nothing about the others."""
        backoff, well = Backoff(self._clock, self._rng), Timer(self._clock)
        try:
            while True:
                if part.as_member:
                    await self._member.wait()
                backoff.opened()
                well.set(_WELL_AFTER, lambda: self._note(part, None))
                try:
                    await self._run_part(part, session)
                except BridgeError as error:
                    well.cancel()
                    self._note(part, error)
                    await self._clock.sleep(backoff.failed(error))
        finally:
            well.cancel()

    async def _run_part(self, part: _Part, session: ClusterSession) -> None:
        """Run a part until it fails, or may not run any more."""
        work = asyncio.ensure_future(self._tasks.run(part.run(session), f"fabric {part.name}"))
        barred = asyncio.ensure_future(self._no_member.wait()) if part.as_member else None
        try:
            await asyncio.wait({work} if barred is None else {work, barred}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            if barred is not None:
                barred.cancel()
            work.add_done_callback(_take_result)
            work.cancel()
            await asyncio.wait({work})

    def _note(self, part: _Part, error: BridgeError | None) -> None:
        before = self._errors.pop(part.name, None)
        if error is not None:
            self._errors[part.name] = error
            if before is None or before.message != error.message:
                log.warning("fabric part failed", fabric=self.settings.name, part=part.name, **error_fields(error))
        if before is not error:
            self.publish_health()

    # --- parts

    async def _join(self, session: ClusterSession) -> None:
        made = session.bucket(self._names.bucket, replicas=self.settings.replicas)
        await self._context.call(made, "making the bucket")
        await self.membership.run(session)

    def _on_joined(self, joined: bool) -> None:
        """Start or stop what only a node may do."""
        if joined:
            self._no_member.clear()
            self._member.set()
            self._around.outbox().wake()
        else:
            self._member.clear()
            self._no_member.set()
        self.publish_health()

    def _on_membership(self) -> None:
        self.uses.touch()
        self.publish_health()

    def touch(self) -> None:
        """Note that the status of an integration of this bridge has changed."""
        self.membership.touch()
        self._offers.touch()
        if self._session is None:
            self.publish_health()

    async def _import(self, session: ClusterSession) -> None:
        if self.settings.durable:
            await self._made_stream(session)
        await self._importer.run(session)

    async def _keep_stream(self, session: ClusterSession) -> None:
        """Make the stream, also where somebody deletes it, and give it the limits on which all nodes agree."""
        while True:
            have, wanted = await self._made_stream(session), self._stream
            self._stream_differs = None
            if not _same_limits(have, wanted):
                if self.membership.problems():
                    self._stream_differs = f"the stream {wanted.name} has other limits than this node: {_limits(have)}"
                else:
                    await self._context.call(session.change_stream(wanted), "changing the stream")
                    log.info("fabric stream changed", fabric=self.settings.name, limits=_limits(wanted))
            self.publish_health()
            await self._clock.sleep(_LOOK)

    @property
    def _stream(self) -> StreamSpec:
        return StreamSpec(
            name=self._names.stream,
            subjects=(self._names.events,),
            max_age=self.settings.max_age,
            max_bytes=self.settings.max_bytes,
            replicas=self.settings.replicas,
            duplicate_window=min(_DUPLICATES, self.settings.max_age),
        )

    async def _made_stream(self, session: ClusterSession) -> StreamSpec:
        return await self._context.call(session.stream(self._stream), "making the stream")

    # --- the end

    async def drain(self) -> None:
        """Export nothing more, and let the others send no more commands; return when none comes any more."""
        self.exporter.stopping = True
        self.membership.drain()
        await self._offers.drain()

    async def leave(self) -> None:
        """Give up the leases and tell the others that this node has left, as far as that is possible in time."""
        self._left = True
        with contextlib.suppress(TimeoutError, BridgeError):
            async with self._clock.timeout(_LEAVE):
                await self.leases.leave()
                await self.membership.leave()
        self.publish_health()

    def close(self) -> None:
        """Note that this bridge is in the fabric no more: its states are not said again to later subscribers."""
        self.uses.close()
        self.membership.close()
        self._bus.forget(f"health.fabric.{self.settings.name}")

    async def forget(self, node: str) -> None:
        """Give up the place of a node that is gone.

        Raises:
            BridgeError: It lives, or the broker refuses, or cannot be reached.
        """
        if self._session is None:
            raise NotConnectedError(f"integration {self.settings.integration!r} is not connected")
        await self.membership.forget(self._session, node)

    # --- health

    def _own(self) -> OwnState:
        statuses = self._around.statuses()
        offers = {}
        for name in self.settings.offers:
            connection = self._around.connection(name)
            if connection is not None and name in statuses:
                offers[name] = longest(connection.settings.resilience)
        return OwnState(integrations=statuses, offers=offers, leases=self.leases.held())

    def _status_of(self, integration: str) -> ConnectionStatus | None:
        """Return the status of an own integration; None where there is none of that name now.

        It is asked for at each change of any integration's status, so it looks at no other.
        """
        connection = self._around.connection(integration)
        if connection is None or connection.settings.spec.sees_operations:
            return None
        return connection.status

    def _garbage(self, detail: str) -> None:
        self._context.counts.garbage += 1
        self._rejections.add("garbage", detail)

    def _report_rejected(self, _: str, count: int, detail: str) -> None:
        name = self.settings.name
        log.warning("fabric message rejected", fabric=name, count=count, detail=detail)
        payload = FabricRejected(fabric=name, count=count, detail=detail)
        self._bus.publish_or_report(f"resilience.fabric.{name}.rejected", payload)

    def _status_now(self) -> tuple[FabricStatus, BridgeError | None]:
        """Return the status as far as warnings do not change it, and the error that explains it."""
        membership = self.membership.error
        error = membership or next(iter(self._errors.values()), None) or self._disagreement()
        if self._left:
            return "stopped", None
        if self._session is None:
            return self._without_session()
        if membership is not None and membership.permanent:
            return "failed", membership
        if "membership" in self._errors:
            failed = self._errors["membership"]
            return ("failed" if failed.permanent or failed.kind in {"rejected", "auth"} else "disconnected"), failed
        if not self.membership.joined:
            return "connecting", membership
        return ("connected" if error is None else "degraded"), error

    def _disagreement(self) -> BridgeError | None:
        """Return an error where other nodes have other settings, since all must have the same."""
        differences = self.membership.problems()
        return InvalidError("; ".join(differences)) if differences else None

    def _without_session(self) -> tuple[FabricStatus, BridgeError | None]:
        """Return the status while the integration that carries the fabric has no session, and why."""
        name = self.settings.integration
        connection = self._around.connection(name)
        if connection is None or connection.status not in _AWAY:
            return "connecting", None
        error = connection.health().error
        why = connection.status if error is None else error.message
        status: FabricStatus = "failed" if connection.status is ConnectionStatus.FAILED else "disconnected"
        return status, NotConnectedError(f"integration {name!r} is not connected: {why}")

    def _warnings(self, shown: BridgeError | None) -> list[str]:
        """Return what a person should know beside the error that is shown, one line each."""
        found = [
            *self._importer.waiting(),
            *self._offers.problems(),
            *self.leases.problems(),
        ]
        if self._stream_differs is not None:
            found.append(self._stream_differs)
        return [*found, *(f"{name}: {one.message}" for name, one in self._errors.items() if one is not shown)]

    def health(self) -> FabricHealth:
        """Return the payload of `health.fabric.<fabric>`."""
        status, error = self._status_now()
        warnings = self._warnings(error)
        if status == "connected" and warnings:
            status = "degraded"
        if status != self._status:
            self._previous, self._status, self._since = self._status, status, self._clock.wall_ms()
        settings = self.settings
        own = settings.node
        return FabricHealth(
            fabric=settings.name,
            integration=settings.integration,
            node=own,
            status=status,
            previous=self._previous,
            since=self._since,
            delivery=settings.delivery,
            error=None if error is None else error.to_wire(),
            warnings=warnings,
            nodes={name: node.status for name, node in self.membership.nodes().items() if name != own},
            counts=self._context.counts.payload(),
        )

    def publish_health(self, *, heartbeat: bool = False) -> None:
        """Publish `health.fabric.<fabric>` if what it says beside the counts has changed, or as a heartbeat."""
        health = self.health()
        error = None if health.error is None else (health.error.kind, health.error.message)
        facts = (health.status, error, health.warnings, health.nodes)
        if heartbeat or facts != self._said:
            if not self._said or health.status != self._said[0]:
                told = {"fabric": health.fabric, "node": health.node, "status": health.status}
                if health.status in _DOWN:
                    log.warning("fabric state", **told, **error_fields(health.error))
                else:
                    log.info("fabric state", **told)
            self._said = facts
            self._bus.keep(f"health.fabric.{self.settings.name}", health)

    def view(self) -> FabricView:
        """Return the fabric as `bridge.fleet` shows it."""
        now, own = self._clock.monotonic(), self.settings.node
        nodes = {
            name: FleetNode(
                status=node.status,
                since=node.since,
                heard_ms=None if name == own else round((now - node.heard) * 1000, 3),
                bridge=node.record.bridge,
                version=node.record.version,
                integrations=dict(node.record.integrations),
                offers=sorted(node.record.offers),
                # Its term is over long before it is lost, and another node may have the lease.
                leases=list(node.record.leases) if node.living else [],
                left_out=0,
            )
            for name, node in sorted(self.membership.nodes().items())
        }
        uses = {name: self.membership.offering(name) for name in self.settings.uses}
        return FabricView(health=self.health(), nodes=nodes, uses=uses, vacant=self.leases.vacant(), left_out=0)


def _take_result(work: asyncio.Task[None]) -> None:
    """Look at how a task has ended that may not run any more: whatever it failed with concerns nobody."""
    if not work.cancelled():
        work.exception()


def _same_limits(one: StreamSpec, other: StreamSpec) -> bool:
    return (one.max_age, one.max_bytes, one.replicas) == (other.max_age, other.max_bytes, other.replicas)


def _limits(spec: StreamSpec) -> str:
    most = "no max_bytes" if spec.max_bytes is None else f"max_bytes {spec.max_bytes}"
    return f"max_age {spec.max_age:g} s, {most}, replicas {spec.replicas}"
