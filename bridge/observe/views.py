"""Makes the two views of the bridge: all of it (`bridge.overview`), and one integration (`bridge.inspect`).

The console, `nemo-bridge top` and programs on the bus show these. Their sums are the ones that `health.*` has.
"""

from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from bridge.config import Configuration, Route
from bridge.connection import Connection, ConnectionManager
from bridge.core.errors import ErrorObject, UnknownIntegrationError
from bridge.core.model import CircuitState
from bridge.core.near import did_you_mean
from bridge.core.payloads import (
    BridgeHealth,
    Bucket,
    FabricRow,
    FabricView,
    Fleet,
    FleetNode,
    Inspection,
    IntegrationHealth,
    IntegrationRow,
    Letter,
    Overview,
    RouteRow,
    SubscriptionRow,
)
from bridge.core.ports import Clock
from bridge.observe.problems import Problems
from bridge.observe.samples import Samples
from bridge.observe.shared import Shared
from bridge.observe.summary import NODE_URGENCY, URGENCY, is_fabric_well
from bridge.outbox import Outbox, Selection
from bridge.resilience import Stage
from bridge.resilience.measurements import BUCKETS, Histogram

#: Routes and subscriptions that an overview has, and dead letters that an inspection has, at most.
_MOST_ROWS: Final = 1000
_MOST_LETTERS: Final = 50
#: Bytes of these dead letters.
_LETTER_BYTES: Final = 256 << 10
#: Bytes of the fleet in the console: it gets them every two seconds.
_CONSOLE_FLEET_BYTES: Final = 256 << 10
#: Characters of an error in a row.
_MOST_TEXT: Final = 300
_CONNECTED: Final = "connected"


class Views:
    """Shows how the bridge and its integrations are, and what they did lately."""

    def __init__(
        self,
        manager: ConnectionManager,
        samples: Samples,
        *,
        outbox: Outbox,
        health: Callable[[], BridgeHealth],
        fleet: Callable[[], Fleet],
        configuration: Callable[[], Configuration],
        settings: Callable[[str], Awaitable[dict[str, Any]]],
        clock: Clock,
    ) -> None:
        """Create it.

        Args:
            manager: Has the connections.
            samples: What happened lately.
            outbox: The outbox.
            health: Returns the payload of `health.bridge`.
            fleet: Returns all fabrics, whole.
            configuration: Returns the configuration that is in use.
            settings: Returns the settings of an integration with secrets masked; may raise InvalidError and
                StoppingError.
            clock: For all times.
        """
        self._manager = manager
        self._samples = samples
        self._outbox = outbox
        self._health = health
        self._fleet = fleet
        self._configuration = configuration
        self._settings = settings
        self._clock = clock
        self._shared_overview = Shared(self.overview, clock)
        self._fitting: tuple[Overview, Overview] | None = None
        self._bus_fleet: Shared[Fleet] | None = None
        self._console_fleet = Shared(lambda: fleet_that_fits(fleet(), _CONSOLE_FLEET_BYTES, json=True), clock)

    # --- all of it

    def overview(self) -> Overview:
        """Return how the bridge and all integrations are, and what happens."""
        samples = self._samples
        now, health = self._clock.wall_ms(), self._health()
        problems = Problems(now)
        problems.of_bridge(health, samples.episodes, now - health.uptime_ms)
        rows = []
        for connection in self._manager:
            row = self._row(connection, connection.health())
            problems.of_integration(row, connection, samples.episodes)
            rows.append(row)
        fabrics = sorted(self._fleet().fabrics.values(), key=lambda one: (is_fabric_well(one), one.health.fabric))
        for view in fabrics:
            problems.of_fabric(view)
        problems.of_outbox(self._outbox, health.outbox.oldest_ms, samples.episodes)
        rows.sort(key=lambda row: (URGENCY.index(row.status), row.integration))
        received, published = samples.bus_rates()
        return Overview(
            at=now,
            bridge=health,
            received=received,
            published=published,
            rates=samples.rates_of_all(),
            series=samples.series_of_all(),
            problems=problems.listed(),
            integrations=rows,
            routes=[self._route(route) for route in self._configuration().routes[:_MOST_ROWS]],
            subscriptions=list(islice(self._subscriptions(), _MOST_ROWS)),
            fabrics=[_fabric(view) for view in fabrics] or UNSET,
        )

    def shared_overview(self) -> Overview:
        """Return the overview for all who look. With 1,000 integrations it takes some 36 ms to make."""
        return self._shared_overview.get()

    def overview_for_bus(self, most: int) -> Overview:
        """Return the shared overview in at most so many bytes; see `overview_that_fits`."""
        whole = self.shared_overview()
        if self._fitting is None or self._fitting[0] is not whole:
            self._fitting = whole, overview_that_fits(whole, most)
        return self._fitting[1]

    def fleet_for_bus(self, most: int) -> Fleet:
        """Return all fabrics in at most so many bytes, which are the same at each call; see `fleet_that_fits`."""
        if self._bus_fleet is None:
            self._bus_fleet = Shared(lambda: fleet_that_fits(self._fleet(), most), self._clock)
        return self._bus_fleet.get()

    def fleet_for_console(self) -> Fleet:
        """Return all fabrics as consoles show them: in few enough bytes to be sent every two seconds."""
        return self._console_fleet.get()

    def _row(self, connection: Connection, health: IntegrationHealth) -> IntegrationRow:
        letters = self._outbox.dead_letters.get(connection.id)
        rates, series = self._samples.of(connection.id)
        return IntegrationRow(
            integration=health.integration,
            type=health.type,
            status=health.status,
            since=health.since,
            circuit=health.circuit,
            error=_error(connection, health),
            in_flight=health.in_flight,
            queued=connection.accounting.queued,
            pending=connection.accounting.count(Stage.PENDING),
            dead_letters=0 if letters is None else letters.count,
            dropped=health.dropped,
            warnings=len(health.warnings),
            unwell=connection.unwell,
            rates=rates,
            series=UNSET if series is None else series,
        )

    def _route(self, route: Route) -> RouteRow:
        connection = self._manager.connections.get(route.integration)
        sums = None if connection is None else connection.guard.measured.routes.get(route.name)
        return RouteRow(
            route=route.name,
            on=list(route.on),
            integration=route.integration,
            operation=route.operation,
            durable=route.durable,
            succeeded=0 if sums is None else sums.succeeded,
            failed=0 if sums is None else sums.failed,
            rate=self._samples.route_rate(route.integration, route.name),
        )

    def _subscriptions(self) -> Iterator[SubscriptionRow]:
        for connection in self._manager:
            for one in connection.subscriptions.listed():
                yield SubscriptionRow(
                    integration=connection.id,
                    subscription=one.subscription,
                    topic=one.topic,
                    emit=one.emit,
                    messages=one.messages,
                    rate=self._samples.subscription_rate(connection.id, one.subscription),
                )

    # --- one integration

    async def inspect(self, integration: str) -> Inspection:
        """Return all that is known of one integration.

        Raises:
            InvalidError: Its settings cannot be shown.
            StoppingError: The bridge is about to end.
            UnknownIntegrationError: There is no such integration.
        """
        self._connection(integration)
        letters = await self._letters(integration)
        configuration = await self._settings(integration)
        connection = self._connection(integration)  # it may have been removed or replaced meanwhile
        health, measured = connection.health(), connection.guard.measured
        return Inspection(
            at=self._clock.wall_ms(),
            row=self._row(connection, health),
            health=health,
            attempts=measured.attempts,
            retries=measured.retries,
            failures=dict(sorted(measured.failures.items())),
            durations={name: _buckets(one) for name, one in sorted(measured.durations.items())},
            failed=list(reversed(measured.failed)),
            circuit=list(reversed(measured.circuit)),
            routes=[self._route(route) for route in self._configuration().routes if route.integration == integration],
            subscriptions=connection.subscriptions.listed(),
            dead_letters=letters,
            configuration=configuration,
        )

    def _connection(self, integration: str) -> Connection:
        connection = self._manager.connections.get(integration)
        if connection is None:
            hint = did_you_mean(integration, (one.id for one in self._manager))
            raise UnknownIntegrationError(f"there is no integration {integration!r}{hint}")
        return connection

    async def _letters(self, integration: str) -> list[Letter]:
        if integration not in self._outbox.dead_letters:
            return []
        found = await self._outbox.letters(Selection(integration=integration), _MOST_LETTERS, _LETTER_BYTES)
        return found.letters


def _error(connection: Connection, health: IntegrationHealth) -> ErrorObject | None:
    """Return why an integration is not connected, or else why its circuit is not closed."""
    error = health.error
    if error is None and health.circuit is not CircuitState.CLOSED:
        opened = (one.error for one in reversed(connection.guard.measured.circuit) if one.error is not None)
        error = None if connection.guard.breaker.forced else next(opened, None)
    return None if error is None else error.shortened(_MOST_TEXT)


def _fabric(view: FabricView) -> FabricRow:
    health = view.health
    statuses = [node.status for node in view.nodes.values()]
    return FabricRow(
        fabric=health.fabric,
        integration=health.integration,
        node=health.node,
        status=health.status,
        since=health.since,
        error=None if health.error is None else health.error.shortened(_MOST_TEXT),
        warnings=len(health.warnings),
        nodes=len(statuses) - statuses.count("stopped"),
        connected=statuses.count(_CONNECTED),
        lost=statuses.count("lost"),
    )


def _buckets(histogram: Histogram) -> list[Bucket]:
    limits = [*(round(limit * 1000, 3) for limit in BUCKETS), None]
    return [Bucket(up_to_ms=limit, count=count) for limit, count in zip(limits, histogram.counts, strict=True)]


# --- on the bus


def overview_that_fits(overview: Overview, most: int) -> Overview:
    """Return an overview of at most so many bytes, if possible: without series, with fewer routes and subscriptions."""
    if _fits(overview, most):
        return overview
    overview = replace(overview, integrations=[replace(row, series=UNSET) for row in overview.integrations])
    keep = _MOST_ROWS
    while keep and not _fits(overview, most):
        keep //= 2
        overview = replace(overview, routes=overview.routes[:keep], subscriptions=overview.subscriptions[:keep])
    return overview


def inspection_that_fits(inspection: Inspection, most: int) -> Inspection:
    """Return an inspection of at most so many bytes, if possible: with fewer dead letters, failures and routes."""
    keep = max(len(inspection.dead_letters), len(inspection.failed), len(inspection.routes))
    while keep and not _fits(inspection, most):
        keep //= 2
        inspection = replace(
            inspection,
            dead_letters=inspection.dead_letters[:keep],
            failed=inspection.failed[:keep],
            routes=inspection.routes[:keep],
        )
    return inspection


def fleet_that_fits(fleet: Fleet, most: int, *, json: bool = False) -> Fleet:
    """Return all fabrics in at most so many bytes, if possible.

    Left out are first the integrations of nodes that are connected, then nodes, those that are lost last, and so much
    of every other list as is needed.

    Args:
        fleet: All of it.
        most: So many bytes, as MessagePack.
        json: As JSON instead.
    """
    if _fits(fleet, most, json=json):
        return fleet
    fleet = Fleet(fabrics={name: _without_well(view) for name, view in fleet.fabrics.items()})
    keep = max(_longest(view) for view in fleet.fabrics.values())
    while keep and not _fits(fleet, most, json=json):
        keep //= 2
        fleet = Fleet(fabrics={name: _cut(view, keep) for name, view in fleet.fabrics.items()})
    return fleet


def _without_well(view: FabricView) -> FabricView:
    return replace(view, nodes={name: _unwell(node) for name, node in view.nodes.items()})


def _unwell(node: FleetNode) -> FleetNode:
    """Return a node with those of its integrations that are not connected."""
    kept = {name: status for name, status in node.integrations.items() if status != _CONNECTED}
    return replace(node, integrations=kept, left_out=node.left_out + len(node.integrations) - len(kept))


def _longest(view: FabricView) -> int:
    """Return the length of the longest list in a fabric."""
    nodes = view.nodes.values()
    lists = [(one.integrations, one.offers, one.leases) for one in nodes]
    own = (view.nodes, view.uses, view.vacant, view.health.warnings)
    return max(map(len, (*own, *(one for many in lists for one in many))))


def _cut(view: FabricView, keep: int) -> FabricView:
    """Return a fabric with so many entries at most in each list; this bridge and lost nodes are kept before others."""
    own, health = view.health.node, view.health
    order = sorted(view.nodes, key=lambda name: (name != own, NODE_URGENCY.index(view.nodes[name].status), name))
    kept = order[:keep]
    return replace(
        view,
        health=replace(
            health,
            warnings=health.warnings[:keep],
            nodes={name: health.nodes[name] for name in kept if name in health.nodes},
        ),
        nodes={name: _cut_node(view.nodes[name], keep) for name in sorted(kept)},
        uses={name: nodes[:keep] for name, nodes in islice(view.uses.items(), keep)},
        vacant=view.vacant[:keep],
        left_out=view.left_out + len(order) - len(kept),
    )


def _cut_node(node: FleetNode, keep: int) -> FleetNode:
    kept = dict(islice(node.integrations.items(), keep))
    return replace(
        node,
        integrations=kept,
        offers=node.offers[:keep],
        leases=node.leases[:keep],
        left_out=node.left_out + len(node.integrations) - len(kept),
    )


def _fits(view: Overview | Inspection | Fleet, most: int, *, json: bool = False) -> bool:
    return len((msgspec.json if json else msgspec.msgpack).encode(view)) <= most
