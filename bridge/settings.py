"""The `resilience { … }` and `health { … }` blocks of an integration, checked.

They stand below both rooms that need them: the configuration fills them, guard and connections read them.
Times are in seconds.
"""

from typing import Annotated, Literal

from pydantic import Field

from bridge.endpoint import Strict
from bridge.units import Duration, PositiveDuration, Rate


class RetrySettings(Strict):
    """`retry { … }`: what is tried again, how often and how far apart.

    `budget` is the share of retries that the attempts of the last 10 s allow; at least 3 are always allowed.
    """

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    backoff: Literal["constant", "linear", "exponential"] = "exponential"
    initial_delay: Duration = 0.1
    max_delay: PositiveDuration = 10.0
    jitter: bool = True
    budget: Annotated[float, Field(ge=0, le=1)] = 0.2


class CircuitBreakerSettings(Strict):
    """`circuit_breaker { … }`: when the circuit opens, for how long, and what closes it."""

    failure_threshold: Annotated[int, Field(ge=1)] = 5
    success_threshold: Annotated[int, Field(ge=1)] = 2
    timeout: PositiveDuration = 30.0


class LimitSettings(Strict):
    """`limit { … }`: how much at a time, how much may wait, how much a second."""

    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    queue: Annotated[int, Field(ge=0)] = 10_000
    rate: Rate | None = None


class ResilienceSettings(Strict):
    """`resilience { … }`; `timeout` limits one attempt."""

    timeout: PositiveDuration = 10.0
    retry: RetrySettings = RetrySettings()
    circuit_breaker: CircuitBreakerSettings = CircuitBreakerSettings()
    limit: LimitSettings = LimitSettings()


class HealthSettings(Strict):
    """`health { … }`: how often a connection is checked, and how long a check may take."""

    interval: PositiveDuration = 30.0
    timeout: PositiveDuration = 5.0
