"""Define the configuration as the rest of the bridge reads it: typed and frozen. Times in seconds, sizes in bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bridge.config.expressions import Expression
from bridge.core.diagnostic import Diagnostic, Location
from bridge.core.endpoint import (
    AnyAuth,
    AuthBasic,
    AuthBearer,
    AuthCertificate,
    AuthCredentials,
    AuthNkey,
    AuthNone,
    Endpoint,
    Strict,
    Tls,
)
from bridge.core.errors import InvalidError
from bridge.core.event_type import to_event_type
from bridge.core.fabric import USED
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

if TYPE_CHECKING:
    from bridge.config.case_models import Case

#: Labels of integrations, routes and subscriptions.
NAME_PATTERN = r"^[A-Za-z0-9_-]+$"
#: The longest label of an integration. The longest of its event types is the response to its `circuit.force_open`.
MOST_LABEL: Final = 200
#: Labels that no integration may have, because topics of the bus contract use them.
RESERVED = frozenset({"bridge", "bus"})
#: Labels that no integration may have beside a fabric: `health.fabric.<fabric>` and `health.node.<node>` are topics.
RESERVED_BY_FABRICS: Final = frozenset({"fabric", "node"})
#: The longest label of a fabric, and the longest name of a node.
MOST_NODE: Final = 100


#: Characters of the console's token, at least.
LEAST_TOKEN: Final = 16

NOWHERE: Final = Location("")


def _event_type(value: str) -> str:
    try:
        if to_event_type(value) == value:
            return value
    except InvalidError as error:
        raise ValueError(error.message) from None
    raise ValueError("an event type has dots, not slashes")


EventType = Annotated[str, AfterValidator(_event_type)]


class ConsoleSettings(Strict):
    """`console { … }`: what the console shows beside states and sums, whether it may act, and who may."""

    tap: Annotated[
        bool | None,
        Field(
            description="Whether the console shows events of the bus, and the events of dead letters, to everybody who "
            "can open it. Default: true if `status` is loopback and the bus has no keys, else false."
        ),
    ] = None
    actions: Annotated[
        bool,
        Field(
            description="Whether the console can pause, resume and drain integrations, open and reset circuits, replay "
            "and discard dead letters, and reload. Each action needs the token, and is reported as "
            "`resilience.bridge.console_action`."
        ),
    ] = False
    token: Annotated[
        SecretStr | None,
        Field(
            description=f"What a person must know to act: {LEAST_TOKEN} characters or more. It is masked wherever the "
            "configuration is shown."
        ),
    ] = None

    @field_validator("token")
    @classmethod
    def _is_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < LEAST_TOKEN:
            raise ValueError(f"has fewer than {LEAST_TOKEN} characters, so that it can be found by trying")
        return value

    @model_validator(mode="after")
    def _has_token(self) -> Self:
        if self.actions and self.token is None:
            raise ValueError(
                f"`actions = true` needs a `token` of {LEAST_TOKEN} characters or more; take it from the environment: "
                "`token = env.CONSOLE_TOKEN`"
            )
        return self


def _is_installed(distribution: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - nearly no start needs it

    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


class BridgeSettings(Strict):
    """`bridge { … }`: the sidecar itself."""

    name: Annotated[
        str,
        Field(
            pattern=NAME_PATTERN,
            description="Names the bridge. The `source` of its events is `bridge`, or `bridge/<name>` for another "
            "name.",
        ),
    ] = "bridge"
    heartbeat: Annotated[
        PositiveDuration,
        Field(
            description="How often all health is published again. If nothing comes for several times as long, the "
            "bridge is dead."
        ),
    ] = 5.0
    drain_timeout: Annotated[
        Duration,
        Field(
            description="How long operations in flight may go on when the bridge stops, or when a reload replaces "
            "their connection. What has not ended then is aborted."
        ),
    ] = 10.0
    data_dir: Annotated[
        Path | None,
        Field(
            description="Directory of the outbox and of what adapters keep. One directory serves one bridge. "
            "Default: `nemo-bridge/<name>` in the user's state directory."
        ),
    ] = None
    outbox: Annotated[OutboxSettings, Field(description="Limits of what `at_least_once` keeps in `data_dir`.")] = (
        OutboxSettings()
    )
    stop_with: Annotated[
        EventType | None, Field(description="The event type that makes the bridge drain and stop. `null`: none does.")
    ] = "system.shutdown"
    status_hosts: Annotated[
        tuple[str, ...],
        Field(
            description="Host names under which browsers may request the console; requests for others are refused. "
            "Without them `status` must be loopback."
        ),
    ] = ()
    status: Annotated[
        ListenAddress | None,
        Field(
            description="IP address and port of the console, `/livez`, `/readyz` and `/metrics`. Looking at them needs "
            "no password. `null`: none of them. If the default is in use by another program, there are none either."
        ),
    ] = "127.0.0.1:9464"
    console: Annotated[
        ConsoleSettings, Field(description="What the console shows, whether it may act, and who may.")
    ] = ConsoleSettings()
    tracing: Annotated[
        bool,
        Field(
            description="Write traces by OpenTelemetry and send them to a collector by OTLP over HTTP. The environment "
            "variables `OTEL_*` say where it is, and how many traces are sampled. Needs the extra: "
            "`pip install 'nemo-bridge[otel]'`."
        ),
    ] = False

    @field_validator("tracing")
    @classmethod
    def _needs_its_extra(cls, value: bool) -> bool:
        if value and not _is_installed("opentelemetry-exporter-otlp-proto-http"):
            raise ValueError("traces need more packages; install them with `pip install 'nemo-bridge[otel]'`")
        return value

    @field_validator("status")
    @classmethod
    def _only_for_this_machine(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not info.data.get("status_hosts") and not parse_listen(value).is_loopback:
            raise ValueError(
                f"{value} can be read by everybody who reaches this machine, without a password; listen at 127.0.0.1, "
                "or list in `status_hosts` the host names under which others open the console"
            )
        return value

    @property
    def source(self) -> str:
        """Return the `source` of the bridge's own events."""
        return "bridge" if self.name == "bridge" else f"bridge/{self.name}"


class LogSettings(Strict):
    """`log { … }`: what is logged, and how."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="The least important lines that are written. Libraries are logged from `warning` on."),
    ] = "info"
    format: Annotated[
        Literal["console", "json"],
        Field(description="`console`: text for people. `json`: one JSON object a line, for programs."),
    ] = "console"


def _bus_endpoint(value: str) -> str:
    if not value.startswith(("ipc://", "tcp://")) or len(value) <= len("ipc://"):
        raise ValueError("a bus endpoint starts with `ipc://` or `tcp://`")
    if not value.isprintable():
        raise ValueError("a bus endpoint has no control characters")
    return value


BusEndpoint = Annotated[str, AfterValidator(_bus_endpoint)]


class CurveSettings(Strict):
    """`bus { curve { … } }`: keys that close the bus to everybody who is not listed."""

    secret_key: Annotated[
        Path, Field(description="File of our key pair, as `nemo-bridge keys new` writes it, mode 0600.")
    ]
    authorized_keys: Annotated[
        Path | None,
        Field(description='With `mode = "host"`: folder of the public keys that may connect, each with its rights.'),
    ] = None
    server_key: Annotated[
        Path | None,
        Field(description='With `mode = "connect"`: file of the public key of the bridge that hosts the bus.'),
    ] = None


class BusSettings(Strict):
    """`bus { … }`: the addresses of the event bus, and who hosts its broker."""

    mode: Annotated[
        Literal["host", "connect"],
        Field(description="`host`: run the broker of the bus. `connect`: join a bus that another process hosts."),
    ] = "host"
    publish: Annotated[
        BusEndpoint | None,
        Field(
            description="Where publishers connect: `ipc://` and a path, or `tcp://address:port`. Default: a socket in "
            "the user's runtime directory."
        ),
    ] = None
    subscribe: Annotated[
        BusEndpoint | None,
        Field(
            description="Where subscribers connect, written as `publish` is. Default: a socket in the user's runtime "
            "directory."
        ),
    ] = None
    max_message: Annotated[
        Size,
        Field(
            description="The largest event, in bytes. A larger one is dropped, and `resilience.bus.rejected` reports "
            "it."
        ),
    ] = 1 << 20
    max_last_values: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="Last values that are kept for later subscribers, at most. The oldest is forgotten and "
            "reported.",
        ),
    ] = 10_000
    max_last_value_bytes: Annotated[Size, Field(description="Bytes of all last values together, at most.")] = 16 << 20
    bytes: Annotated[
        Literal["object", "bin"],
        Field(
            description='How bytes are published. `object`: as `{"$bytes": "<base64>"}`, which Nemo and JSON can read. '
            "`bin`: MessagePack's own type, for programs that use MessagePack throughout. Both are read."
        ),
    ] = "object"
    curve: Annotated[
        CurveSettings | None,
        Field(description="Keys that encrypt and close the bus. A bus on TCP beyond loopback needs them."),
    ] = None


class VariableBlock(Strict):
    """`variable "name" { … }`: a value for `var.name`, as in Nemo; `env` names an environment variable for it."""

    type: Annotated[
        Literal["string", "number", "int", "float", "bool", "list", "map", "any"] | None,
        Field(
            description="The type of the value. Text from the command line or the environment becomes a value of it: "
            "lists and maps are written as JSON there. Default: `any`."
        ),
    ] = None
    default: Annotated[
        Any,
        Field(
            description="The value where neither `--var` nor the environment gives one. It may use `env.…` and other "
            "variables. A variable without a value is an error."
        ),
    ] = None
    env: Annotated[
        str | None,
        Field(min_length=1, description="Environment variable that gives the value, where it is set."),
    ] = None
    description: Annotated[str | None, Field(description="What the variable is for, for people.")] = None
    sensitive: Annotated[
        bool,
        Field(description="Whether the value is masked wherever the configuration is shown, and in errors and log."),
    ] = False


#: The model of `auth` by its `type`.
AUTH_MODELS: Final[Mapping[str, type[AnyAuth]]] = {
    "none": AuthNone,
    "basic": AuthBasic,
    "bearer": AuthBearer,
    "certificate": AuthCertificate,
    "nkey": AuthNkey,
    "credentials": AuthCredentials,
}


class AuthKeys(Strict):
    """Any keys, while the `type` of `auth` is not known; the model of that type checks them afterwards."""

    model_config = ConfigDict(frozen=True, extra="allow")


class IntegrationBlock(Strict):
    """The keys that every integration has; `config` and `auth` get their models by their types."""

    type: Any = None
    endpoint: Endpoint | None = None
    auth: AuthKeys | None = None
    tls: Tls | None = None
    config: Any = None
    resilience: ResilienceSettings | None = None
    health: HealthSettings | None = None


class RouteBlock(Strict):
    """`route "name" { … }`: an event on the bus starts an operation. Values for each event may be expressions."""

    #: Keys that earlier versions had, and what holds now.
    GONE: ClassVar[Mapping[str, str]] = {
        "own": "leave it out: a route is set off by every event that matches `on`, also by one that a subscription or "
        "a route emits; only `health`, `resilience`, `response` and `receipt` must be named in `on`"
    }

    on: Annotated[
        list[str],
        Field(
            min_length=1,
            description="Event types that set off the route: one or a list. `*` stands for one segment, `**` for zero "
            "or more.",
        ),
    ]
    integration: Annotated[str, Field(description="Label of the integration that does the operation.")]
    operation: Annotated[
        Literal["request", "publish", "enqueue"],
        Field(description="What is done: a call, a message to a topic, or a message to a queue."),
    ]
    where: Annotated[
        Any,
        Field(description="Expression that is true or false: whether the event sets off the route. Default: it does."),
    ] = None
    method: Annotated[Any, Field(description="Of `request`: the method. May be an expression.")] = None
    params: Annotated[
        Any, Field(description="Of `request`: the parameters. May be or hold expressions. Default: none are sent.")
    ] = None
    topic: Annotated[Any, Field(description="Of `publish`: the topic. May be an expression.")] = None
    message: Annotated[
        Any, Field(description="Of `publish` and `enqueue`: the message. May be or hold expressions.")
    ] = None
    qos: Annotated[
        Any,
        Field(
            description="Of `publish`: the quality of service, 0, 1 or 2, where the protocol has one. Default: that of "
            "the protocol; of MQTT 1."
        ),
    ] = None
    retain: Annotated[
        Any, Field(description="Of `publish`: whether an MQTT broker keeps the message for later subscribers.")
    ] = None
    queue: Annotated[Any, Field(description="Of `enqueue`: the queue. May be an expression.")] = None
    emit: Annotated[
        Any,
        Field(
            description="Event type of one more event that holds the result alone, after a success. May be an "
            "expression. Default: there is only the response."
        ),
    ] = None
    key: Annotated[
        Any,
        Field(
            description="Expression: the ordering key. With `at_least_once`, events of one key are delivered one at a "
            "time and in order. Default: no key, and no order between events."
        ),
    ] = None
    delivery: Annotated[
        Literal["at_most_once", "at_least_once"],
        Field(
            description="`at_most_once`: the event is in memory only. `at_least_once`: it is written to disk before it "
            "is sent, and tried until it is delivered, too old, or refused."
        ),
    ] = "at_most_once"
    receipts: Annotated[
        bool, Field(description="Whether `receipt.<id>.<outcome>` is emitted at the end of each accepted event.")
    ] = False
    last_value: Annotated[
        bool, Field(description="Whether the last event of `emit` is published again for each later subscriber.")
    ] = False


class SubscriptionBlock(Strict):
    """`subscription "name" { … }`: messages from a remote become events on the bus."""

    integration: Annotated[str, Field(description="Label of the integration that the messages come from.")]
    topic: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The topic, in the protocol's own pattern language. Give either `topic` or `queue`.",
        ),
    ] = None
    queue: Annotated[
        str | None,
        Field(min_length=1, description='The queue: a Redis stream, or `"stream/consumer"` of JetStream.'),
    ] = None
    emit: Annotated[
        Any,
        Field(
            description="Event type of the messages. May use `${message.topic}` and the like. "
            "Default: `message.<integration>`."
        ),
    ] = None
    ack: Annotated[
        Literal["bus", "consumer"],
        Field(
            description="When a message is acknowledged. `bus`: when its event has left for those who listen. "
            "`consumer`: when the application has sent `integration.<id>.ack` with its `message_id`."
        ),
    ] = "bus"
    qos: Annotated[
        Literal[0, 1, 2] | None,
        Field(
            description="The quality of service, where the protocol has one. Default: that of the protocol; of MQTT 1."
        ),
    ] = None
    prefetch: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Messages that are taken from the remote and not on the bus yet, at most; with "
            '`ack = "consumer"`, and not acknowledged yet. Further ones wait at the remote. On MQTT it has an effect '
            'only with `ack = "consumer"`; otherwise `receive_maximum` limits all subscriptions together.',
        ),
    ] = DEFAULT_PREFETCH
    visibility: Annotated[
        PositiveDuration,
        Field(
            description='With `ack = "consumer"`: a message that is not answered for so long is delivered again, with '
            "`attempts` one higher."
        ),
    ] = 30.0
    max_deliveries: Annotated[
        int | None,
        Field(
            ge=1,
            description='With `ack = "consumer"`: after so many deliveries without an answer a message is given up '
            "(`resilience.<id>.given_up`). Default: never.",
        ),
    ] = None
    group: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The group of sidecars that share the messages, each of which goes to one of them: a queue "
            "group of NATS, a shared subscription of MQTT, a consumer group of Redis. Default: none; of a Redis "
            "stream the `group` of the integration.",
        ),
    ] = None
    listener: Annotated[
        Literal["required", "optional"] | None,
        Field(
            description="`required`: a message waits at its source, unacknowledged, while nobody on the bus listens to "
            "its event. `optional`: it does not. Default: `required` where messages are acknowledged."
        ),
    ] = None
    last_value: Annotated[
        bool | None,
        Field(
            description="Whether the last event of each type and topic is published again for each later subscriber. "
            "Default: true for `static` and for what an MQTT broker has retained, else false."
        ),
    ] = None
    singleton: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Label of a fabric: of all its nodes that have this subscription, one emits; if it dies, "
            "another goes on within 15 s. For a timer, the poll of an HTTP integration, or files. The `every` of a "
            "timer counts in whole multiples since 1970 then, so that all nodes mean the same ticks. Default: each "
            "bridge emits.",
        ),
    ] = None


class FabricBlock(Strict):
    """`fabric "name" { … }`: bridges on several machines, joined over NATS with JetStream."""

    integration: Annotated[
        str, Field(description="Label of the `nats` integration that carries the fabric; its server has JetStream.")
    ]
    node: Annotated[
        str | None,
        Field(
            pattern=NAME_PATTERN,
            max_length=MOST_NODE,
            description="The name of this bridge in the fabric, which no other has. Default: the host's name, with "
            "`-<name>` behind it if the bridge has a `name`; other signs than letters, digits, `_` and `-` become `-`.",
        ),
    ] = None
    exports: Annotated[
        tuple[str, ...],
        Field(
            alias="export",
            description="Event types of this bus that the other bridges may have: one pattern or a list, written as in "
            "`on` of a route. Commands, answers and what bridges report are never among them. Default: none.",
        ),
    ] = ()
    imports: Annotated[
        tuple[str, ...],
        Field(
            alias="import",
            description="Event types of the other bridges that come onto this bus: one pattern or a list. "
            "Default: none.",
        ),
    ] = ()
    offers: Annotated[
        tuple[str, ...],
        Field(
            alias="offer",
            description="Labels of integrations of this bridge that the other bridges may use: one or a list. "
            "Default: none.",
        ),
    ] = ()
    uses: Annotated[
        tuple[str, ...],
        Field(
            alias="use",
            description="Labels of integrations that other bridges offer, for commands and routes of this bridge: one "
            "or a list. They have the operations `request`, `publish` and `enqueue`. Default: none.",
        ),
    ] = ()
    delivery: Annotated[
        Literal["at_most_once", "at_least_once"],
        Field(
            description="How events are carried. `at_most_once`: who is not connected does not get them. "
            "`at_least_once`: from the outbox of this bridge into a stream of JetStream, where they wait for each "
            "node. It is the same at all nodes."
        ),
    ] = "at_most_once"
    max_age: Annotated[
        Annotated[PositiveDuration, Field(ge=1)],
        Field(
            description="With `at_least_once`: how long the stream keeps an event for a node that is absent. It is the "
            "same at all nodes."
        ),
    ] = 86400.0
    max_bytes: Annotated[
        Size | None,
        Field(
            description="With `at_least_once`: bytes of all events in the stream, at most; beyond it the oldest are "
            "removed, and nodes that did not have them report it. It is the same at all nodes. Default: the limits of "
            "the server."
        ),
    ] = None
    replicas: Annotated[
        int,
        Field(
            ge=1,
            le=5,
            description="On how many servers of a cluster the stream and the bucket of nodes and leases are stored. It "
            "is the same at all nodes.",
        ),
    ] = 1
    receipts: Annotated[
        bool,
        Field(
            description="With `at_least_once`: whether `receipt.<integration>.<outcome>` is emitted at the end of each "
            "exported event: when the stream has it, or it has become a dead letter."
        ),
    ] = False


#: The models of the blocks that a file has: those without a label, of which there is one, and those with a label.
SINGLE_BLOCKS: Final[Mapping[str, type[BaseModel]]] = {"bridge": BridgeSettings, "log": LogSettings, "bus": BusSettings}
LABELLED_BLOCKS: Final[Mapping[str, type[BaseModel]]] = {
    "variable": VariableBlock,
    "integration": IntegrationBlock,
    "route": RouteBlock,
    "subscription": SubscriptionBlock,
    "fabric": FabricBlock,
}


class Integration(msgspec.Struct, frozen=True):
    """One integration: a checked `integration "id" { … }` block, or one that `use` of a `fabric` block names.

    Attributes:
        id: The label.
        type: The adapter's name.
        spec: The adapter.
        endpoint: None only for protocols that need none.
        config: An instance of `spec.config`.
        location: Where the block begins; of one that a fabric uses, where it is named.
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
    def is_used(self) -> bool:
        """Return whether other nodes of a fabric offer it, so that it has no block of its own."""
        return self.type == USED

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what its blocks allow although it is not safe, one line each."""
        return self.spec.warnings(self.endpoint, self.auth, self.tls, self.config)


class Route(msgspec.Struct, frozen=True):
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


class SubscriptionSettings(msgspec.Struct, frozen=True):
    """One subscription: a checked `subscription "name" { … }` block.

    Exactly one of `topic` and `queue` is set. `visibility` and `max_deliveries` are set only with
    `ack = "consumer"`, `prefetch` where the protocol limits the unacknowledged messages of one subscription. `listener`
    is None where messages are not acknowledged and so cannot wait. `singleton` is the fabric of whose nodes one emits;
    None: each does.
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
    singleton: str | None = None
    location: Location = NOWHERE
    secret_keys: frozenset[str] = frozenset()

    @property
    def hold(self) -> Hold | None:
        """Return how messages wait for the application's `ack`; None where they do not wait."""
        if self.ack == "bus" or self.prefetch is None or self.visibility is None:
            return None
        return Hold(self.prefetch, self.visibility, self.max_deliveries)


class FabricSettings(msgspec.Struct, frozen=True):
    """One fabric: a checked `fabric "name" { … }` block.

    Attributes:
        name: The label.
        integration: The integration that carries it.
        node: The name of this bridge in it.
        exports: Patterns of the event types that the others may have.
        imports: Patterns of the event types that come onto this bus.
        offers: Integrations of this bridge that the others may use.
        uses: Integrations of others that commands on this bus may name.
        delivery: How events are carried.
        max_age: Seconds for which the stream keeps an event.
        max_bytes: Bytes that the stream keeps at most; None: no limit.
        replicas: On how many servers stream and bucket are stored.
        receipts: Whether the exporter gets a receipt for each event that the stream has taken.
        location: Where the block begins.
        secret_keys: Keys whose value came from the environment.
    """

    name: str
    integration: str
    node: str
    exports: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    delivery: Literal["at_most_once", "at_least_once"] = "at_most_once"
    max_age: float = 86400.0
    max_bytes: int | None = None
    replicas: int = 1
    receipts: bool = False
    location: Location = NOWHERE
    secret_keys: frozenset[str] = frozenset()

    @property
    def durable(self) -> bool:
        """Return whether its events go through the outbox and a stream."""
        return self.delivery == "at_least_once"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole configuration.

    Attributes:
        fabrics: The fabrics by label. An integration that one of them uses is among `integrations`, too.
        cases: The tests of it; `nemo-bridge test` runs them, and nothing else does.
        faults: What happens in a simulation beside the recording, where a file of that was given.
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
    fabrics: dict[str, FabricSettings] = field(default_factory=dict)
    cases: "tuple[Case, ...]" = ()
    faults: "Case | None" = None
    ignored: dict[str, int] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()
    secret_keys: frozenset[tuple[str, ...]] = frozenset()
    bus_locations: Mapping[str, Location] = field(default_factory=dict)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
