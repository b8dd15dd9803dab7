"""Results of `bridge.overview` and `bridge.inspect`, which the console and `nemo-bridge top` show, too."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from bridge.core.errors import ErrorObject
from bridge.core.model import CircuitState, ConnectionStatus, UInt
from bridge.core.payloads.base import Milliseconds, Payload
from bridge.core.payloads.dead_letters import Letter
from bridge.core.payloads.fabric import FabricStatus
from bridge.core.payloads.health import BridgeHealth, IntegrationHealth, LiveSubscription
from bridge.core.payloads.measurements import CircuitMoment, FailedOperation


class Series(Payload, frozen=True):
    """How often something happened lately, oldest first.

    Attributes:
        at: When the last step began, Unix time in milliseconds. That step may not be over.
        step_ms: Milliseconds that each step lasts.
        succeeded: Operations that ended with a result, in each step.
        failed: Operations that ended otherwise, in each step.
        messages: Messages from outside, in each step.
    """

    at: UInt
    step_ms: UInt
    succeeded: list[UInt]
    failed: list[UInt]
    messages: list[UInt]


class Rates(Payload, frozen=True):
    """How much happens now.

    Attributes:
        succeeded: Operations a second that ended with a result, lately.
        failed: Operations a second that ended otherwise, lately.
        messages: Messages from outside a second, lately.
        p50_ms: Half of the operations of the last five minutes were faster; null where there were none. It is
            estimated from a histogram, and at most 60,000.
        p95_ms: 95 of 100 operations of the last five minutes were faster; likewise.
    """

    succeeded: float
    failed: float
    messages: float
    p50_ms: Milliseconds | None
    p95_ms: Milliseconds | None


class IntegrationRow(Payload, frozen=True):
    """An integration, as one line of the overview.

    Attributes:
        integration: Its label.
        type: Its protocol.
        status: Its status.
        since: When the status began, Unix time in milliseconds.
        circuit: The circuit breaker's state.
        error: Why it is not connected, or why its circuit is not closed; null where all is well.
        in_flight: How many operations have a running attempt.
        queued: How many operations wait, those of the outbox not counted.
        pending: How many of its operations wait in the outbox.
        dead_letters: How many dead letters it has.
        dropped: How many messages from outside could not become an event.
        warnings: How many warnings its health has.
        unwell: How many of its subscriptions are not live.
        rates: How much happens now.
        series: What happened in the last 15 minutes; left out where nothing did, or where all of it would not fit on
            the bus.
    """

    integration: str
    type: str
    status: ConnectionStatus
    since: UInt
    circuit: CircuitState
    error: ErrorObject | None
    in_flight: UInt
    queued: UInt
    pending: UInt
    dead_letters: UInt
    dropped: UInt
    warnings: UInt
    unwell: UInt
    rates: Rates
    series: Series | UnsetType = UNSET


ProblemKind = Literal[
    "outbox",
    "failed",
    "disconnected",
    "fabric",
    "circuit",
    "outbox_loss",
    "lost",
    "dropped",
    "operations",
    "subscriptions",
    "dead_letters",
    "nodes",
    "fabric_warnings",
    "orphans",
    "waiting",
    "missing",
    "rejected",
    "unheard",
    "slow",
    "connecting",
    "paused",
    "stopped",
]
Severity = Literal["error", "warning"]


class Problem(Payload, frozen=True):
    """Something that a person should look at; the same trouble of several integrations is one problem.

    Attributes:
        kind: What it is about. `outbox`: it accepts nothing. `failed`, `disconnected`, `connecting`, `paused`,
            `stopped`: the status of integrations. `fabric`: this bridge is not a node of a fabric, or a part of its
            work there fails. `nodes`: other nodes of a fabric are lost. `fabric_warnings`: what a person should know
            although a fabric works. `circuit`: circuits that are not closed. `outbox_loss`: what an
            earlier run had stored is missing. `lost`: own events that were lost before they were sent. `dropped`:
            messages from outside that could not become events. `operations`: many operations fail although the
            integration is connected. `subscriptions`: those that are not live. `dead_letters`: those that are stored.
            `orphans`: events in the outbox for integrations that do not exist. `waiting`: events that have been in the
            outbox for long. `missing`: events of others that were lost on the bus. `rejected`: messages on the bus that
            were not accepted. `unheard`: messages that wait because nobody listens. `slow`: health checks.
        severity: `error` where something does not work or is lost; `warning` for all else.
        text: What is wrong, in one line.
        since: When it began, Unix time in milliseconds; of several the first.
        integrations: Which ones are concerned; none for a problem of the bridge itself.
    """

    kind: ProblemKind
    severity: Severity
    text: str
    since: UInt
    integrations: list[str]


class RouteRow(Payload, frozen=True):
    """A route of the configuration.

    Attributes:
        route: Its label.
        on: The event types that it takes, or patterns of these.
        integration: Where its operations go.
        operation: Which operation it asks for.
        durable: Whether its events are stored in the outbox first.
        succeeded: Operations that ended with a result since the start.
        failed: Operations that ended with an error since the start.
        rate: Operations a second, lately.
    """

    route: str
    on: list[str]
    integration: str
    operation: str
    durable: bool
    succeeded: UInt
    failed: UInt
    rate: float


class SubscriptionRow(Payload, frozen=True):
    """A subscription, as the overview has it.

    Attributes:
        integration: Where its messages come from.
        subscription: Its name.
        topic: Its topic or queue; only the beginning of a long one.
        emit: The type of its events, or the expression that makes it; null for `message.<id>`.
        messages: How many messages have come since the bridge subscribed.
        rate: Messages a second, lately.
    """

    integration: str
    subscription: str
    topic: str
    emit: str | None
    messages: UInt
    rate: float


class FabricRow(Payload, frozen=True):
    """A fabric, as one line of the overview.

    Attributes:
        fabric: Its label.
        integration: The integration that carries it.
        node: The name of this bridge in it.
        status: See `health.fabric.<fabric>`.
        since: When the status began, Unix time in milliseconds.
        error: Why it is not connected; null where it is.
        warnings: How many warnings its health has.
        nodes: How many nodes it has, this bridge among them; those that have left in order do not count.
        connected: How many of these are connected.
        lost: How many of these are lost.
    """

    fabric: str
    integration: str
    node: str
    status: FabricStatus
    since: UInt
    error: ErrorObject | None
    warnings: UInt
    nodes: UInt
    connected: UInt
    lost: UInt


class Overview(Payload, frozen=True):
    """The result of `bridge.overview`: how the bridge and all integrations are, and what happens.

    Attributes:
        at: When it was made, Unix time in milliseconds.
        bridge: The payload of `health.bridge`.
        received: Events from the bus a second, lately.
        published: Events to the bus a second, lately.
        rates: What all integrations do together.
        series: What all integrations did together in the last 15 minutes.
        problems: What a person should look at, the worst first; at most 100.
        integrations: All of them, those that are not well first.
        routes: The routes; at most 1,000, and fewer where these would not fit on the bus.
        subscriptions: The subscriptions; at most 1,000, and fewer where these would not fit on the bus.
        fabrics: The fabrics, those that are not well first; left out where the bridge is in none.
    """

    at: UInt
    bridge: BridgeHealth
    received: float
    published: float
    rates: Rates
    series: Series
    problems: list[Problem]
    integrations: list[IntegrationRow]
    routes: list[RouteRow]
    subscriptions: list[SubscriptionRow]
    fabrics: list[FabricRow] | UnsetType = UNSET


class Bucket(Payload, frozen=True):
    """A bucket of a histogram.

    Attributes:
        up_to_ms: Its upper limit in milliseconds; null for the last one, which has none.
        count: How many operations are in it and in no bucket before it.
    """

    up_to_ms: Milliseconds | None
    count: UInt


class Inspection(Payload, frozen=True):
    """The result of `bridge.inspect`: all that is known of one integration.

    Attributes:
        at: When it was made, Unix time in milliseconds.
        row: It, as a line of the overview.
        health: The payload of `health.<id>`.
        attempts: How many attempts were begun since the start.
        retries: How many of these were not the first one of their operation.
        failures: How often an operation ended with an error, by the error's kind.
        durations: Of each operation, by its name: how long it took, since the start.
        failed: The last 50 operations that failed after an attempt, the newest first; fewer where these would not fit
            on the bus.
        circuit: The last 50 changes of the circuit, the newest first.
        routes: The routes that use it.
        subscriptions: Its subscriptions.
        dead_letters: The oldest 50 dead letters; fewer where these would not fit on the bus.
        configuration: Its settings; secrets are masked.
    """

    at: UInt
    row: IntegrationRow
    health: IntegrationHealth
    attempts: UInt
    retries: UInt
    failures: dict[str, UInt]
    durations: dict[str, list[Bucket]]
    failed: list[FailedOperation]
    circuit: list[CircuitMoment]
    routes: list[RouteRow]
    subscriptions: list[LiveSubscription]
    dead_letters: list[Letter]
    configuration: dict[str, Any]
