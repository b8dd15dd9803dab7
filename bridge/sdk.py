"""Everything that an adapter of a third party imports; nothing else of the bridge is public to it.

docs/adapters.md writes an adapter with it. A name that is here stays, and means the same, until the next major version.

| for | names |
| --- | --- |
| the adapter | `AdapterSpec`, `AdapterSetup`, `AdapterBase`, `ProtocolAdapter`, `NameCheck`, `refuse_group` |
| what it gets | commands, `Context`, `Promise`, `Deliver`, `SubscriptionOptions`, `Hold`, `Clock`, `Timer` |
| when it acknowledges | `AdapterSetup.when_on_bus`, `AdapterSetup.on_bus`, `AckDecision` |
| what it gives | `Inbound`, `QueueMessage`, `Subscription`, `AckDecision`, `Wildcards`, and the errors |
| its settings | `Strict`, `Endpoint`, `ResolvedEndpoint`, `Addressing`, `Tls`, `auth`, durations, sizes, rates |
"""

from bridge.core.endpoint import (
    NO_AUTH,
    Addressing,
    AnyAuth,
    AuthBasic,
    AuthBearer,
    AuthCertificate,
    AuthCredentials,
    AuthNkey,
    AuthNone,
    Endpoint,
    EndpointError,
    ResolvedEndpoint,
    Strict,
    Tls,
)
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    NotSupportedError,
    ProtocolError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)
from bridge.core.model import (
    DEFAULT_QOS,
    Ack,
    Command,
    Dequeue,
    Enqueue,
    Inbound,
    Nack,
    Publish,
    QueueMessage,
    Request,
)
from bridge.core.ports import (
    NO_OPTIONS,
    AckDecision,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Clock,
    Context,
    Deliver,
    NameCheck,
    Promise,
    ProtocolAdapter,
    Subscription,
    SubscriptionOptions,
    refuse_group,
)
from bridge.core.settings import Hold
from bridge.core.timer import Timer
from bridge.core.units import Duration, PositiveDuration, Rate, Size
from bridge.core.wildcards import Wildcards

__all__ = [
    "DEFAULT_QOS",
    "NO_AUTH",
    "NO_OPTIONS",
    "Ack",
    "AckDecision",
    "AdapterBase",
    "AdapterSetup",
    "AdapterSpec",
    "Addressing",
    "AnyAuth",
    "AuthBasic",
    "AuthBearer",
    "AuthCertificate",
    "AuthCredentials",
    "AuthError",
    "AuthNkey",
    "AuthNone",
    "BridgeError",
    "Clock",
    "Command",
    "ConnectionLostError",
    "Context",
    "Deliver",
    "Dequeue",
    "Duration",
    "Endpoint",
    "EndpointError",
    "Enqueue",
    "Hold",
    "Inbound",
    "InvalidError",
    "Nack",
    "NameCheck",
    "NotConnectedError",
    "NotSupportedError",
    "PositiveDuration",
    "Promise",
    "ProtocolAdapter",
    "ProtocolError",
    "Publish",
    "QueueMessage",
    "Rate",
    "RejectedError",
    "Request",
    "ResolvedEndpoint",
    "Size",
    "Strict",
    "Subscription",
    "SubscriptionOptions",
    "ThrottledError",
    "Timer",
    "Tls",
    "UnavailableError",
    "Wildcards",
    "refuse_group",
]
