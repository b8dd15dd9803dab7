"""Start, change and stop all integrations."""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bridge.connection.connection import Change, Connection, IntegrationBus, SessionListener
from bridge.connection.files import FileStates
from bridge.connection.subscriptions import SubscriptionSpec
from bridge.core.diagnostic import Code, Diagnostic, Location
from bridge.core.errors import ConfigError
from bridge.core.fabric import Fabrics
from bridge.core.ports import Clock, Tracer
from bridge.core.redaction import Redactor
from bridge.core.setup import IntegrationSettings


class ConnectionManager:
    """Starts, changes and stops connections. `run` owns their tasks; `apply` fits them to a configuration at any time.

    Attributes:
        connections: The connections that there are now, by id.
    """

    def __init__(
        self,
        *,
        bus: IntegrationBus,
        clock: Clock,
        rng: random.Random,
        drain_timeout: float = 10.0,
        state_dir: Path | None = None,
        on_change: Callable[[], None] = lambda: None,
        redactor: Redactor | None = None,
        tracer: Tracer | None = None,
        on_session: SessionListener = lambda _id, _session: None,
        fabrics: Fabrics | None = None,
    ) -> None:
        """Create a manager without connections; `on_change` is called after each change of a connection's status.

        What is in flight when a connection changes or is removed has `drain_timeout` seconds to end. In `state_dir`
        adapters may keep what the next process needs. What the sessions' errors say goes through `redactor`. `tracer`
        writes traces; None: there are none. `on_session` hears of all sessions. `fabrics` are the bridge's.
        """
        self._drain_timeout = drain_timeout
        self._state_dir = state_dir
        self._redactor = redactor
        self._tracer = tracer
        self._on_session = on_session
        self._fabrics = fabrics
        self._bus = bus
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self.connections: dict[str, Connection] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leaving: dict[asyncio.Task[None], None] = {}
        self._group: asyncio.TaskGroup | None = None
        self._over = asyncio.Event()

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self.connections.values()))  # as it is now; a reload may go on beside the caller's waiting

    async def run(self) -> None:
        """Run the connections until `close`."""
        async with asyncio.TaskGroup() as self._group:
            for connection in self.connections.values():
                self._start(connection)
            await self._over.wait()
            await self._end()
        self._group = None

    def close(self) -> None:
        """Disconnect everything and let `run` return."""
        self._over.set()

    def _start(self, connection: Connection) -> None:
        if self._over.is_set():
            connection.close()
        elif self._group is not None:
            self._tasks[connection.id] = self._group.create_task(connection.run())

    async def _end(self) -> None:
        tasks = [*self._tasks.values(), *self._leaving]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for connection in self.connections.values():
            connection.close()

    async def apply(
        self,
        wanted: Mapping[str, IntegrationSettings],
        specs: Mapping[str, Sequence[SubscriptionSpec]],
        files: Mapping[str, FileStates] | None = None,
    ) -> dict[str, Any]:
        """Prepare a change, and carry it out; see `prepare` and `carry_out`."""
        return await self.carry_out(self.prepare(wanted, specs, files))

    def prepare(
        self,
        wanted: Mapping[str, IntegrationSettings],
        specs: Mapping[str, Sequence[SubscriptionSpec]],
        files: Mapping[str, FileStates] | None = None,
    ) -> "Prepared":
        """Find out what must change so that the connections are as `wanted`, and check it; nothing changes yet.

        Args:
            wanted: All integrations by id.
            specs: Their subscriptions by id.
            files: The state of the files that their settings name, by id.

        Raises:
            ConfigError: An adapter cannot be made.
        """
        have, files = self.connections, files or {}
        found = Prepared(
            added=sorted(wanted.keys() - have.keys()), removed=sorted(have.keys() - wanted.keys()), changed=[]
        )
        diagnostics: list[Diagnostic] = []
        for name, settings in sorted(wanted.items()):
            connection, its_specs, its_files = have.get(name), specs.get(name, ()), files.get(name, ())
            if connection is not None:
                if connection.is_like(settings, its_specs, its_files):
                    found.unchanged.append(name)
                    continue
                found.changed.append(name)
            try:
                if connection is not None and connection.settings.spec == settings.spec:
                    found.changes.append((connection, connection.prepare(settings, its_specs, its_files)))
                else:
                    found.fresh.append(self._make(settings, its_specs, its_files))
            except ValueError as error:
                subject, code = f'integration "{name}"', Code.INVALID_SETTINGS
                diagnostics.append(Diagnostic(Location(""), subject, str(error), code))
        if diagnostics:
            raise ConfigError(diagnostics)
        return found

    async def carry_out(self, prepared: "Prepared", on_switch: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Add, change and remove connections.

        Those that change go on working. What is in flight on one that is removed, or whose protocol has changed, has
        `drain_timeout` seconds to end.

        Args:
            prepared: What to do.
            on_switch: Called as soon as new operations find the connections as they are wanted.

        Returns:
            The plan that was carried out: `{added, changed, removed, unchanged}`, each a sorted list of ids.
        """
        leaving = [self.connections.pop(name) for name in prepared.removed]
        for connection in prepared.fresh:
            before = self.connections.pop(connection.id, None)
            if before is not None:
                leaving.append(before)
            self.connections[connection.id] = connection
        tasks = [self._take_task(connection) for connection in leaving]
        for connection in prepared.fresh:
            self._start(connection)
        on_switch()
        async with asyncio.TaskGroup() as group:
            for connection, change in prepared.changes:
                group.create_task(connection.change(change))
            for connection, task in zip(leaving, tasks, strict=True):
                group.create_task(self._leave(connection, task))
        return {
            "added": prepared.added,
            "changed": prepared.changed,
            "removed": prepared.removed,
            "unchanged": prepared.unchanged,
        }

    def _take_task(self, connection: Connection) -> asyncio.Task[None] | None:
        task = self._tasks.pop(connection.id, None)
        if task is not None:
            self._leaving[task] = None
            task.add_done_callback(self._leaving.pop)
        return task

    async def _leave(self, connection: Connection, task: asyncio.Task[None] | None) -> None:
        """Let a connection end what is in flight, and then end it."""
        silent = connection.id in self.connections
        await connection.leave(silent=silent)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if not silent:
            connection.stopped()
            self._bus.forget(f"health.{connection.id}")

    def _make(self, settings: IntegrationSettings, specs: Sequence[SubscriptionSpec], files: FileStates) -> Connection:
        return Connection(
            settings,
            specs,
            bus=self._bus,
            clock=self._clock,
            rng=self._rng,
            files=files,
            drain_timeout=self._drain_timeout,
            state_dir=self._state_dir,
            on_change=self._on_change,
            redactor=self._redactor,
            tracer=self._tracer,
            on_session=self._on_session,
            fabrics=self._fabrics,
        )


class Prepared(msgspec.Struct):
    """What a configuration changes, checked and not yet carried out.

    Attributes:
        added: Integrations that are new.
        removed: Those that are gone.
        changed: Those that are other than before.
        unchanged: Those that stay as they are.
        changes: The connections that change, and how.
        fresh: New connections: of what is added, and of what has another protocol now.
    """

    added: list[str]
    removed: list[str]
    changed: list[str]
    unchanged: list[str] = msgspec.field(default_factory=list)
    changes: list[tuple[Connection, Change]] = msgspec.field(default_factory=list)
    fresh: list[Connection] = msgspec.field(default_factory=list)
