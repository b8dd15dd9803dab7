"""Define the settings that several packages read and the configuration fills.

They are the `resilience` and `health` blocks of an integration, how a subscription's messages wait for the application,
the bridge's `outbox`, and the address of the status page. Times are in seconds.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from bridge.core.endpoint import Strict, is_loopback
from bridge.core.model import Inbound
from bridge.core.units import Duration, PositiveDuration, Rate, Size


class RetrySettings(Strict):
    """`retry { … }`: how often an operation is tried again, and the time between two attempts.

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
    """`limit { … }`: how many operations run at a time, wait, and start in a second."""

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


class Listen(NamedTuple):
    """Where a server listens: an IP address, and a port, 0 for any that is free."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """Return the address as a URL for a browser."""
        return f"http://[{self.host}]:{self.port}/" if ":" in self.host else f"http://{self.host}:{self.port}/"


def parse_listen(text: str) -> Listen:
    """Return the address in a text like `127.0.0.1:9464` or `[::1]:9464`; the only name it may have is `localhost`.

    Raises:
        ValueError: It is not such an address; the message says what is valid.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host or "")
    except ValueError:
        port = None
    if port is None or parts.netloc != text or "@" in text:
        raise ValueError(
            f'{text!r} is not an address to listen at; write an IP address and a port, as in "127.0.0.1:9464"'
        )
    return Listen(str(address), port)


def _listen(text: str) -> str:
    parse_listen(text)
    return text


#: A text that `parse_listen` accepts.
ListenAddress = Annotated[str, AfterValidator(_listen)]


class OutboxSettings(Strict):
    """`outbox { … }`: how much `at_least_once` may keep on disk, and for how long delivery is tried."""

    max_bytes: Annotated[Size, Field(description="events and dead letters on disk; beyond, none is accepted")] = 1 << 30
    max_age: Annotated[PositiveDuration, Field(description="how long delivery is tried; then: a dead letter")] = 86400.0


#: Messages of a subscription that are taken from the remote and not acknowledged, at most, unless configured otherwise.
DEFAULT_PREFETCH: Final = 100


@dataclass(frozen=True, slots=True)
class Hold:
    """How messages wait for the application's `ack` (`ack = "consumer"`); for adapters whose spec says `acknowledges`.

    Attributes:
        limit: Messages that are delivered and unanswered at the same time, at most. While there are so many, no more
            are taken from the broker, so that memory stays bounded.
        visibility: Seconds after which an unanswered message is delivered again, with one attempt more.
        max_deliveries: After so many deliveries without `ack` a message is given up; None: never.
        on_dead: Called with each message that is given up, and the reason, once it cannot be delivered again.
    """

    limit: int = DEFAULT_PREFETCH
    visibility: float = 30.0
    max_deliveries: int | None = None
    on_dead: Callable[[Inbound, str], None] = field(default=lambda _message, _why: None, compare=False)
