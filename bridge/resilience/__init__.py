"""Runs operations with retry, circuit breaker, limits and time limits; all time comes from an injected clock."""

from bridge.resilience.accounting import Accounting, Stage
from bridge.resilience.guard import Guard
from bridge.resilience.guarded_call import GuardedCall

__all__ = ["Accounting", "Guard", "GuardedCall", "Stage"]
