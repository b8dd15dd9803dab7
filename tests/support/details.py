"""What the metrics show beside the answer of `bridge.status`, for tests that have no bridge."""

from collections.abc import Iterable

import msgspec

from bridge.contract import examples
from bridge.core.errors import CircuitOpenError, UnavailableError
from bridge.core.model import CircuitState, Outcome
from bridge.core.payloads import Fleet
from bridge.observe.details import Details, IntegrationDetails
from bridge.resilience.measurements import Measurements
from tests.support.guard.operations import operation


def details_of(names: Iterable[str]) -> Details:
    """Return the details of integrations at which nothing has happened."""
    return Details(orphans=0, integrations={name: IntegrationDetails(Measurements()) for name in names})


def busy_details() -> Details:
    """Return the details of a fabric and of `backend_api`: operations, two routes, a subscription, an open circuit."""
    measured = Measurements()
    routed = msgspec.structs.replace(operation(1), route="orders")
    for attempt in (1, 1, 2, 3):
        measured.attempts += 1
        measured.retries += attempt > 1
    measured.succeeded(routed, 0.3)
    measured.succeeded(operation(2), 0.0004)
    measured.ended(routed, Outcome(error=UnavailableError("503"), attempts=2, duration_ms=90_000.0), at=1)
    measured.ended(operation(3), Outcome(error=CircuitOpenError("open")), at=2)
    measured.circuit_changed(CircuitState.OPEN, None, at=3)
    one = IntegrationDetails(
        measured,
        routes=["orders", "stock"],
        subscriptions=[("jobs", 12)],
        unwell=25,
        unheard=1,
        pending=4,
        dead_letters=5,
    )
    fabrics = msgspec.convert(examples.RESULTS["bridge.fleet"], Fleet).fabrics
    return Details(orphans=6, integrations={"backend_api": one}, fabrics=fabrics)
