"""Every message of the bus contract in one table: its topic, its payload's model, and an example.

Schemas, the AsyncAPI document, the table in `schemas/README.md` and the tests' validation are all made from it.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from bridge.contract import examples as say
from bridge.core import payloads
from bridge.core.model import CONTROLS, OPERATIONS, Empty, Letters, QueueMessage

#: An integration's label in a topic, and anything else that may stand in its place.
_PLACES: Final = {"integration": r"[^.]+"}
_ANYTHING: Final = r".*"


@dataclass(frozen=True, slots=True)
class Channel:
    """A family of topics.

    Attributes:
        name: Its key in the AsyncAPI document.
        address: The topic, with its parameters in braces.
        action: What the bridge does.
        title: A few words.
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
    Channel("busResilience", "resilience.bus.{what}", "send", "What happened on the bus itself"),
    Channel("receipts", "receipt.{integration}.{outcome}", "send", "The one outcome of an accepted event"),
    Channel("integrationResilience", "resilience.{integration}.{what}", "send", "What an integration's guard did"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of message.

    Attributes:
        name: Names the schema: `schemas/<name>.schema.json`.
        channel: The `Channel` that it belongs to.
        topic: The event type; braces stand for what varies.
        title: A few words.
        model: The payload's type; of a response, its result's type.
        example: One payload.
        also: What its schema demands beyond the model.
    """

    name: str
    channel: str
    topic: str
    title: str
    model: Any
    example: Any
    also: dict[str, Any] = field(default_factory=dict)

    @property
    def is_response(self) -> bool:
        """True where `model` is the type of the result within a response."""
        return self.topic.startswith("response.")

    def matches(self, event_type: str) -> bool:
        """Whether an event of this type is of this kind; the first of `ENTRIES` that matches counts."""
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
#: Operations of the bridge itself: what they take and what they answer.
_BRIDGE: Final[dict[str, tuple[Any, Any]]] = {
    "ping": (Any, Any),
    "status": (Empty | None, payloads.Status),
    "subscriptions": (Empty | None, dict[str, list[payloads.LiveSubscription]]),
    "reload": (Empty | None, payloads.Reloaded),
    "dead_letters": (Letters | None, payloads.LetterList),
    "replay": (Letters | None, payloads.Moved),
    "discard": (Letters | None, payloads.Moved),
}
_EITHER: Final = {
    "oneOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in ("subscription", "topic")]
}


def _commands() -> list[Entry]:
    models: dict[str, Any] = {**OPERATIONS, **dict.fromkeys(CONTROLS, Empty | None)}
    entries = [
        Entry(
            f"command/{name}",
            "integrationCommands",
            f"integration.{{integration}}.{name}",
            f"Command {name}",
            model,
            say.COMMANDS.get(name, {}),
            _EITHER if name == "unsubscribe" else {},
        )
        for name, model in models.items()
    ]
    return entries + [
        Entry(
            f"command/bridge.{name}",
            "bridgeCommands",
            f"bridge.{name}",
            f"Command bridge.{name}",
            model,
            say.COMMANDS.get(f"bridge.{name}", {}),
        )
        for name, (model, _) in _BRIDGE.items()
    ]


def _responses() -> list[Entry]:
    entries = [
        Entry(
            f"response/{name}",
            "integrationResponses",
            f"response.integration.{{integration}}.{name}",
            f"Response to {name}",
            model,
            say.success(say.RESULTS.get(name, {}), attempts=int(name in OPERATIONS)),
        )
        for name, model in _RESULTS.items()
    ]
    entries += [
        Entry(
            f"response/bridge.{name}",
            "bridgeResponses",
            f"response.bridge.{name}",
            f"Response to bridge.{name}",
            model,
            say.success(say.RESULTS[f"bridge.{name}"], attempts=0),
        )
        for name, (_, model) in _BRIDGE.items()
    ]
    unknown = ("response/unknown", "Response to a command that does not exist", None, say.UNKNOWN)
    for channel, topic in (
        ("integrationResponses", "response.integration.{anything}"),
        ("bridgeResponses", "response.bridge.{anything}"),
    ):
        entries.append(Entry(unknown[0], channel, topic, *unknown[1:]))
    route = Entry("response/route", "routeResponses", "response.{event_type}", "Response of a route", Any, say.ROUTE)
    return [*entries, route]


def _resilience() -> list[Entry]:
    changes = {"opened": "open", "half_opened": "half_open", "closed": "closed"}
    kinds: list[tuple[str, str, Any, Any, dict[str, Any]]] = [
        ("bus.rejected", "Messages that were not taken", payloads.BusRejected, say.BUS_REJECTED, {}),
        ("bus.gap", "Events that did not arrive", payloads.BusGap, say.BUS_GAP, {}),
        ("retry", "There will be another attempt", payloads.Retry, say.RETRY, {}),
        ("failed", "An operation failed for good", payloads.Failed, say.FAILED, {}),
        *(
            (
                f"circuit.{what}",
                f"The circuit is {state.replace('_', '-')} now",
                payloads.CircuitChange,
                say.circuit(state),
                {"properties": {"to": {"const": state}}},
            )
            for what, state in changes.items()
        ),
        ("shed", "Operations were shed", payloads.Shed, say.SHED, {}),
        ("given_up", "A message from outside was given up", payloads.GivenUp, say.GIVEN_UP, {}),
        ("dead_letter", "An accepted event was given up", payloads.DeadLetter, say.DEAD_LETTER, {}),
    ]
    entries = []
    for what, title, model, example, also in kinds:
        ours = what.startswith("bus.")
        topic = f"resilience.{what}" if ours else f"resilience.{{integration}}.{what}"
        channel = "busResilience" if ours else "integrationResilience"
        entries.append(Entry(f"resilience/{what}", channel, topic, title, model, example, also))
    return entries


def _receipts() -> list[Entry]:
    titles = {
        "delivered": "The remote has acknowledged it",
        "dead_lettered": "It was given up",
        "expired": "The caller's time was up",
    }
    return [
        Entry(f"receipt/{name}", "receipts", f"receipt.{{integration}}.{name}", title, payloads.Receipt, say.RECEIPT)
        for name, title in titles.items()
    ]


ENTRIES: Final = (
    *_commands(),
    *_responses(),
    Entry("message", "messages", "message.{integration}", "Message from outside", payloads.Message, say.MESSAGE),
    Entry("health/bridge", "bridgeHealth", "health.bridge", "Health of the bridge", payloads.BridgeHealth, say.BRIDGE),
    Entry(
        "health/integration",
        "integrationHealth",
        "health.{integration}",
        "Health of an integration",
        payloads.IntegrationHealth,
        say.INTEGRATION,
    ),
    *_resilience(),
    *_receipts(),
)


def entry_for(event_type: str) -> Entry | None:
    """What the contract says of an event type; None for an application's own."""
    return next((entry for entry in ENTRIES if entry.matches(event_type)), None)
