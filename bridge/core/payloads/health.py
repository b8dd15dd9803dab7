"""Payloads of `health.*`."""

from typing import Literal, TypedDict

from bridge.core.errors import ErrorObject
from bridge.core.model import CircuitState, ConnectionStatus, UInt
from bridge.core.payloads.base import Milliseconds, Payload


class Accounting(Payload, frozen=True):
    """What became of the operations of one integration; `accepted` is the sum of all the others.

    Attributes:
        accepted: All that were taken up.
        succeeded: Ended with a result.
        failed: Ended with an error after an attempt.
        dead_lettered: Became dead letters.
        expired: Ended because the caller's time was up.
        shed: Ended without an attempt: the circuit was open, the queue full, or the bridge stopping.
        in_flight: An attempt is running.
        queued: Waiting, in the outbox too.
    """

    accepted: UInt
    succeeded: UInt
    failed: UInt
    dead_lettered: UInt
    expired: UInt
    shed: UInt
    in_flight: UInt
    queued: UInt


class Asked(Payload, frozen=True):
    """The command that made a subscription.

    Attributes:
        source: Who emitted it.
        timestamp: Unix time in milliseconds at which it was carried out.
    """

    source: str | None
    timestamp: UInt


class LiveSubscription(Payload, frozen=True):
    """One subscription of an integration; it lasts until `unsubscribe`, or until the bridge ends.

    Attributes:
        subscription: Its name, as `unsubscribe` takes it.
        topic: What it listens to; of a long one the beginning.
        queue: Whether that is a queue.
        emit: The type of its events, or the expression that makes it; null for `message.<id>`.
        messages: What has come by its topic or queue since that is listened to.
        asked: Null for one of the configuration.
    """

    subscription: str
    topic: str
    queue: bool
    emit: str | None
    messages: UInt
    asked: Asked | None


class IntegrationHealth(Payload, frozen=True):
    """State of one integration: on every change, as a heartbeat, and at once to whoever subscribes.

    Attributes:
        integration: Its label.
        type: Its protocol.
        status: How it is.
        previous: The status before; null where there was no other.
        since: Unix time in milliseconds at which the status came.
        circuit: The breaker's state.
        latency_ms: Milliseconds that the last good check took; null before the first.
        in_flight: Operations that the remote is working on.
        queued: Operations that wait.
        error: Why it is not connected; null where it is.
        accounting: Its operations since the start.
        messages: Messages from outside since the start.
        reconnects: How often it was connected again after the first time.
        warnings: What is allowed by the configuration and not safe; one line each.
    """

    integration: str
    type: str
    status: ConnectionStatus
    previous: ConnectionStatus | None
    since: UInt
    circuit: CircuitState
    latency_ms: Milliseconds | None
    in_flight: UInt
    queued: UInt
    error: ErrorObject | None
    accounting: Accounting
    messages: UInt
    reconnects: UInt
    warnings: list[str]


class BusCounts(Payload, frozen=True):
    """The bus, counted since the start.

    Attributes:
        received: Events that were read.
        published: Events that were sent.
        rejected: Messages that were no good events.
        gaps: Times that events of a source that numbers them were missing.
        missing: Events missing in all gaps.
        dropped: The bridge's own events that the bus did not take.
    """

    received: UInt
    published: UInt
    rejected: UInt
    gaps: UInt
    missing: UInt
    dropped: UInt


class OutboxCounts(Payload, frozen=True):
    """The outbox now.

    Attributes:
        pending: Operations in it.
        bytes: Their size.
        oldest_ms: Age of the oldest, in milliseconds.
        dead_letters: Dead letters, which are kept beside them.
        problem: Why nothing is accepted, and the bridge therefore `degraded`; null where all is well.
    """

    pending: UInt
    bytes: UInt
    oldest_ms: UInt
    dead_letters: UInt
    problem: str | None


BridgeStatus = Literal["starting", "ready", "degraded", "draining", "stopped"]


class BridgeHealth(Payload, frozen=True):
    """State of the bridge: on every change, as a heartbeat, and at once to whoever subscribes.

    Attributes:
        status: How it is.
        version: The program's version.
        name: Its name in the configuration.
        pid: Its process id.
        uptime_ms: Milliseconds since it started.
        bus: The bus in numbers.
        outbox: The outbox in numbers.
        integrations: The status of each integration, by label.
    """

    status: BridgeStatus
    version: str
    name: str
    pid: UInt
    uptime_ms: UInt
    bus: BusCounts
    outbox: OutboxCounts
    integrations: dict[str, ConnectionStatus]


class Status(TypedDict):
    """The fold of all `health.*` events; beside `bridge` there is one entry for each integration, by label.

    Attributes:
        bridge: The payload of `health.bridge`.
    """

    bridge: BridgeHealth
