"""Gathers what the metrics show of integrations beside their health."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from bridge.config import Configuration
from bridge.connection import ConnectionManager
from bridge.core.payloads import FabricView, Fleet
from bridge.outbox import Outbox
from bridge.resilience.measurements import Measurements


class IntegrationDetails(msgspec.Struct, frozen=True):
    """What the metrics show of an integration beside its health.

    Attributes:
        measured: Durations, attempts, failures and changes of the circuit.
        routes: The names of the routes of the configuration that use it.
        subscriptions: Of each subscription of the configuration its name, and how many messages its topic had. Those
            by command are not among them: their names come from the bus, and there may be any number of them.
        unwell: How many subscriptions are not live while it is connected.
        unheard: How many types of events nobody listens to, so that messages wait; at most 21.
        pending: How many of its operations the outbox has.
        dead_letters: How many dead letters it has.
    """

    measured: Measurements
    routes: Sequence[str] = ()
    subscriptions: Sequence[tuple[str, int]] = ()
    unwell: int = 0
    unheard: int = 0
    pending: int = 0
    dead_letters: int = 0


class Details(msgspec.Struct, frozen=True):
    """What the metrics show beside health.

    Attributes:
        orphans: How many operations the outbox has for integrations that do not exist.
        integrations: The details of each integration, by its label.
        fabrics: The fabrics, by their labels.
    """

    orphans: int
    integrations: Mapping[str, IntegrationDetails]
    fabrics: Mapping[str, FabricView] = msgspec.field(default_factory=dict)


ReadDetails = Callable[[], Details]
"""Returns the details at this moment."""


def read_details(manager: ConnectionManager, outbox: Outbox, configuration: Configuration, fleet: Fleet) -> Details:
    """Return the details of all integrations and fabrics."""
    routes: defaultdict[str, list[str]] = defaultdict(list)
    for route in configuration.routes:
        routes[route.integration].append(route.name)
    named = {(one.integration, one.name) for one in configuration.subscriptions}
    pending, letters = outbox.pending, outbox.dead_letters
    found = {}
    for one in manager:
        kept = letters.get(one.id)
        found[one.id] = IntegrationDetails(
            measured=one.guard.measured,
            routes=routes.get(one.id, ()),
            subscriptions=[count for count in one.subscriptions.counts() if (one.id, count[0]) in named],
            unwell=one.unwell,
            unheard=len(one.subscriptions.unheard()),
            pending=pending.get(one.id, 0),
            dead_letters=0 if kept is None else kept.count,
        )
    return Details(orphans=sum(outbox.orphans.values()), integrations=found, fabrics=fleet.fabrics)
