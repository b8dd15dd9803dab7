"""Build all parts from a configuration, connect them with each other, start, drain and stop them."""

import asyncio
import contextlib
import dataclasses
import math
import os
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from bridge import __version__
from bridge.bus import Bus, CurveClient, CurveServer, Transport
from bridge.config import BusSettings, Configuration, Expression, Integration
from bridge.connection import (
    Connection,
    ConnectionManager,
    Emit,
    FileStates,
    Prepared,
    SubscriptionSpec,
    file_states,
    named_files,
)
from bridge.core.cancel import PATIENCE, BoundedTasks
from bridge.core.clock import RealClock
from bridge.core.diagnostic import Code, Diagnostic, Location
from bridge.core.echo import EchoFilter
from bridge.core.errors import BridgeError, BusError, ConfigError, InvalidError, OutboxError, StoppingError
from bridge.core.event_type import to_emitted_type
from bridge.core.log import structlog
from bridge.core.model import ConnectionStatus, Event, Inbound, Letters, Outcome
from bridge.core.payloads import (
    BridgeHealth,
    BridgeStatus,
    BusCounts,
    Fleet,
    Forgotten,
    Inspection,
    IntegrationHealth,
    LetterList,
    LiveSubscription,
    LoadedConfiguration,
    Moved,
    Overview,
    Reloaded,
)
from bridge.core.ports import Clock
from bridge.core.redaction import Redactor
from bridge.core.responder import Responder, kept_by
from bridge.core.settings import DEFAULT_PREFETCH, parse_listen
from bridge.core.threads import InThread, in_thread
from bridge.fabric.fabrics import Fabrics
from bridge.fabric.surroundings import Surroundings as FabricSurroundings
from bridge.observe.observer import Observer
from bridge.observe.samples import Samples
from bridge.outbox import CommitQueue, Folder, Outbox, Selection, Storage, default_folder
from bridge.routing.dispatcher import Dispatcher
from bridge.routing.router import Router

if TYPE_CHECKING:
    from bridge.config.changes import Snapshot
    from bridge.config.watch import FolderState
    from bridge.observe.details import Details
    from bridge.observe.live import Live
    from bridge.observe.views import Views

#: Seconds that stopping may take beyond `drain_timeout`.
LONGEST_CLOSE: Final = 2.0
#: Seconds of these in which the bus may send the last events.
_BUS_TIME: Final = 0.6
#: Seconds that reading the configuration again may take.
_LONGEST_LOAD: Final = 60.0
_EMPTY: Final = (
    "configuration not applied: it has no integration, route or subscription any more, which is most likely a mistake; "
    "to remove all of them, start the bridge with that configuration"
)
#: The source of the commands that a person gives in the console.
_CONSOLE: Final = "console"
#: Bytes of an event that are reserved for its type, ids and headers.
_ENVELOPE: Final = 4096

log = structlog.get_logger()

T = TypeVar("T")


class Surroundings(msgspec.Struct, frozen=True):
    """What a gateway uses of the machine that it runs on, beside clock and random numbers. A simulation replaces it.

    Attributes:
        transport: How to reach the other programs; None: ZeroMQ, as the configuration says.
        storage: Where the outbox keeps its entries; None: in the folder that the configuration names.
        commit_queue: Writes to `storage`.
        environ: The environment; it names the service manager's socket.
        pid: What health shows as the process.
        in_thread: Runs what may never end, such as reading files.
    """

    transport: Transport | None = None
    storage: Storage | None = None
    commit_queue: type[CommitQueue] = CommitQueue
    environ: Mapping[str, str] = msgspec.field(default_factory=lambda: os.environ)
    pid: int = msgspec.field(default_factory=os.getpid)
    in_thread: InThread = in_thread


class IntegrationGateway:
    """Run the sidecar from start to end. `stop`, or the application's `stop_with` event, stops it in order.

    The constructor builds all parts from the configuration. Nothing is opened before `run`.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        load: Callable[[], Configuration] | None = None,
        files: Sequence[Path] = (),
        watch: "FolderState | None" = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        redactor: Redactor | None = None,
        on_end: Callable[[], None] = lambda: None,
        surroundings: "Surroundings | None" = None,
    ) -> None:
        """Build all parts; open nothing.

        Args:
            configuration: What to run.
            load: Reads the configuration again, for `bridge.reload`; None where it cannot be read again.
            files: The files and directories that `load` reads.
            watch: The state of `files` when the configuration was read, to reload when they, or files that the
                configuration names, have another one; None to reload only on request.
            clock: Default: the real clock.
            rng: Source of random numbers for jitter.
            redactor: Removes secrets from texts of remotes; a new one by default.
            on_end: Called at least once when stopping begins.
            surroundings: What it uses of the machine; default: the real one.
        """
        self._configuration = configuration
        self._load = load
        self._paths = tuple(files)
        self._watches = watch is not None
        self._files = _Files({}, ())
        self._seen = _Seen(watch or (), self._files)
        self._clock = clock or RealClock()
        rng = rng or random.Random()  # noqa: S311 - jitter needs no secrecy
        self._echoes = EchoFilter(self._clock)
        self._redactor = redactor or Redactor()
        self._redactor.learn(configuration.secrets)
        self._on_end = on_end
        self._around = around = surroundings or Surroundings()
        settings = configuration.bridge
        self.name = settings.name
        self.source = settings.source
        self.bus = Bus(
            mode=configuration.bus.mode,
            publish=configuration.bus.publish,
            subscribe=configuration.bus.subscribe,
            max_message=configuration.bus.max_message,
            source=self.source,
            clock=self._clock,
            on_event=self._on_event,
            own=self._sets_off,
            listens=False,
            last_values=(configuration.bus.max_last_values, configuration.bus.max_last_value_bytes),
            bytes_as=configuration.bus.bytes,
            curve=_curve(configuration.bus),
            transport=around.transport,
        )
        self._tracer = None
        if settings.tracing:
            from bridge.observe.tracing import make_tracer  # noqa: PLC0415 - its libraries are an extra

            self._tracer = make_tracer(settings.name, clock=self._clock, redactor=self._redactor)
        state_dir = settings.data_dir or default_folder(settings.name)
        kept = state_dir if around.storage is None else None
        self._fabrics = Fabrics(self._for_fabrics(kept, rng))
        self._manager = ConnectionManager(
            bus=self.bus,
            clock=self._clock,
            rng=rng,
            drain_timeout=settings.drain_timeout,
            state_dir=state_dir,
            on_change=self._on_change,
            redactor=self._redactor,
            tracer=self._tracer,
            on_session=self._fabrics.on_session,
            fabrics=self._fabrics,
        )
        responder = Responder(self.bus, most=configuration.bus.max_message - _ENVELOPE, clock=self._clock)
        responder.keeping = _keeping_routes(configuration)
        self._responder = responder
        self._outbox = Outbox(
            around.storage or Folder(state_dir),
            settings.outbox,
            responder=responder,
            connection=self._manager.connections.get,
            exports=self._fabrics.sender,
            clock=self._clock,
            rng=rng,
            on_change=self._publish_health,
            commit_queue=around.commit_queue,
            tracer=self._tracer,
        )
        self._dispatcher = Dispatcher(
            self._router(configuration),
            self._manager.connections,
            self,
            outbox=self._outbox,
            bus=self.bus,
            responder=responder,
            source=self.source,
            clock=self._clock,
        )
        self._fabrics.apply(configuration.fabrics)
        self.bus.take(_patterns_of(self._configuration), self._fabrics.patterns)
        self._samples = Samples(lambda: self._manager, bus=self.bus.stats, outbox=self._outbox, clock=self._clock)
        self._views: Views | None = None
        self._shown: dict[str, tuple[Integration, dict[str, Any]]] = {}
        self._observer = Observer(
            lambda: msgspec.to_builtins(self.status()),
            self._details,
            lambda: self.bus.alive,
            self._make_live,
            listen=None if settings.status is None else parse_listen(settings.status),
            hosts=settings.status_hosts,
            must_listen="status" in settings.model_fields_set,
            environ=around.environ,
            clock=self._clock,
        )
        self._status: BridgeStatus = "starting"
        self._started = self._clock.monotonic()
        self._group: asyncio.TaskGroup | None = None
        self._tasks = BoundedTasks(clock=self._clock, on_bug=self._on_bug)
        self._closed_by = math.inf
        self._outbox_is_closed = False
        self._stop = asyncio.Event()
        self._early: list[Event] | None = []
        self._reload_early = False
        self._acted = 0
        self._started_empty = _is_empty(configuration)
        self._reloading = asyncio.Lock()
        self._applying = asyncio.Lock()

    @staticmethod
    def _router(configuration: Configuration) -> Router:
        operations = {name: one.spec.operations for name, one in configuration.integrations.items()}
        return Router(operations, configuration.routes)

    def _for_fabrics(self, state_dir: Path | None, rng: random.Random) -> FabricSurroundings:
        """Return what fabrics use of this bridge. Most of it is made after them."""
        settings = self._configuration.bridge
        return FabricSurroundings(
            bus=self.bus,
            connection=self._connection,
            statuses=self._own_statuses,
            listens=self._is_wanted,
            outbox=lambda: self._outbox,
            responder=lambda: self._responder,
            execute=self._execute_for_node,
            stop_with=settings.stop_with or "",
            name=settings.name,
            source=self.source,
            version=__version__,
            pid=self._around.pid,
            heartbeat=settings.heartbeat,
            state_dir=state_dir,
            clock=self._clock,
            rng=rng,
        )

    def _connection(self, integration: str) -> Connection | None:
        return self._manager.connections.get(integration)

    def _execute_for_node(self, event: Event, scope: str, done: Callable[[Outcome], None]) -> None:
        self._dispatcher.execute_for_node(event, scope, done)

    def _is_wanted(self, event_type: str) -> bool:
        """Return whether somebody on the bus subscribes to a type, or a route takes it; that it is exported is no use.

        An event that came over a fabric is not exported again.
        """
        return self.bus.has_listener(event_type, imported=True) or self._dispatcher.router.has_routes(event_type)

    def _own_statuses(self) -> dict[str, ConnectionStatus]:
        """Return the status of each integration that is this bridge's own, and none of another node of a fabric."""
        return {one.id: one.status for one in self._manager if not one.settings.spec.sees_operations}

    # --- start and stop

    async def run(self) -> None:
        """Start, serve until `stop` is called, drain, and close everything.

        Raises:
            BusError: The bus cannot be hosted or joined.
            ConfigError: An adapter cannot be created from its settings, the files that they name cannot be looked up,
                or the console cannot be served.
            OutboxError: The files of the outbox cannot be used.
        """
        _log_warnings(self._configuration.warnings)
        try:
            files = await self._read(partial(_files_of, self._configuration))
        except StoppingError:
            self._responder.close()
            log.info("stopped")
            return
        self._files = files
        self._seen = msgspec.structs.replace(self._seen, named=files)
        specs = _subscriptions_of(self._configuration)
        await self._manager.apply(self._configuration.integrations, specs, files.of_integrations)
        if self._outbox.exists or _needs_outbox(self._configuration):
            await self._outbox.open()
        try:
            if self._tracer is not None:
                self._tracer.open()
            await self._run()
        finally:
            await self._close_outbox()
            if self._tracer is not None:
                await self._tracer.close(self._left)
            self._responder.close()
        log.info("stopped")

    async def _run(self) -> None:
        await self.bus.start()
        try:
            async with self._observer, asyncio.TaskGroup() as self._group:
                try:
                    await self._serve(self._group)
                finally:
                    await self._tasks.close()
        finally:
            self._group = None
            self._on_end()
            await self.bus.stop()

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        observing = group.create_task(self._observer.run())
        watching = group.create_task(self.bus.run())
        managing = group.create_task(self._manager.run())
        joining = group.create_task(self._fabrics.run())
        self.later(self._outbox.watch())
        beating = group.create_task(self._beat())
        sampling = group.create_task(self._samples.run())
        looking = group.create_task(self._watch_files()) if self._watches else None
        self._log_orphans()
        if (loss := self._outbox.loss) is not None:
            self.bus.keep("resilience.bridge.outbox_loss", loss)
        self._set_status("ready")
        early, self._early = self._early, None
        for event in early or ():
            self._on_event(event)
        if self._reload_early:
            self.reload_soon()
        log.info(
            "ready",
            name=self.name,
            publish=self.bus.publish_endpoint,
            subscribe=self.bus.subscribe_endpoint,
            status=self._observer.url,
        )
        await self._stop.wait()
        await self._drain()
        await self._fabrics.leave()
        self._fabrics.close()
        await joining
        beating.cancel()
        sampling.cancel()
        if looking is not None:
            looking.cancel()
        self._manager.close()
        await managing
        await self._close_outbox()
        for connection in self._manager:
            connection.stopped()
        self._set_status("stopped")
        await self._tasks.close(grace=self._left)
        watching.cancel()
        observing.cancel()

    def stop(self, reason: str) -> None:
        """Begin to stop: drain, then close. Further calls do nothing.

        Args:
            reason: The reason for the log.
        """
        if not self._stop.is_set():
            log.info("stopping", reason=reason)
            self._on_end()
            self._stop.set()

    async def _drain(self) -> None:
        """Answer waiting operations with `stopping`, and wait at most `drain_timeout` for those in flight."""
        limit = self._configuration.bridge.drain_timeout
        self._closed_by = self._clock.monotonic() + limit + LONGEST_CLOSE - _BUS_TIME
        await self._fabrics.drain()  # first, so that other nodes send their commands elsewhere and get no `stopping`
        self._dispatcher.stopping = True
        self._outbox.stop()
        self._set_status("draining")
        try:
            async with self._clock.timeout(limit):
                async with self._applying:
                    pass  # let a running reload end; none begins any more
                for connection in self._manager:
                    await connection.stop_queued()
                for connection in self._manager:
                    await connection.guard.idle()
        except TimeoutError:
            log.warning("drain timeout", seconds=limit)

    @property
    def _left(self) -> float:
        """Seconds until everything but the bus has to be closed; `LONGEST_CLOSE` where nothing was drained."""
        if self._closed_by == math.inf:
            return LONGEST_CLOSE
        return max(PATIENCE, self._closed_by - self._clock.monotonic())

    async def _close_outbox(self) -> None:
        """Close the outbox within the time that is left, because a disk may hang. A second call does nothing."""
        if self._outbox_is_closed:
            return
        self._outbox_is_closed = True
        try:
            async with self._clock.timeout(self._left):
                await self._outbox.close()
        except TimeoutError:
            log.warning(
                "aborted: the outbox could not be closed in time; entries that it had not committed are delivered again"
            )

    def _on_bug(self, bug: BaseException) -> None:
        """Raise a bug from `run`, so that the process ends with its traceback."""
        if self._group is not None:
            self._group.create_task(_raise(bug))

    async def _beat(self) -> None:
        """Publish every health at the interval of the heartbeat. Without heartbeats the bridge is dead."""
        while True:
            await self._clock.sleep(self._configuration.bridge.heartbeat)
            for connection in self._manager:
                connection.publish_health(heartbeat=True)
            self._fabrics.publish_health()
            self._publish_health()

    def _on_event(self, event: Event) -> None:
        if self._early is not None:  # the bus works already, the other parts do not yet
            self._early.append(event)
            return
        if event.event_type == self._configuration.bridge.stop_with and event.source != self.source:
            self.stop(f"event {event.event_type}")
            return
        decision = self._dispatcher.router.decide(event.event_type)
        is_exported = bool(self._fabrics.by_label) and self._fabrics.takes(event.event_type)
        if (decision.sets_off or is_exported) and self._echoes.is_echo(event):
            self.bus.reject_echo(event.event_type)
            return
        if is_exported:
            self._fabrics.on_event(event)
        if decision.sets_off or decision.health:
            self._dispatcher.on_event(event, decision)

    def _sets_off(self, event_type: str) -> bool:
        """Return whether an event of this type, also one of our own, sets off a route or is exported."""
        return self._dispatcher.router.has_routes(event_type) or self._fabrics.takes(event_type)

    # --- routing.ports.Controls

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """See `routing.ports.Controls.later`."""
        assert self._group is not None  # noqa: S101 - events come only while the group is open
        self._tasks.start(work, getattr(work, "__name__", "work"))

    def stops(self, event_type: str) -> bool:
        """See `routing.ports.Controls.stops`."""
        return event_type == self._configuration.bridge.stop_with

    async def letters(self, operation: str, wanted: Letters) -> LetterList | Moved:
        """See `routing.ports.Controls.letters`."""
        which = Selection.of(wanted)
        if not self._outbox.is_open:
            if operation == "dead_letters":
                return LetterList(letters=[], total=0)
            which.check_all_found(())
            return Moved(moved=0)
        if operation == "dead_letters":
            return await self._outbox.letters(which, wanted.limit or 100)
        move = self._outbox.replay if operation == "replay" else self._outbox.discard
        return Moved(moved=await move(which, wanted.limit))

    def status(self) -> dict[str, BridgeHealth | IntegrationHealth]:
        """See `routing.ports.Controls.status`."""
        return {"bridge": self._health(), **{one.id: one.health() for one in self._manager}}

    def subscriptions(self) -> dict[str, list[LiveSubscription]]:
        """See `routing.ports.Controls.subscriptions`."""
        return {one.id: one.subscriptions.listed() for one in self._manager}

    @property
    def views(self) -> "Views":
        """What console and `bridge.overview` show; imported only when somebody looks."""
        if self._views is None:
            from bridge.observe.views import Views  # noqa: PLC0415

            self._views = Views(
                self._manager,
                self._samples,
                outbox=self._outbox,
                health=self._health,
                fleet=self._fabrics.view,
                configuration=lambda: self._configuration,
                settings=self._settings_of,
                clock=self._clock,
            )
        return self._views

    def _details(self) -> "Details":
        """Return what the metrics show beside the answer of `bridge.status`."""
        from bridge.observe.details import read_details  # noqa: PLC0415 - see `views`

        return read_details(self._manager, self._outbox, self._configuration, self._fabrics.view())

    def overview(self) -> Overview:
        """See `routing.ports.Controls.overview`."""
        return self.views.overview_for_bus(self._responder.most)

    async def inspect(self, integration: str) -> Inspection:
        """See `routing.ports.Controls.inspect`."""
        from bridge.observe.views import inspection_that_fits  # noqa: PLC0415 - see `views`

        return inspection_that_fits(await self.views.inspect(integration), self._responder.most)

    def fleet(self) -> Fleet:
        """See `routing.ports.Controls.fleet`."""
        return self.views.fleet_for_bus(self._responder.most)

    async def forget_node(self, node: str, fabric: str | None) -> Forgotten:
        """See `routing.ports.Controls.forget_node`."""
        return await self._fabrics.forget_node(node, fabric)

    async def _settings_of(self, integration: str) -> dict[str, Any]:
        """Return the settings of an integration, by their keys, with secrets masked; an empty dict if it is gone.

        Raises:
            InvalidError: They cannot be shown.
            StoppingError: The bridge has begun to stop.
        """
        from bridge.config.changes import shown_integration  # noqa: PLC0415 - a start does not need it

        settings = self._configuration.integrations.get(integration)
        if settings is None:
            return {}
        before, shown = self._shown.get(integration, (None, {}))
        if before is not settings:
            try:
                shown = await self._read(partial(shown_integration, settings))
            except ConfigError as error:
                raise InvalidError(f"the settings cannot be shown: {error}") from None
            self._shown[integration] = settings, shown
        return shown

    def reload_soon(self) -> None:
        """Start a reload, as SIGHUP asks for; log what is wrong, since nobody waits for the answer.

        Before the bridge is ready, it is done as soon as that is so.
        """
        if self._stop.is_set():
            return
        if self._early is not None:
            self._reload_early = True
        elif self._group is not None:
            self.later(self._reload_or_log())

    async def _reload_or_log(self) -> None:
        try:
            await self.reload()
        except BridgeError as error:
            log.warning("not reloaded", why=error.message)

    async def _watch_files(self) -> None:
        """Reload when files have changed, until the bridge begins to stop."""
        from bridge.config.watch import Watch  # noqa: PLC0415 - only `run --watch` needs it

        with contextlib.suppress(StoppingError):
            await Watch(
                self._look,
                lambda: self._seen,
                self._reload_or_log,
                incomplete=lambda seen: isinstance(seen, _Seen) and seen.is_incomplete,
                clock=self._clock,
            ).run()

    async def _look(self) -> "_Seen":
        """Return the state of the files now; the known one where they cannot be looked up.

        Raises:
            StoppingError: The bridge has begun to stop.
        """
        try:
            return await self._read(partial(_Seen.now, self._paths, self._configuration))
        except ConfigError:
            return self._seen

    async def configuration(self) -> LoadedConfiguration:
        """See `routing.ports.Controls.configuration`."""
        from bridge.config.changes import Snapshot, shown_values  # noqa: PLC0415 - a start does not need it

        try:
            found = await self._read(partial(Snapshot.of, self._configuration))
        except ConfigError as error:
            raise InvalidError(f"the configuration cannot be shown: {error}") from None
        return LoadedConfiguration(
            files=[str(path.absolute()) for path in self._paths],
            integrations=shown_values(found.integrations),
            routes=shown_values(found.routes),
            subscriptions=shown_values(found.subscriptions),
            fabrics=shown_values(found.fabrics),
            settings=shown_values(found.settings),
            pending=self._outbox.pending,
        )

    async def reload(self, *, dry_run: bool = False) -> Reloaded:
        """See `routing.ports.Controls.reload`.

        Integrations, routes and the list of keys change at once; a changed `bridge`, `log` or `bus` block is named
        under `needs_restart` and waits for one.
        """
        if self._load is None:
            raise InvalidError("this bridge was not started from files, so it cannot reload them")
        async with self._reloading:
            old = self._configuration
            try:
                if dry_run:
                    return self._dry_run(await self._read(partial(_load_again, self._load, old, self._files)))
                async with self._observer.reloading():
                    if self._watches:
                        self._seen = await self._look()
                    read = await self._read(partial(_load_again, self._load, old, self._files))
                    plan, keys = await self._apply(read)
            except (BusError, ConfigError, OutboxError) as error:
                raise InvalidError(f"configuration not applied: {error}") from None
            _log_warnings(warning for warning in read.configuration.warnings if warning not in old.warnings)
            log.info("reloaded", **_summary(plan), **({} if keys is None else {"keys": keys}))
            self._log_orphans()
            return plan

    def _dry_run(self, read: "_Read") -> Reloaded:
        """Return what a configuration would change.

        Raises:
            ConfigError: An adapter cannot be made.
            InvalidError: It is empty.
        """
        _, prepared = self._prepare(read)
        return self._plan(read, prepared)

    async def _apply(self, read: "_Read") -> tuple[Reloaded, int | None]:
        """Use a configuration from now on; return what that has changed, and how many keys may use the bus.

        Raises:
            BusError: The list of keys is not valid.
            ConfigError: An adapter cannot be made.
            InvalidError: It is empty.
            OutboxError: The files of the outbox cannot be used.
            StoppingError: The bridge is about to end.
        """
        router, prepared = self._prepare(read)
        if not self._outbox.is_open and _needs_outbox(read.configuration):
            await self._outbox.open()
            self.later(self._outbox.watch())
        async with self._applying:
            if self._stop.is_set():  # an integration that is added now would never be stopped
                raise StoppingError("the bridge is stopping")
            keys = await self.bus.renew_keys()
            await self._manager.carry_out(prepared, partial(self._switch, read, router))
        self._on_change()
        return self._plan(read, prepared), keys

    def _plan(self, read: "_Read", prepared: Prepared) -> Reloaded:
        """Return the plan, with the integrations that the connections know to change and what is in the outbox."""
        pending = self._outbox.pending
        plan = msgspec.structs.replace(
            read.plan,
            added=prepared.added,
            changed=prepared.changed,
            removed=prepared.removed,
            unchanged=prepared.unchanged,
            stranded={name: pending[name] for name in sorted(pending.keys() - read.configuration.integrations.keys())},
        )
        return plan if len(msgspec.msgpack.encode(plan)) < self._responder.most // 2 else _without_values(plan)

    def _switch(self, read: "_Read", router: Router) -> None:
        """Use another configuration for the events that come from now on."""
        old, fresh = self._configuration, read.configuration
        self._configuration = dataclasses.replace(
            fresh, bridge=old.bridge, log=old.log, bus=old.bus, secret_keys=old.secret_keys
        )
        self._files = msgspec.structs.replace(read.files, own=self._files.own)
        self._shown.clear()
        self._seen = msgspec.structs.replace(
            self._seen, named=msgspec.structs.replace(read.files, own=self._seen.named.own)
        )
        self._dispatcher.router = router
        self._fabrics.apply(fresh.fabrics)
        self.bus.pass_own(self._sets_off)
        self.bus.take(_patterns_of(self._configuration), self._fabrics.patterns)
        keeping = _keeping_routes(fresh)
        for route in set(self._responder.keeping) - keeping:
            self.bus.forget_last(kept_by(route))
        self._responder.keeping = keeping
        self._on_change()

    async def _read(self, read: Callable[[], T]) -> T:
        """Read from files in a thread. However that ends, or does not end, the loop goes on.

        Raises:
            ConfigError: The configuration has faults, reading it took too long, or has shown a bug of the bridge.
            StoppingError: The bridge has begun to stop meanwhile.
        """
        reading = asyncio.ensure_future(self._around.in_thread(read, clock=self._clock, limit=_LONGEST_LOAD))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
        except TimeoutError:
            raise _not_loaded(f"reading it took more than {_LONGEST_LOAD:g} s") from None
        except Exception as error:  # noqa: BLE001 - a bug is that reload's failure
            raise _as_config_error(error) from None
        finally:
            stopping.cancel()
            reading.cancel()
        raise StoppingError("the bridge is stopping")

    def _prepare(self, read: "_Read") -> tuple[Router, Prepared]:
        """Make all that a new configuration needs; nothing changes yet.

        Raises:
            ConfigError: An adapter cannot be made.
            InvalidError: It is empty.
        """
        fresh = read.configuration
        self._redactor.learn(fresh.secrets)
        if _is_empty(fresh) and not self._started_empty:
            raise InvalidError(_EMPTY)
        try:
            files = read.files.of_integrations
            return self._router(fresh), self._manager.prepare(fresh.integrations, _subscriptions_of(fresh), files)
        except Exception as error:  # noqa: BLE001 - a bug is that reload's failure
            raise _as_config_error(error) from None

    # --- console

    def _make_live(self) -> "Live":
        """Return what serves the open consoles; imported only when somebody opens one."""
        from bridge.observe.actions import Actions  # noqa: PLC0415
        from bridge.observe.live import Live  # noqa: PLC0415
        from bridge.observe.tap import TapHub  # noqa: PLC0415

        settings = self._configuration.bridge
        console = settings.console
        is_open = self._configuration.bus.curve is None
        is_local = settings.status is not None and parse_listen(settings.status).is_loopback
        token = console.token.get_secret_value() if console.actions and console.token is not None else None
        return Live(
            self.views.shared_overview,
            self.views.inspect,
            self.views.fleet_for_console,
            TapHub(self.bus, self._redactor, self._clock),
            Actions(token, self._act, self.bus, self._clock),
            shows_events=(is_open and is_local) if console.tap is None else console.tap,
            name=self.name,
            version=__version__,
            clock=self._clock,
        )

    def _act(self, event_type: str, payload: dict[str, Any], done: Callable[[Outcome], None]) -> None:
        """Execute a command of the console; see `Dispatcher.execute`."""
        if self._group is None or self._stop.is_set():
            done(Outcome(error=StoppingError("the bridge is starting or stopping")))
            return
        self._acted += 1
        command = Event(
            id=self._acted,
            event_type=event_type,
            raw=msgspec.Raw(msgspec.msgpack.encode(payload)),
            timestamp=self._clock.wall_ms(),
            source=_CONSOLE,
            correlation_id=None,
        )
        self._dispatcher.execute(command, done)

    # --- health

    def _set_status(self, status: BridgeStatus) -> None:
        self._status = status
        self._publish_health()

    def _on_change(self) -> None:
        self._outbox.wake()
        self._fabrics.on_status()
        self._publish_health()

    def _log_orphans(self) -> None:
        for name, pending in self._outbox.orphans.items():
            log.warning(
                "events wait in the outbox for an integration that does not exist", integration=name, pending=pending
            )

    def _publish_health(self) -> None:
        health = self._health()
        self.bus.keep("health.bridge", health)
        self._observer.changed(health)

    def _health(self) -> BridgeHealth:
        return BridgeHealth(
            status="degraded" if self._status == "ready" and self._outbox.problem is not None else self._status,
            version=__version__,
            name=self.name,
            pid=self._around.pid,
            uptime_ms=int((self._clock.monotonic() - self._started) * 1000),
            bus=BusCounts(**msgspec.structs.asdict(self.bus.stats)),
            outbox=self._outbox.counts(),
            integrations={one.id: one.status for one in self._manager},
        )


def _log_warnings(warnings: Iterable[Diagnostic]) -> None:
    """Log what `nemo-bridge check` warns of."""
    for warning in warnings:
        log.warning("configuration", warning=str(warning), code=warning.code)


def _curve(bus: BusSettings) -> CurveServer | CurveClient | None:
    if bus.curve is None:
        return None
    if bus.curve.authorized_keys is not None:
        return CurveServer.read(bus.curve.secret_key, bus.curve.authorized_keys)
    return CurveClient.read(bus.curve.secret_key, bus.curve.server_key or "")


def _subscriptions_of(configuration: Configuration) -> dict[str, list[SubscriptionSpec]]:
    """Return the subscriptions of the `subscription` blocks by integration."""
    specs: dict[str, list[SubscriptionSpec]] = {}
    for one in configuration.subscriptions:
        emit = None if one.emit is None else _emit(one.emit)
        written = None if one.emit is None else one.emit.text
        spec = SubscriptionSpec(
            name=one.name,
            topic=one.topic or one.queue or "",
            queue=one.queue is not None,
            emit=emit,
            text=emit if isinstance(emit, str) else written,
            group=one.group,
            hold=one.hold,
            prefetch=DEFAULT_PREFETCH if one.prefetch is None else one.prefetch,
            needs_listener=one.listener == "required",
            last_value=one.last_value,
            qos=one.qos,
            singleton=one.singleton,
        )
        specs.setdefault(one.integration, []).append(spec)
    return specs


class _Files(msgspec.Struct, frozen=True):
    """The state of the files that a configuration names.

    Attributes:
        of_integrations: Those of each integration.
        own: Those of the bridge's own blocks, which are read at the start only.
    """

    of_integrations: dict[str, FileStates]
    own: FileStates

    def __iter__(self) -> Iterator[FileStates]:
        """Yield the files of each block."""
        yield from self.of_integrations.values()
        yield self.own


def _files_of(configuration: Configuration) -> _Files:
    """Return the state of the files that a configuration names.

    Of the bridge's own blocks only `bus` names files: `data_dir` is a directory that the bridge makes.
    """
    return _Files(
        {name: file_states(one) for name, one in configuration.integrations.items()}, named_files(configuration.bus)
    )


class _Read(msgspec.Struct, frozen=True):
    """A configuration that was read again.

    Attributes:
        configuration: It.
        files: The state of the files that it names.
        plan: What it changes.
    """

    configuration: Configuration
    files: _Files
    plan: Reloaded


def _load_again(load: Callable[[], Configuration], old: Configuration, old_files: _Files) -> _Read:
    """Read a configuration again, and find what it changes."""
    from bridge.config.changes import plan_of  # noqa: PLC0415 - a start does not need it

    fresh = load()
    files = _files_of(fresh)
    return _Read(fresh, files, plan_of(_snapshot(old, old_files), _snapshot(fresh, files)))


def _snapshot(configuration: Configuration, files: _Files) -> "Snapshot":
    from bridge.config.changes import Snapshot  # noqa: PLC0415

    versions = {name: dict(states) for name, states in files.of_integrations.items()}
    return Snapshot.of(configuration, versions, own=dict(files.own))


class _Seen(msgspec.Struct, frozen=True):
    """The state of the files from which the bridge was configured.

    Attributes:
        folder: The files of the configuration.
        named: The files that it names.
    """

    folder: "FolderState"
    named: _Files

    @classmethod
    def now(cls, paths: Sequence[Path], configuration: Configuration) -> "_Seen":
        """Look all of them up."""
        from bridge.config.watch import files_state  # noqa: PLC0415

        return cls(files_state(paths), _files_of(configuration))

    @property
    def is_incomplete(self) -> bool:
        """Whether a file is missing, as while it is replaced."""
        states = [*self.folder, *(one for files in self.named for one in files)]
        return not self.folder or any(state is None for _, state in states)


def _summary(plan: Reloaded) -> dict[str, list[str]]:
    from bridge.config.changes import summary  # noqa: PLC0415

    return summary(plan)


def _without_values(plan: Reloaded) -> Reloaded:
    from bridge.config.changes import without_values  # noqa: PLC0415

    return without_values(plan)


def _as_config_error(error: Exception) -> ConfigError:
    """Return an error of reading or preparing a configuration; a bug becomes one, too, and is logged."""
    if isinstance(error, ConfigError):
        return error
    log.error("a bug was found while the configuration was read; please report it", exc_info=error)
    return _not_loaded(f"it cannot be read, because of a bug ({type(error).__name__})")


def _not_loaded(message: str) -> ConfigError:
    return ConfigError([Diagnostic(Location(""), "", message, Code.NOT_LOADED)])


def _is_empty(configuration: Configuration) -> bool:
    return not (configuration.integrations or configuration.routes or configuration.subscriptions)


def _emit(emit: Expression) -> Emit:
    """Return the event type where it is the same for each message, else a function that makes it of one."""
    return to_emitted_type(emit.evaluate({})) if emit.constant else partial(_event_type, emit)


def _event_type(emit: Expression, message: Inbound) -> str:
    return to_emitted_type(emit.evaluate({"message": message}))


def _patterns_of(configuration: Configuration) -> set[str]:
    """Return the patterns of event types that the bridge takes: those of the routes, and the type that stops it."""
    stop_with = configuration.bridge.stop_with
    return {pattern for route in configuration.routes for pattern in route.on} | ({stop_with} if stop_with else set())


def _keeping_routes(configuration: Configuration) -> frozenset[str]:
    """Return the routes whose `emit` is kept for later subscribers."""
    return frozenset(route.name for route in configuration.routes if route.last_value)


def _needs_outbox(configuration: Configuration) -> bool:
    exports = any(one.durable and one.exports for one in configuration.fabrics.values())
    return exports or any(route.durable for route in configuration.routes)


async def _raise(bug: BaseException) -> None:
    raise bug
