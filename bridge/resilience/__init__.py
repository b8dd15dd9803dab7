"""Retry, circuit breaker, limits and time limits around each operation; pure over an injected clock."""

from bridge.resilience.accounting import Accounting, Stage
from bridge.resilience.call import Call
from bridge.resilience.guard import Guard

__all__ = ["Accounting", "Call", "Guard", "Stage"]
