"""How the guard reports what it does."""

from collections.abc import Callable
from typing import Any

from bridge.core.model import Operation
from bridge.core.ports import Clock
from bridge.core.rate_limited import RateLimited

Report = Callable[[str, dict[str, Any], Operation | None], None]
"""Takes what happened (`retry`, `failed`, `circuit.opened`, …), its payload, and the operation that caused it."""


def shed_reports(report: Report, clock: Clock) -> RateLimited[str, Operation]:
    """Make the reports of operations that were shed: one a second at most for each reason, about the last operation.

    Args:
        report: Takes them.
        clock: Measures the second.
    """

    def shed(reason: str, count: int, last: Operation) -> None:
        report("shed", {"reason": reason, "count": count}, last)

    return RateLimited(clock, shed)
