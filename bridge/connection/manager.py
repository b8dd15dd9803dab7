"""All integrations by id: started, changed and stopped together."""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bridge.connection.connection import Connection, HealthPublisher
from bridge.connection.setup import IntegrationSettings
from bridge.connection.subscriptions import Wish
from bridge.core.errors import ConfigError
from bridge.core.ports import Clock
from bridge.core.redaction import Redactor


class ConnectionManager:
    """Connections by id. `run` holds them; `apply` brings them in line with a configuration while running."""

    def __init__(
        self,
        *,
        bus: HealthPublisher,
        clock: Clock,
        rng: random.Random,
        on_change: Callable[[], None] = lambda: None,
        redactor: Redactor | None = None,
    ) -> None:
        """No connections yet; `on_change` is called after each change of a connection's status.

        What the sessions' errors say goes through `redactor`.
        """
        self._redactor = redactor
        self._bus = bus
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._connections: dict[str, Connection] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._over = asyncio.Event()

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._connections.values()))  # as it is now; a reload may go on beside the caller's waiting

    def get(self, integration: str) -> Connection | None:
        """One connection, None where there is none by that id."""
        return self._connections.get(integration)

    async def run(self) -> None:
        """Hold the connections until `close`."""
        async with asyncio.TaskGroup() as self._group:
            for connection in self._connections.values():
                self._start(connection)
            await self._over.wait()
            await self._end(list(self._connections))
        self._group = None

    def close(self) -> None:
        """Disconnect everything and let `run` return."""
        self._over.set()

    def _start(self, connection: Connection) -> None:
        if self._group is not None and not self._over.is_set():
            self._tasks[connection.id] = self._group.create_task(connection.run())

    async def _end(self, ids: list[str]) -> None:
        tasks = [self._tasks.pop(name) for name in ids if name in self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def apply(
        self, wanted: Mapping[str, IntegrationSettings], wishes: Mapping[str, Sequence[Wish]]
    ) -> dict[str, Any]:
        """Add, replace and remove connections so that they are as `wanted`; what did not change is not touched.

        Args:
            wanted: All integrations by id.
            wishes: Their subscriptions by id.

        Returns:
            The plan that was carried out: `{added, changed, removed, unchanged}`, each a sorted list of ids.

        Raises:
            ConfigError: An adapter cannot be made; nothing was changed then.
        """
        have = self._connections
        added = sorted(wanted.keys() - have.keys())
        removed = sorted(have.keys() - wanted.keys())
        common = sorted(wanted.keys() & have.keys())
        changed = [name for name in common if not _is_like(have[name], wanted[name], wishes.get(name, ()))]
        fresh = self._make([(wanted[name], wishes.get(name, ())) for name in [*added, *changed]])
        for name in [*removed, *changed]:
            await self._connections[name].stop_queued()
        await self._end([*removed, *changed])
        for name in removed:
            self._connections.pop(name).stopped()
            self._bus.forget(f"health.{name}")
        for connection in fresh:
            self._connections[connection.id] = connection
            self._start(connection)
        unchanged = [name for name in common if name not in changed]
        return {"added": added, "changed": changed, "removed": removed, "unchanged": unchanged}

    def _make(self, settings: list[tuple[IntegrationSettings, Sequence[Wish]]]) -> list[Connection]:
        made: list[Connection] = []
        complaints: list[str] = []
        for one, wishes in settings:
            try:
                made.append(
                    Connection(
                        one,
                        wishes,
                        bus=self._bus,
                        clock=self._clock,
                        rng=self._rng,
                        on_change=self._on_change,
                        redactor=self._redactor,
                    )
                )
            except ValueError as error:
                complaints.append(f'integration "{one.id}": {error}')
        if complaints:
            raise ConfigError(complaints)
        return made


def _is_like(connection: Connection, wanted: IntegrationSettings, wishes: Sequence[Wish]) -> bool:
    """Whether a connection is already what is wanted."""
    have = connection.settings
    return connection.wishes == tuple(wishes) and all(
        getattr(have, name) == getattr(wanted, name)
        for name in ("id", "spec", "endpoint", "auth", "tls", "config", "resilience", "health")
    )
