"""The form in which the guard reports what it does."""

from collections.abc import Callable

from bridge.core.model import Operation
from bridge.core.payloads import CircuitChange, Retry, Shed, ShedReason
from bridge.core.ports import Clock
from bridge.core.rate_limited import RateLimited

Report = Callable[[str, Retry | Shed | CircuitChange, Operation], None]
"""Takes what happened (`retry`, `shed`, `circuit.opened`, …), its payload, and the operation that caused it."""


def shed_reports(report: Report, clock: Clock) -> RateLimited[ShedReason, Operation]:
    """Make the reports of operations that were shed: one a second at most for each reason, about the last operation.

    Args:
        report: Takes them.
        clock: Measures the second.
    """

    def shed(reason: ShedReason, count: int, last: Operation) -> None:
        payload = Shed(integration=last.integration, operation=last.name, cause=last.cause, reason=reason, count=count)
        report("shed", payload, last)

    return RateLimited(clock, shed)
