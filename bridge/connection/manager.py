"""Start, change and stop all integrations."""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bridge.connection.connection import Connection, IntegrationBus
from bridge.connection.setup import IntegrationSettings
from bridge.connection.subscriptions import SubscriptionSpec
from bridge.core.errors import ConfigError
from bridge.core.ports import Clock
from bridge.core.redaction import Redactor


class ConnectionManager:
    """The connections by id. `run` owns their tasks; `apply` fits them to a configuration, also while they run."""

    def __init__(
        self,
        *,
        bus: IntegrationBus,
        clock: Clock,
        rng: random.Random,
        on_change: Callable[[], None] = lambda: None,
        redactor: Redactor | None = None,
    ) -> None:
        """Create a manager without connections; `on_change` is called after each change of a connection's status.

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
        """Return the connection of an integration; None where there is none."""
        return self._connections.get(integration)

    async def run(self) -> None:
        """Run the connections until `close`."""
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
        self, wanted: Mapping[str, IntegrationSettings], specs: Mapping[str, Sequence[SubscriptionSpec]]
    ) -> dict[str, Any]:
        """Add, replace and remove connections until they are as `wanted`; leave alone what is so already.

        Args:
            wanted: All integrations by id.
            specs: Their subscriptions by id.

        Returns:
            The plan that was carried out: `{added, changed, removed, unchanged}`, each a sorted list of ids.

        Raises:
            ConfigError: An adapter cannot be made; nothing was changed then.
        """
        have = self._connections
        added = sorted(wanted.keys() - have.keys())
        removed = sorted(have.keys() - wanted.keys())
        common = sorted(wanted.keys() & have.keys())
        changed = [name for name in common if not _is_like(have[name], wanted[name], specs.get(name, ()))]
        fresh = self._make([(wanted[name], specs.get(name, ())) for name in [*added, *changed]])
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

    def _make(self, settings: list[tuple[IntegrationSettings, Sequence[SubscriptionSpec]]]) -> list[Connection]:
        made: list[Connection] = []
        diagnostics: list[str] = []
        for one, specs in settings:
            try:
                made.append(
                    Connection(
                        one,
                        specs,
                        bus=self._bus,
                        clock=self._clock,
                        rng=self._rng,
                        on_change=self._on_change,
                        redactor=self._redactor,
                    )
                )
            except ValueError as error:
                diagnostics.append(f'integration "{one.id}": {error}')
        if diagnostics:
            raise ConfigError(diagnostics)
        return made


def _is_like(connection: Connection, wanted: IntegrationSettings, specs: Sequence[SubscriptionSpec]) -> bool:
    """Whether a connection already has these settings and subscriptions."""
    have = connection.settings
    return connection.subscription_specs == tuple(specs) and all(
        getattr(have, name) == getattr(wanted, name)
        for name in ("id", "spec", "endpoint", "auth", "tls", "config", "resilience", "health")
    )
