"""Decides whether, when and how often to try again."""

import random
from collections import deque
from typing import Final

from bridge.core.backoff import backoff
from bridge.core.errors import BridgeError
from bridge.core.model import Operation
from bridge.core.payloads import Retry, ShedReason
from bridge.core.ports import Clock
from bridge.core.rate_limited import RateLimited
from bridge.core.settings import RetrySettings
from bridge.resilience.guarded_call import GuardedCall
from bridge.resilience.report import Report

#: Seconds of traffic that the retry budget looks back on.
BUDGET_WINDOW: Final = 10.0
#: Retries in a window that are always allowed, so that quiet integrations can retry at all.
BUDGET_FLOOR: Final = 3

#: Many callers may retry at the same time, so they are spread over the whole delay.
_FULL_JITTER: Final = (0.0, 1.0)
_BUCKETS_PER_SECOND: Final = 10
_WINDOW_BUCKETS: Final = round(BUDGET_WINDOW * _BUCKETS_PER_SECOND)
#: Kinds that the contract calls retryable "later": by the caller, never by the guard.
_LATER: Final = frozenset({"circuit_open", "overloaded", "stopping"})


def may_retry(error: BridgeError, *, idempotent: bool) -> bool:
    """Return whether the guard may try again after `error`: only what was surely not sent, or may be repeated.

    The rule is the bus contract's column "retryable".
    """
    return error.retryable and error.kind not in _LATER and (idempotent or not error.maybe_sent)


def retry_delay(settings: RetrySettings, attempt: int, rng: random.Random) -> float:
    """Return the seconds to wait after the failed attempt number `attempt` (1 is the first)."""
    return backoff(
        settings.initial_delay,
        settings.max_delay,
        attempt,
        growth=settings.backoff,
        jitter=_FULL_JITTER,
        rng=rng if settings.jitter else None,
    )


class RetryBudget:
    """Prevents retry storms: of the attempts in the last 10 s only a share may be retries, but at least 3.

    A first attempt and a retry both count as attempts. Time is counted in buckets of 100 ms, so that the cost is flat
    whatever the rate.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._attempts: deque[list[int]] = deque()
        self._retries: deque[list[int]] = deque()
        self._attempt_total = 0
        self._retry_total = 0

    def attempt(self, now: float) -> None:
        """Count one attempt; `now` is monotonic, in seconds."""
        bucket = int(now * _BUCKETS_PER_SECOND)
        self._attempt_total += 1
        if self._attempts and self._attempts[-1][0] == bucket:
            self._attempts[-1][1] += 1
            return
        self._attempts.append([bucket, 1])
        self._forget(bucket)

    def spend(self, now: float) -> bool:
        """Take one retry from the budget; return False where none is left. `now` is monotonic, in seconds."""
        bucket = int(now * _BUCKETS_PER_SECOND)
        self._forget(bucket)
        # 0.1 * 30 is a little more than 3, 0.7 * 10 could as well be a little less than 7.
        if self._retry_total + 1 > max(BUDGET_FLOOR, self.share * self._attempt_total + 1e-9):
            return False
        self._retry_total += 1
        if self._retries and self._retries[-1][0] == bucket:
            self._retries[-1][1] += 1
        else:
            self._retries.append([bucket, 1])
        return True

    def _forget(self, bucket: int) -> None:
        oldest = bucket - _WINDOW_BUCKETS
        while self._attempts and self._attempts[0][0] <= oldest:
            self._attempt_total -= self._attempts.popleft()[1]
        while self._retries and self._retries[0][0] <= oldest:
            self._retry_total -= self._retries.popleft()[1]


class Retries:
    """Decides about the next attempt of a call, within the settings and the budget."""

    def __init__(
        self,
        settings: RetrySettings,
        *,
        clock: Clock,
        rng: random.Random,
        report: Report,
        shed: RateLimited[ShedReason, Operation],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._report = report
        self._shed = shed
        self._budget = RetryBudget(settings.budget)
        #: To be called with the time (monotonic, in seconds) of each attempt that begins.
        self.count = self._budget.attempt

    def change(self, settings: RetrySettings) -> None:
        """Use other settings from now on; the budget keeps what was counted."""
        self._settings = settings
        self._budget.share = settings.budget

    def delay(self, call: GuardedCall, error: BridgeError) -> float | None:
        """Return the seconds until the next attempt, and report it; None where there will be none.

        Where the delay reaches the deadline there will be no retry: nothing is spent or reported.
        """
        settings = self._settings
        if call.attempts >= settings.max_attempts or not may_retry(error, idempotent=call.idempotent):
            return None
        now = self._clock.monotonic()
        deadline = call.operation.deadline
        fits = float("inf") if deadline is None else deadline - now
        if error.kind == "throttled" and error.retry_after_ms is not None:
            delay = error.retry_after_ms / 1000
            if delay >= fits or (deadline is None and delay > settings.max_delay):
                return None
        else:
            delay = retry_delay(settings, call.attempts, self._rng)
        if delay < fits:
            if not self._budget.spend(now):
                self._shed.add("retry_budget", call.operation)
                return None
            operation = call.operation
            retry = Retry(
                integration=operation.integration,
                operation=operation.name,
                cause=operation.cause,
                attempt=call.attempts,
                max_attempts=settings.max_attempts,
                delay_ms=round(delay * 1000),
                error=error.to_wire(),
            )
            self._report("retry", retry, operation)
        return delay
