"""Lists all messages of the bus contract in one table: each one's topic, its payload's model, and an example.

Schemas, the AsyncAPI document, the table in `schemas/README.md` and the checks in the tests are all made from it.
"""

import re
from typing import Any, Final, Literal

import msgspec

from bridge.contract import examples
from bridge.core import payloads
from bridge.core.model import CONTROLS, OPERATIONS, Empty, ForgetNode, Inspect, Letters, Match, QueueMessage, Reload

#: Labels in a topic, and anything else that may stand in the place of another parameter.
_PLACES: Final = dict.fromkeys(("integration", "fabric", "node"), r"[^.]+")
_ANYTHING: Final = r".*"
#: What documents for people call the parameters of a topic, where that differs.
_IN_TEXT: Final = {"integration": "id", "event_type": "type", "anything": "anything else"}


class Channel(msgspec.Struct, frozen=True):
    """A channel of the AsyncAPI document: topics of one form.

    Attributes:
        name: Its key in the document.
        address: The topic, with its parameters in braces.
        action: Whether the bridge receives or sends these messages.
        title: A short description.
        reply: The channel of the responses, for commands.
    """

    name: str
    address: str
    action: Literal["receive", "send"]
    title: str
    reply: str | None = None


CHANNELS: Final = (
    Channel(
        "integrationCommands",
        "integration.{integration}.{operation}",
        "receive",
        "Commands to one integration",
        reply="integrationResponses",
    ),
    Channel(
        "bridgeCommands", "bridge.{operation}", "receive", "Commands to the bridge itself", reply="bridgeResponses"
    ),
    Channel(
        "applicationEvents",
        "{event_type}",
        "receive",
        "Plain events of the application; routes decide what they trigger",
        reply="routeResponses",
    ),
    Channel(
        "integrationResponses",
        "response.integration.{integration}.{operation}",
        "send",
        "Responses to commands to an integration",
    ),
    Channel("bridgeResponses", "response.bridge.{operation}", "send", "Responses to commands to the bridge itself"),
    Channel("routeResponses", "response.{event_type}", "send", "Responses caused by a route"),
    Channel("messages", "message.{integration}", "send", "Messages from outside"),
    Channel("bridgeHealth", "health.bridge", "send", "State of the bridge; the last value is kept"),
    Channel("integrationHealth", "health.{integration}", "send", "State of an integration; the last value is kept"),
    Channel(
        "fabricHealth", "health.fabric.{fabric}", "send", "State of this bridge in a fabric; the last value is kept"
    ),
    Channel("nodeHealth", "health.node.{node}", "send", "State of a node of a fabric; the last value is kept"),
    Channel("busResilience", "resilience.bus.{what}", "send", "What happened on the bus itself"),
    Channel("bridgeResilience", "resilience.bridge.{what}", "send", "What happened to the bridge itself"),
    Channel(
        "fabricResilience", "resilience.fabric.{fabric}.{what}", "send", "What happened to this bridge in a fabric"
    ),
    Channel("receipts", "receipt.{integration}.{outcome}", "send", "The one outcome of an accepted event"),
    Channel("integrationResilience", "resilience.{integration}.{what}", "send", "What an integration's guard did"),
)


class MessageType(msgspec.Struct, frozen=True):
    """One type of message on the bus.

    Attributes:
        name: The schema's name: `schemas/<name>.schema.json`.
        channel: The name of the `Channel` that it belongs to.
        topic: The event type; a name in braces stands for any text.
        title: A short description.
        model: The payload's type; of a response, its result's type.
        example: One payload.
        also: Keywords of its schema that the model does not have.
    """

    name: str
    channel: str
    topic: str
    title: str
    model: Any
    example: Any
    also: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def is_response(self) -> bool:
        """Whether `model` is the type of the result within a response."""
        return self.topic.startswith("response.")

    @property
    def topic_in_text(self) -> str:
        """The topic as documents for people have it: `response.integration.<id>.request`."""
        return re.sub(r"\{(\w+)\}", lambda place: f"<{_IN_TEXT.get(place[1], place[1])}>", self.topic)

    @property
    def type_name(self) -> str:
        """The name of the payload's type: its schema's `title`. Equal names are equal types."""
        if self.name == "response/unknown":
            return "Failure"
        family, _, name = self.name.rpartition("/")
        if family in {"command", "response"}:
            return "".join(word.capitalize() for word in re.split(r"[._]", name)) + family.capitalize()
        return str(self.model.__name__)

    def matches(self, event_type: str) -> bool:
        """Return whether an event type fits `topic`; the first of `MESSAGE_TYPES` that matches counts."""
        parts = re.split(r"\{(\w+)\}", self.topic)
        patterns = [_PLACES.get(part, _ANYTHING) if index % 2 else re.escape(part) for index, part in enumerate(parts)]
        return re.fullmatch("".join(patterns), event_type) is not None


_RESULTS: Final[dict[str, Any]] = {
    "request": Any,
    "publish": payloads.Published,
    "subscribe": payloads.Subscribed,
    "unsubscribe": payloads.Nothing,
    "enqueue": payloads.Enqueued,
    "dequeue": QueueMessage | None,
    "ack": payloads.Nothing,
    "nack": payloads.Nothing,
    "pause": payloads.Nothing,
    "resume": payloads.Nothing,
    "drain": payloads.Nothing,
    "circuit.force_open": payloads.Circuit,
    "circuit.reset": payloads.Circuit,
}
#: The operations of the bridge itself: the types of their payload and of their result.
_BRIDGE: Final[dict[str, tuple[Any, Any]]] = {
    "ping": (Any, Any),
    "status": (Empty | None, payloads.Status),
    "subscriptions": (Empty | None, dict[str, list[payloads.LiveSubscription]]),
    "overview": (Empty | None, payloads.Overview),
    "inspect": (Inspect, payloads.Inspection),
    "match": (Match, payloads.Matched),
    "configuration": (Empty | None, payloads.LoadedConfiguration),
    "reload": (Reload | None, payloads.Reloaded),
    "fleet": (Empty | None, payloads.Fleet),
    "forget_node": (ForgetNode, payloads.Forgotten),
    "dead_letters": (Letters | None, payloads.LetterList),
    "replay": (Letters | None, payloads.Moved),
    "discard": (Letters | None, payloads.Moved),
}
_EITHER: Final = {
    "oneOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in ("subscription", "topic")]
}
#: Exactly one of the two keys of `unsubscribe`. `oneOf` would do without `dependentSchemas`, but a generator makes a
#: type of each of its branches.
_ONE_OF_TWO: Final = {"minProperties": 1, "dependentSchemas": {"subscription": _EITHER, "topic": _EITHER}}


def _commands() -> list[MessageType]:
    models: dict[str, Any] = {**OPERATIONS, **dict.fromkeys(CONTROLS, Empty | None)}
    kinds = [
        MessageType(
            f"command/{name}",
            "integrationCommands",
            f"integration.{{integration}}.{name}",
            f"Command {name}",
            model,
            examples.COMMANDS.get(name, {}),
            _ONE_OF_TWO if name == "unsubscribe" else {},
        )
        for name, model in models.items()
    ]
    return kinds + [
        MessageType(
            f"command/bridge.{name}",
            "bridgeCommands",
            f"bridge.{name}",
            f"Command bridge.{name}",
            model,
            examples.COMMANDS.get(f"bridge.{name}", {}),
        )
        for name, (model, _) in _BRIDGE.items()
    ]


def _responses() -> list[MessageType]:
    kinds = [
        MessageType(
            f"response/{name}",
            "integrationResponses",
            f"response.integration.{{integration}}.{name}",
            f"Response to {name}",
            model,
            examples.success(examples.RESULTS.get(name, {}), attempts=int(name in OPERATIONS)),
        )
        for name, model in _RESULTS.items()
    ]
    kinds += [
        MessageType(
            f"response/bridge.{name}",
            "bridgeResponses",
            f"response.bridge.{name}",
            f"Response to bridge.{name}",
            model,
            examples.success(examples.RESULTS[f"bridge.{name}"], attempts=0),
        )
        for name, (_, model) in _BRIDGE.items()
    ]
    unknown = ("response/unknown", "Response to a command that does not exist", None, examples.UNKNOWN)
    for channel, topic in (
        ("integrationResponses", "response.integration.{anything}"),
        ("bridgeResponses", "response.bridge.{anything}"),
    ):
        kinds.append(MessageType(unknown[0], channel, topic, *unknown[1:]))
    route = MessageType(
        "response/route", "routeResponses", "response.{event_type}", "Response of a route", Any, examples.ROUTE
    )
    return [*kinds, route]


def _resilience() -> list[MessageType]:
    changes = {"opened": "open", "half_opened": "half_open", "closed": "closed"}
    rows: list[tuple[str, str, Any, Any]] = [
        ("bus.rejected", "Messages that were not taken", payloads.BusRejected, examples.BUS_REJECTED),
        ("bus.gap", "Events that did not arrive", payloads.BusGap, examples.BUS_GAP),
        ("bridge.outbox_loss", "Stored events are missing", payloads.OutboxLoss, examples.OUTBOX_LOSS),
        ("bridge.console_action", "A person acted in the console", payloads.ConsoleAction, examples.CONSOLE_ACTION),
        ("fabric.missed", "Events of other nodes were lost", payloads.FabricMissed, examples.FABRIC_MISSED),
        ("fabric.rejected", "Messages that no bridge wrote", payloads.FabricRejected, examples.FABRIC_REJECTED),
        ("fabric.lease", "Another node emits for a subscription", payloads.LeaseChange, examples.LEASE_CHANGE),
        ("retry", "There will be another attempt", payloads.Retry, examples.RETRY),
        ("failed", "An operation failed for good", payloads.Failed, examples.FAILED),
        *(
            (
                f"circuit.{what}",
                f"The circuit is {state.replace('_', '-')} now",
                payloads.CircuitChange,
                examples.circuit(state),
            )
            for what, state in changes.items()
        ),
        ("shed", "Operations were shed", payloads.Shed, examples.SHED),
        ("degraded", "It goes on, but not as it was asked for", payloads.Degraded, examples.DEGRADED),
        ("given_up", "A message from outside was given up", payloads.GivenUp, examples.GIVEN_UP),
        ("dead_letter", "An accepted event was given up", payloads.DeadLetter, examples.DEAD_LETTER),
    ]
    found = []
    for what, title, model, example in rows:
        about, _, rest = what.partition(".")
        channel, topic = {
            "bus": ("busResilience", f"resilience.{what}"),
            "bridge": ("bridgeResilience", f"resilience.{what}"),
            "fabric": ("fabricResilience", f"resilience.fabric.{{fabric}}.{rest}"),
        }.get(about, ("integrationResilience", f"resilience.{{integration}}.{what}"))
        found.append(MessageType(f"resilience/{what}", channel, topic, title, model, example))
    return found


def _receipts() -> list[MessageType]:
    titles = {
        "delivered": "The remote has acknowledged it",
        "dead_lettered": "It was given up",
        "expired": "The caller's time was up",
    }
    return [
        MessageType(
            f"receipt/{name}", "receipts", f"receipt.{{integration}}.{name}", title, payloads.Receipt, examples.RECEIPT
        )
        for name, title in titles.items()
    ]


MESSAGE_TYPES: Final = (
    *_commands(),
    *_responses(),
    MessageType(
        "message", "messages", "message.{integration}", "Message from outside", payloads.Message, examples.MESSAGE
    ),
    MessageType(
        "health/bridge", "bridgeHealth", "health.bridge", "Health of the bridge", payloads.BridgeHealth, examples.BRIDGE
    ),
    MessageType(
        "health/integration",
        "integrationHealth",
        "health.{integration}",
        "Health of an integration",
        payloads.IntegrationHealth,
        examples.INTEGRATION,
    ),
    MessageType(
        "health/fabric",
        "fabricHealth",
        "health.fabric.{fabric}",
        "Health of this bridge in a fabric",
        payloads.FabricHealth,
        examples.FABRIC,
    ),
    MessageType(
        "health/node", "nodeHealth", "health.node.{node}", "Health of a node", payloads.NodeHealth, examples.NODE
    ),
    *_resilience(),
    *_receipts(),
)


def message_type_for(event_type: str) -> MessageType | None:
    """Return the type of message that the contract has for an event type; None for an application's own."""
    return next((kind for kind in MESSAGE_TYPES if kind.matches(event_type)), None)
