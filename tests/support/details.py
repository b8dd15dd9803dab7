"""What the metrics show beside the answer of `bridge.status`, for tests that have no bridge."""

from collections.abc import Iterable

from bridge.observe.details import Details, IntegrationDetails
from bridge.resilience.measurements import Measurements


def details_of(names: Iterable[str]) -> Details:
    """Return the details of integrations at which nothing has happened."""
    return Details(orphans=0, integrations={name: IntegrationDetails(Measurements()) for name in names})
