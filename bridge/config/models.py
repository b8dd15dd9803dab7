"""Define the configuration as the rest of the bridge reads it: typed and frozen. Times in seconds, sizes in bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator

from bridge.config.expressions import Expression
from bridge.core.diagnostic import Diagnostic, Location
from bridge.core.endpoint import AnyAuth, Endpoint, Strict, Tls
from bridge.core.errors import InvalidError
from bridge.core.event_type import to_event_type
from bridge.core.ports import AdapterSpec
from bridge.core.settings import (
    DEFAULT_PREFETCH,
    HealthSettings,
    Hold,
    ListenAddress,
    OutboxSettings,
    ResilienceSettings,
    parse_listen,
)
from bridge.core.units import Duration, PositiveDuration, Size

#: Labels of integrations, routes and subscriptions.
NAME_PATTERN = r"^[A-Za-z0-9_-]+$"
#: The longest label of an integration. The longest of its event types is the response to its `circuit.force_open`.
MOST_LABEL: Final = 200
#: Labels that no integration may have, because topics of the bus contract use them.
RESERVED = frozenset({"bridge", "bus"})


NOWHERE: Final = Location("")


def _event_type(value: str) -> str:
    try:
        if to_event_type(value) == value:
            return value
    except InvalidError as error:
        raise ValueError(error.message) from None
    raise ValueError("an event type has dots, not slashes")


EventType = Annotated[str, AfterValidator(_event_type)]


class BridgeSettings(Strict):
    """`bridge { … }`: the sidecar itself."""

    name: Annotated[
        str,
        Field(pattern=NAME_PATTERN, description="source of its events: `bridge`, or `bridge/<name>` for another name"),
    ] = "bridge"
    heartbeat: Annotated[PositiveDuration, Field(description="how often health is published again")] = 5.0
    drain_timeout: Annotated[Duration, Field(description="how long a stop waits for operations in flight")] = 10.0
    data_dir: Annotated[
        Path | None,
        Field(description="directory of the outbox and of adapters' notes; default: the user's state"),
    ] = None
    outbox: Annotated[OutboxSettings, Field(description="limits of what `at_least_once` keeps in `data_dir`")] = (
        OutboxSettings()
    )
    stop_with: Annotated[EventType | None, Field(description="the event that stops the bridge; null: none does")] = (
        "system.shutdown"
    )
    status_hosts: Annotated[
        tuple[str, ...],
        Field(
            description="host names under which other machines open the page; without them `status` must be loopback"
        ),
    ] = ()
    status: Annotated[
        ListenAddress | None, Field(description="where the status page is served, with /livez /readyz /metrics")
    ] = "127.0.0.1:9464"

    @field_validator("status")
    @classmethod
    def _only_for_this_machine(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not info.data.get("status_hosts") and not parse_listen(value).is_loopback:
            raise ValueError(
                f"{value} can be read by everybody who reaches this machine, without a password; listen at 127.0.0.1, "
                "or list in `status_hosts` the host names under which others open the page"
            )
        return value

    @property
    def source(self) -> str:
        """Return the `source` of the bridge's own events."""
        return "bridge" if self.name == "bridge" else f"bridge/{self.name}"


class LogSettings(Strict):
    """`log { … }`: what is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


def _bus_endpoint(value: str) -> str:
    if not value.startswith(("ipc://", "tcp://")) or len(value) <= len("ipc://"):
        raise ValueError("a bus endpoint starts with `ipc://` or `tcp://`")
    if not value.isprintable():
        raise ValueError("a bus endpoint has no control characters")
    return value


BusEndpoint = Annotated[str, AfterValidator(_bus_endpoint)]


class CurveSettings(Strict):
    """`bus { curve { … } }`: keys that close the bus to everybody who is not listed."""

    secret_key: Annotated[Path, Field(description="our key pair, as `nemo-bridge keys new` writes it; mode 0600")]
    authorized_keys: Annotated[
        Path | None, Field(description="mode host: folder of the public keys that may connect")
    ] = None
    server_key: Annotated[Path | None, Field(description="mode connect: the public key of the bus that is joined")] = (
        None
    )


class BusSettings(Strict):
    """`bus { … }`: the addresses of the event bus, and who hosts its broker."""

    mode: Annotated[Literal["host", "connect"], Field(description="host: run the broker; connect: join one")] = "host"
    publish: Annotated[BusEndpoint | None, Field(description="where publishers connect")] = None
    subscribe: Annotated[BusEndpoint | None, Field(description="where subscribers connect")] = None
    max_message: Annotated[Size, Field(description="largest message that is read")] = 1 << 20
    max_last_values: Annotated[
        int, Field(ge=1, le=1_000_000, description="how many last values are kept for later subscribers")
    ] = 10_000
    max_last_value_bytes: Annotated[Size, Field(description="how many bytes these may have together")] = 16 << 20
    bytes: Annotated[
        Literal["object", "bin"],
        Field(
            description='how bytes are published: object: `{"$bytes": "<base64>"}`, which Nemo and JSON can read; bin: '
            "MessagePack's own type, for programs that speak MessagePack throughout; both are read"
        ),
    ] = "object"
    curve: Annotated[CurveSettings | None, Field(description="keys; TCP beyond loopback needs them")] = None


class VariableBlock(Strict):
    """`variable "name" { … }`: a value for `var.name`, as in Nemo; `env` names an environment variable for it."""

    type: Literal["string", "number", "int", "float", "bool", "list", "map", "any"] | None = None
    default: Any = None
    env: Annotated[str, Field(min_length=1, description="environment variable that gives the value")] | None = None
    description: str | None = None
    sensitive: Annotated[bool, Field(description="masked wherever the configuration is shown")] = False


class RouteBlock(Strict):
    """`route "name" { … }`: an event on the bus starts an operation. Values for each event may be expressions."""

    #: Keys that earlier versions had, and what holds now.
    GONE: ClassVar[Mapping[str, str]] = {
        "own": "leave it out: a route is set off by every event that matches `on`, also by one that a subscription or "
        "a route emits; only `health`, `resilience`, `response` and `receipt` must be named in `on`"
    }

    on: Annotated[list[str], Field(min_length=1, description="event types; `*` one segment, `**` zero or more")]
    integration: str
    operation: Literal["request", "publish", "enqueue"]
    where: Annotated[Any, Field(description="expression: whether the event counts")] = None
    method: Annotated[Any, Field(description="request: the method")] = None
    params: Annotated[Any, Field(description="request: its parameters")] = None
    topic: Annotated[Any, Field(description="publish: the topic")] = None
    message: Annotated[Any, Field(description="publish, enqueue: the message")] = None
    qos: Annotated[Any, Field(description="publish: quality of service, 0, 1 or 2")] = None
    retain: Annotated[Any, Field(description="publish: whether the broker keeps it")] = None
    queue: Annotated[Any, Field(description="enqueue: the queue")] = None
    emit: Annotated[Any, Field(description="event type for the bare result")] = None
    key: Annotated[
        Any,
        Field(
            description="expression: the ordering key; with at_least_once one event of a key at a time; default: none"
        ),
    ] = None
    delivery: Literal["at_most_once", "at_least_once"] = "at_most_once"
    receipts: bool = False
    last_value: Annotated[
        bool, Field(description="whether the last event of `emit` is published again for each later subscriber")
    ] = False


class SubscriptionBlock(Strict):
    """`subscription "name" { … }`: messages from a remote become events on the bus."""

    integration: str
    topic: Annotated[str, Field(min_length=1, description="Pub/Sub, in the protocol's own pattern language")] | None = (
        None
    )
    queue: Annotated[str, Field(min_length=1, description="Queue")] | None = None
    emit: Annotated[Any, Field(description="event type; default: message.<integration>")] = None
    ack: Annotated[
        Literal["bus", "consumer"],
        Field(
            description="when the message is acknowledged: once it is on the bus, or when the application has sent "
            "`integration.<id>.ack` with its `message_id`"
        ),
    ] = "bus"
    qos: Annotated[
        Literal[0, 1, 2] | None,
        Field(description="quality of service, where the protocol has it; default of MQTT: 1"),
    ] = None
    prefetch: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="messages that are taken from the remote and not acknowledged yet, at most; on MQTT only with "
            "ack = consumer, otherwise `receive_maximum` limits all subscriptions together",
        ),
    ] = DEFAULT_PREFETCH
    visibility: Annotated[
        PositiveDuration, Field(description="ack = consumer: an unanswered message is delivered again after this time")
    ] = 30.0
    max_deliveries: Annotated[
        int | None,
        Field(ge=1, description="ack = consumer: after so many deliveries a message is given up; default: never"),
    ] = None
    group: Annotated[str, Field(min_length=1, description="shared among sidecars of this group")] | None = None
    listener: Annotated[
        Literal["required", "optional"] | None,
        Field(
            description="whether a message waits, unacknowledged, while nobody on the bus listens to its event; "
            "default: required where messages are acknowledged"
        ),
    ] = None
    last_value: Annotated[
        bool | None,
        Field(
            description="whether the last event of each type and topic is published again for each later subscriber; "
            "default: that of `static`, and of what an MQTT broker retains"
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Integration:
    """One integration: a checked `integration "id" { … }` block.

    Attributes:
        id: The label.
        type: The adapter's name.
        spec: The adapter.
        endpoint: None only for protocols that need none.
        config: An instance of `spec.config`.
        location: Where the block begins.
        secret_keys: Keys whose value came from the environment, as paths: `("config", "client_id")`.
    """

    id: str
    type: str
    spec: AdapterSpec
    endpoint: Endpoint | None
    auth: AnyAuth
    tls: Tls
    config: BaseModel
    resilience: ResilienceSettings
    health: HealthSettings
    location: Location
    secret_keys: frozenset[tuple[str, ...]] = frozenset()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what its blocks allow although it is not safe, one line each."""
        return self.spec.warnings(self.endpoint, self.auth, self.tls, self.config)


@dataclass(frozen=True, slots=True)
class Route:
    """One route: a checked `route "name" { … }` block. Its `operation` decides which of the expressions are set.

    Attributes:
        on: Patterns of event types.
        where: The condition; must evaluate to a boolean.
        emit: Evaluates to an event type, see `to_event_type`.
        key: The ordering key; None where there is none.
        delivery: The delivery guarantee.
        receipts: Whether the outcome of each accepted event is published.
        last_value: Whether the last event of `emit` is kept for later subscribers.
        location: Where the block begins.
        secret_keys: Keys with a fixed value that came from the environment.
    """

    name: str
    on: tuple[str, ...]
    integration: str
    operation: str
    where: Expression | None = None
    method: Expression | None = None
    params: Expression | None = None
    topic: Expression | None = None
    message: Expression | None = None
    qos: Expression | None = None
    retain: Expression | None = None
    queue: Expression | None = None
    emit: Expression | None = None
    key: Expression | None = None
    delivery: Literal["at_most_once", "at_least_once"] = "at_most_once"
    receipts: bool = False
    last_value: bool = False
    location: Location = NOWHERE
    secret_keys: frozenset[str] = frozenset()

    @property
    def durable(self) -> bool:
        """Return whether its events go through the outbox."""
        return self.delivery == "at_least_once"


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    """One subscription: a checked `subscription "name" { … }` block.

    Exactly one of `topic` and `queue` is set. `visibility` and `max_deliveries` are set only with
    `ack = "consumer"`, `prefetch` where the protocol limits the unacknowledged messages of one subscription. `listener`
    is None where messages are not acknowledged and so cannot wait.
    """

    name: str
    integration: str
    topic: str | None = None
    queue: str | None = None
    emit: Expression | None = None
    ack: Literal["bus", "consumer"] = "bus"
    qos: int | None = None
    prefetch: int | None = None
    visibility: float | None = None
    max_deliveries: int | None = None
    group: str | None = None
    listener: Literal["required", "optional"] | None = None
    last_value: bool | None = None
    location: Location = NOWHERE
    secret_keys: frozenset[str] = frozenset()

    @property
    def hold(self) -> Hold | None:
        """Return how messages wait for the application's `ack`; None where they do not wait."""
        if self.ack == "bus" or self.prefetch is None or self.visibility is None:
            return None
        return Hold(self.prefetch, self.visibility, self.max_deliveries)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole configuration.

    Attributes:
        ignored: Types of blocks that are not the bridge's, and how many of each there are.
        warnings: What is allowed but may be a mistake.
        secret_keys: Keys of `bridge`, `log` and `bus` whose value came from the environment.
        bus_locations: The location of each key of the `bus` block.
        secrets: Texts that must never be shown: credentials, and what integrations have from the environment.
    """

    bridge: BridgeSettings = field(default_factory=BridgeSettings)
    log: LogSettings = field(default_factory=LogSettings)
    bus: BusSettings = field(default_factory=BusSettings)
    integrations: dict[str, Integration] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    subscriptions: tuple[SubscriptionSettings, ...] = ()
    ignored: dict[str, int] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()
    secret_keys: frozenset[tuple[str, ...]] = frozenset()
    bus_locations: Mapping[str, Location] = field(default_factory=dict)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
