"""Payloads of `health.*`."""

from typing import Literal, TypedDict

from bridge.core.errors import ErrorObject
from bridge.core.model import CircuitState, ConnectionStatus, UInt
from bridge.core.payloads.base import Milliseconds, Payload


class Accounting(Payload, frozen=True):
    """Counts of an integration's operations since the start; `accepted` is the sum of all the others.

    Attributes:
        accepted: Operations that were accepted.
        succeeded: Those that ended with a result.
        failed: Those that ended with an error after an attempt.
        dead_lettered: Those that became dead letters.
        expired: Those that ended because their deadline had passed.
        shed: Those that ended without an attempt: the circuit was open, the queue full, or the bridge stopping.
        in_flight: Those that have a running attempt now.
        queued: Those that wait now, also in the outbox.
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
        source: The name of the program that emitted it.
        timestamp: When it was executed, Unix time in milliseconds.
    """

    source: str | None
    timestamp: UInt


class LiveSubscription(Payload, frozen=True):
    """A subscription of an integration; it lasts until `unsubscribe`, or until the bridge ends.

    Attributes:
        subscription: Its name, for `unsubscribe`.
        topic: Its topic or queue; only the beginning of a long one.
        queue: Whether that is a queue.
        emit: The type of its events, or the expression that makes it; null for `message.<id>`.
        messages: How many messages have come from its topic or queue since the bridge subscribed to it.
        asked: The command that made it; null for one of the configuration.
    """

    subscription: str
    topic: str
    queue: bool
    emit: str | None
    messages: UInt
    asked: Asked | None


SubscriptionStatus = Literal["connecting", "disconnected", "failed"]


class SubscriptionHealth(Payload, frozen=True):
    """The state of a subscription that is not live although its integration is connected.

    Attributes:
        status: `connecting`: the remote has not confirmed it yet. `disconnected`: it is tried again within seconds.
            `failed`: only a person can help; it is tried again each minute.
        error: Why; null while it is `connecting`.
    """

    status: SubscriptionStatus
    error: ErrorObject | None


class IntegrationHealth(Payload, frozen=True):
    """The state of an integration, emitted on every change, as a heartbeat, and for each new subscriber.

    Attributes:
        integration: Its label.
        type: Its protocol.
        status: Its status.
        previous: The status before; null where there was no other.
        since: When the status began, Unix time in milliseconds.
        circuit: The circuit breaker's state.
        latency_ms: Milliseconds that the last successful health check took; null before the first.
        in_flight: How many operations have a running attempt.
        queued: How many operations wait, also in the outbox.
        error: Why it is not connected; null where it is.
        accounting: Counts of its operations since the start.
        messages: How many messages have come from outside since the start.
        dropped: How many messages from outside could not become an event.
        reconnects: How often it has connected again after the first time.
        warnings: What a person should know although it works, one line each: what the configuration allows that is not
            safe, and what the current connection has shown, for example that the remote granted less than was asked.
        subscriptions: Those that are not live while it is connected, by name; at most 20.
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
    dropped: UInt
    reconnects: UInt
    warnings: list[str]
    subscriptions: dict[str, SubscriptionHealth]


class BusCounts(Payload, frozen=True):
    """Counts of the bridge's use of the bus since the start.

    Attributes:
        received: Events that were received.
        published: Events that were published.
        rejected: Messages that were not accepted.
        gaps: How often events were missing of a source that numbers them.
        missing: How many events were missing in all.
        dropped: The bridge's own events that were lost before they were sent.
    """

    received: UInt
    published: UInt
    rejected: UInt
    gaps: UInt
    missing: UInt
    dropped: UInt


class OutboxCounts(Payload, frozen=True):
    """The content of the outbox.

    Attributes:
        pending: How many operations wait or run.
        bytes: Their size.
        oldest_ms: The age of the oldest in milliseconds.
        dead_letters: How many dead letters are stored.
        problem: Why the outbox accepts nothing, and the bridge is `degraded`; null where it works.
        missing: What an earlier run had stored and this one did not find; null where all is there.
    """

    pending: UInt
    bytes: UInt
    oldest_ms: UInt
    dead_letters: UInt
    problem: str | None
    missing: str | None


BridgeStatus = Literal["starting", "ready", "degraded", "draining", "stopped"]


class BridgeHealth(Payload, frozen=True):
    """The state of the bridge, emitted on every change, as a heartbeat, and for each new subscriber.

    Attributes:
        status: Its status.
        version: The program's version.
        name: Its name in the configuration.
        pid: Its process id.
        uptime_ms: Milliseconds since it started.
        bus: Counts of its use of the bus.
        outbox: The content of its outbox.
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
    """The payloads of all `health.*` events: one entry for each integration, by its label, and `bridge`.

    Attributes:
        bridge: The payload of `health.bridge`.
    """

    bridge: BridgeHealth
