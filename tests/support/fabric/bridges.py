"""Two kinds of bridge in a fabric, of real parts but for the bus and the membership: one offers `erp`, one uses it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bridge.adapters.fabric import SPEC, FabricUse
from bridge.connection import ConnectionManager
from bridge.core.cluster import ClusterSession
from bridge.core.endpoint import NO_AUTH, Endpoint, Tls
from bridge.core.fabric import UsedIntegration
from bridge.core.model import Event
from bridge.core.ports import AdapterSpec, Clock
from bridge.core.responder import Responder
from bridge.core.settings import CircuitBreakerSettings, HealthSettings, ResilienceSettings, RetrySettings
from bridge.fabric.offers import Offers, longest
from bridge.fabric.uses import Uses
from bridge.routing.dispatcher import Dispatcher
from bridge.routing.router import Router
from tests.support.adapters import memory_adapter
from tests.support.adapters.memory_adapter import MemoryAdapter, MemoryRemote
from tests.support.fabric.parts import Part, RecordingBus

#: As the configuration makes them for an integration under `use`.
USED_RESILIENCE = ResilienceSettings(
    timeout=86400.0,
    retry=RetrySettings(max_attempts=1),
    circuit_breaker=CircuitBreakerSettings(failure_threshold=2**31),
)


@dataclass
class _Settings:
    """See `core.setup.IntegrationSettings`."""

    spec: AdapterSpec
    config: Any
    endpoint: Endpoint | None = None
    resilience: ResilienceSettings = field(default_factory=ResilienceSettings)
    health: HealthSettings = field(default_factory=lambda: HealthSettings(interval=1.0))
    id: str = "erp"
    auth: Any = NO_AUTH
    tls: Tls = field(default_factory=Tls)


@dataclass
class Known:
    """What a membership knows: which nodes offer `erp`, and how long it takes there."""

    nodes: list[str] = field(default_factory=list)
    seconds: float | None = None

    def offering(self, integration: str) -> list[str]:
        """See `Membership.offering`."""
        return self.nodes if integration == "erp" else []

    def longest(self, _integration: str) -> float | None:
        """See `Membership.longest`."""
        return self.seconds


class _Fabrics:
    """See `core.fabric.Fabrics`."""

    def __init__(self, uses: Uses) -> None:
        self._uses = uses

    def used(self, fabric: str, integration: str) -> UsedIntegration:
        assert fabric == "plant"
        return self._uses.of(integration)

    def lease(self, fabric: str, subscription: str) -> Any:
        raise AssertionError


class Bridge:
    """A bridge with one integration, `erp`: its own one, or that of other nodes.

    Attributes:
        name: The node's name.
        part: Its fabric's context.
        known: What it knows of the others.
        remote: The remote of its own `erp`.
        offers: What it offers.
        uses: What it uses.
        manager: Its integrations.
        settings: The settings of `erp`.
    """

    def __init__(
        self,
        clock: Clock,
        name: str,
        *,
        own: bool,
        known: Known | None = None,
        resilience: ResilienceSettings | None = None,
        max_message: int = 1 << 20,
    ) -> None:
        """Create it; nothing runs before `running`."""
        self.name = name
        self.part = Part(
            clock,
            name,
            bus=RecordingBus(max_message),
            offers=("erp",) if own else (),
            uses=() if own else ("erp",),
        )
        self.bus = self.part.bus
        self.known = known or Known()
        self.uses = Uses(self.part.context, self.known)
        self.manager = ConnectionManager(
            bus=self.bus,  # type: ignore[arg-type]  # only some of it is used
            clock=clock,
            rng=random.Random(0),
            on_change=self._on_change,
            fabrics=_Fabrics(self.uses),
        )
        self.dispatcher = Dispatcher(
            Router({"erp": (memory_adapter.SPEC if own else SPEC).operations}, ()),
            self.manager.connections,
            None,  # type: ignore[arg-type]
            outbox=None,  # type: ignore[arg-type]
            bus=self.bus,  # type: ignore[arg-type]
            responder=Responder(self.bus, most=max_message - 2048, clock=clock),  # type: ignore[arg-type]
            source="bridge",
            clock=clock,
        )
        self.offers = Offers(self.part.context, execute=self.dispatcher.execute_for_node, status=self._status)
        self.remote = MemoryRemote()
        if own:
            MemoryAdapter.remotes[name] = self.remote
            endpoint = Endpoint(address=name)
            config: Any = memory_adapter.MemoryConfig()
            given = resilience or ResilienceSettings()
            settings = _Settings(memory_adapter.SPEC, config, endpoint, given)
            self.known.seconds = longest(given)
        else:
            settings = _Settings(SPEC, FabricUse(fabric="plant", integration="erp"), resilience=USED_RESILIENCE)
        self.settings = settings
        self._ids = 0

    def _on_change(self) -> None:
        self.offers.touch()

    def _status(self, integration: str) -> Any:
        connection = self.manager.connections.get(integration)
        return None if connection is None else connection.status

    @contextlib.asynccontextmanager
    async def running(self, session: ClusterSession) -> AsyncIterator[None]:
        """Run it on a session of the broker."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(work)
                for work in (self.manager.run(), self.offers.run(session), self.uses.run(session))
            ]
            await asyncio.sleep(0)
            await self.manager.apply({"erp": self.settings}, {})
            try:
                yield
            finally:
                for task in running:
                    task.cancel()

    @property
    def health(self) -> Any:
        """The last `health.erp`."""
        return self.bus.kept["health.erp"]

    def command(self, operation: str, payload: Any, correlation_id: str | None = "c", **headers: str) -> Event:
        """Say a command on its bus, and return it."""
        self._ids += 1
        event = Event(
            id=self._ids,
            event_type=f"integration.erp.{operation}",
            raw=msgspec.Raw(msgspec.msgpack.encode(payload)),
            timestamp=1,
            source="app",
            correlation_id=correlation_id,
            headers=headers or None,
        )
        self.dispatcher.on_event(event)
        return event

    def call(self, method: str, params: Any = None, correlation_id: str | None = "c", **headers: str) -> None:
        """Say `integration.erp.request` on its bus."""
        self.command("request", {"method": method, "params": params}, correlation_id, **headers)

    @property
    def responses(self) -> list[Any]:
        """The payloads of the responses on its bus."""
        return [payload for name, payload, _ in self.bus.published if name.startswith("response.")]

    def failures(self) -> list[str]:
        """The kinds of the failures on its bus."""
        return [one["error"]["kind"] for one in self.bus.payloads("resilience.erp.failed")]


@contextlib.asynccontextmanager
async def all_running(bridges: dict[Bridge, ClusterSession]) -> AsyncIterator[None]:
    """Run several bridges, each on its session."""
    async with contextlib.AsyncExitStack() as stack:
        for bridge, session in bridges.items():
            await stack.enter_async_context(bridge.running(session))
        yield
