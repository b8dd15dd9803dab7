"""Define the settings that several packages read and the configuration fills.

They are the `resilience` and `health` blocks of an integration, how a subscription's messages wait for the application,
the bridge's `outbox`, and the address of the console. Times are in seconds.
"""

import ipaddress
from collections.abc import Callable
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, Field

from bridge.core.endpoint import Strict, is_loopback
from bridge.core.model import Inbound
from bridge.core.units import Duration, PositiveDuration, Rate, Size


class RetrySettings(Strict):
    """`retry { … }`: how often an operation is tried again, and the time between two attempts.

    `budget` is the share of retries that the attempts of the last 10 s allow; at least 3 are always allowed.
    """

    max_attempts: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            description="Attempts of one operation in all, with the first; 1 means no retry. Only what was surely not "
            "sent, or may be repeated, is tried again.",
        ),
    ] = 3
    backoff: Annotated[
        Literal["constant", "linear", "exponential"],
        Field(
            description="How the wait between two attempts grows: `constant` stays at `initial_delay`, `linear` adds "
            "it each time, `exponential` doubles the wait each time."
        ),
    ] = "exponential"
    initial_delay: Annotated[Duration, Field(description="The wait after the first failed attempt, before jitter.")] = (
        0.1
    )
    max_delay: Annotated[PositiveDuration, Field(description="The longest wait between two attempts.")] = 10.0
    jitter: Annotated[
        bool,
        Field(
            description="Whether each wait is a random time between 0 and its full length, so that callers that failed "
            "together do not all come back together."
        ),
    ] = True
    budget: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="The share of the attempts of the last 10 s that may be retries, so that retries do not bury a "
            "remote that is slow. At least 3 are always allowed. Beyond it, an operation fails with its last error, "
            "and `resilience.<id>.shed` reports `retry_budget`.",
        ),
    ] = 0.2


class CircuitBreakerSettings(Strict):
    """`circuit_breaker { … }`: when the circuit opens, for how long, and what closes it."""

    failure_threshold: Annotated[
        int,
        Field(
            ge=1,
            description="So many failures in a row open the circuit. Then operations fail at once with `circuit_open`. "
            "A failure is an attempt without a sensible answer; a refusal by the remote is none.",
        ),
    ] = 5
    success_threshold: Annotated[
        int,
        Field(
            ge=1, description="So many successful probes in a row close a half-open circuit; one probe runs at a time."
        ),
    ] = 2
    timeout: Annotated[
        PositiveDuration,
        Field(
            description="How long an open circuit waits before its first probe. Each probe that fails doubles the "
            "wait, up to ten times this."
        ),
    ] = 30.0


class LimitSettings(Strict):
    """`limit { … }`: how many operations run at a time, wait, and start in a second."""

    max_in_flight: Annotated[
        int, Field(ge=1, le=10_000, description="Attempts that run at the same time, at most. Further operations wait.")
    ] = 64
    queue: Annotated[
        int,
        Field(ge=0, description="Operations that wait for a free slot, at most. Further ones fail with `overloaded`."),
    ] = 10_000
    rate: Annotated[
        Rate | None,
        Field(description="Attempts that start in a second, at most; further operations wait. Default: no limit."),
    ] = None


class ResilienceSettings(Strict):
    """`resilience { … }`; `timeout` limits one attempt."""

    timeout: Annotated[
        PositiveDuration,
        Field(
            description="The time limit of one attempt, and of opening a connection. An attempt that takes longer "
            "fails with `timeout`. The caller's own limit for all attempts together is `timeout_ms` of the command."
        ),
    ] = 10.0
    retry: Annotated[RetrySettings, Field(description="How often an operation is tried again, and when.")] = (
        RetrySettings()
    )
    circuit_breaker: Annotated[
        CircuitBreakerSettings, Field(description="When the remote is left alone for a while, because it fails.")
    ] = CircuitBreakerSettings()
    limit: Annotated[
        LimitSettings, Field(description="How many operations run at the same time, wait, and start in a second.")
    ] = LimitSettings()


class HealthSettings(Strict):
    """`health { … }`: how often a connection is checked, and how long a check may take."""

    interval: Annotated[
        PositiveDuration,
        Field(
            description="The time between two health checks of the connection. An operation that fails as on a dead "
            "connection causes a check at once, at most one a second."
        ),
    ] = 30.0
    timeout: Annotated[
        PositiveDuration,
        Field(
            description="How long a check may take. Without an answer, and without any other data from the remote in "
            "that time, the connection counts as lost and is opened again."
        ),
    ] = 5.0


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

    max_bytes: Annotated[
        Size,
        Field(
            description="Bytes of waiting events and dead letters on disk, at most. While it is full, new events are "
            "refused with `overloaded`, and `health.bridge` is `degraded`."
        ),
    ] = 1 << 30
    max_age: Annotated[
        PositiveDuration,
        Field(description="How long delivery of an event is tried. An older event becomes a dead letter."),
    ] = 86400.0


#: Messages of a subscription that are taken from the remote and not acknowledged, at most, unless configured otherwise.
DEFAULT_PREFETCH: Final = 100


def _nobody(_message: Inbound, _why: str) -> None:
    """Tell nobody."""


class Hold(msgspec.Struct, frozen=True):
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
    on_dead: Callable[[Inbound, str], None] = _nobody
