"""Makes the AsyncAPI document of the contract, from the bridge's view. It refers to nothing outside itself."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from bridge.bus.address import DEFAULT_PUBLISH_PORT, DEFAULT_SUBSCRIBE_PORT
from bridge.contract.catalogue import CHANNELS, MESSAGE_TYPES, Channel, MessageType

#: The newest version of AsyncAPI. Its schemas are draft 07 of JSON Schema with additions; no other dialect is read by
#: AsyncAPI's own parser.
_VERSION: Final = "3.1.0"
#: Keywords of draft 2020-12, with their names in draft 07.
_RENAMED: Final = {"dependentSchemas": "dependencies"}
_SCHEMAS: Final = "#/components/schemas/"
#: What the name of a schema begins with that stands for another one or null: without it, a generator invents one.
_OPTIONAL: Final = "Optional"
#: Keywords that belong to a file.
_OF_A_FILE: Final = frozenset({"$schema", "$id", "$defs"})
_CONTENT_TYPE: Final = "application/vnd.msgpack"
_DESCRIPTION: Final = """\
A sidecar beside a Nemo application: events on the bus become operations on external systems, and what comes back \
becomes events. The bus is a ZeroMQ XSUB/XPUB broker. A message has two frames: the event type in UTF-8, and the event \
in MessagePack, a map as in the schema `Event`. An array of the map's first six values, in this order, is understood, \
too."""
_PARAMETERS: Final = {
    "integration": "Label of an integration in the configuration: letters, digits, `_` and `-`.",
    "fabric": "Label of a `fabric` block in the configuration: letters, digits, `_` and `-`.",
    "node": "Name of a bridge in a fabric: letters, digits, `_` and `-`.",
    "operation": "The operation's name.",
    "event_type": "Dotted name of an event: segments without spaces and control characters.",
    "what": "What happened.",
    "outcome": "How it ended.",
}
#: What stands in the place of each parameter of a topic in the examples.
_EXAMPLES: Final = {
    "integration": "backend_api",
    "fabric": "plant",
    "node": "desk-9",
    "event_type": "order.created",
    "anything": "nonsense",
}


def asyncapi(schemas: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the whole document.

    Args:
        schemas: The JSON Schemas, as `documents` returns them.
    """
    return {
        "asyncapi": _VERSION,
        "id": "urn:nemo-bridge:v1",
        "info": {
            "title": "nemo-bridge bus contract",
            "version": "1.0.0",
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": _CONTENT_TYPE,
        "servers": {
            "publish": _server("publish", "Publishers connect a PUB here.", DEFAULT_PUBLISH_PORT),
            "subscribe": _server("subscribe", "Subscribers connect a SUB here.", DEFAULT_SUBSCRIBE_PORT),
        },
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {channel.name: _operation(channel) for channel in CHANNELS},
        "components": {
            "messages": _messages(),
            "schemas": _schemas(schemas),
            "correlationIds": {
                "correlation_id": {
                    "description": "Ties a response to its request.",
                    "location": "$message.payload#/correlation_id",
                }
            },
        },
    }


def message_key(kind: MessageType) -> str:
    """Return the key of a type of message within the document."""
    return kind.name.replace("/", ".")


def _server(name: str, text: str, port: int) -> dict[str, Any]:
    return {
        "host": f"{{{name}}}",
        "protocol": "zmq",
        "protocolVersion": "ZMTP 3.1",
        "description": f"{text} An `ipc` socket in the user's own directory unless configured otherwise.",
        "variables": {
            name: {
                "description": f"`bus {{ {name} = … }}` of the configuration.",
                "examples": [f"/run/user/1000/nemo/bus-{name}.sock", f"127.0.0.1:{port}"],
            }
        },
    }


def _of(channel: Channel) -> list[MessageType]:
    return [kind for kind in MESSAGE_TYPES if kind.channel == channel.name]


def _keys(channel: Channel) -> list[str]:
    return [message_key(kind) for kind in _of(channel)] or ["event"]


def _channel(channel: Channel) -> dict[str, Any]:
    # The bridge receives what others publish, and others subscribe to what it sends.
    server = "publish" if channel.action == "receive" else "subscribe"
    found: dict[str, Any] = {
        "address": channel.address,
        "title": channel.title,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in _keys(channel)},
    }
    names = re.findall(r"\{(\w+)\}", channel.address)
    if names:
        found["parameters"] = {name: _parameter(channel, name) for name in names}
    return found


def _parameter(channel: Channel, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"description": _PARAMETERS[name]}
    if name in {"operation", "what", "outcome"}:
        before = channel.address.partition(f"{{{name}}}")[0]
        values = [kind.topic.removeprefix(before) for kind in _of(channel)]
        found["examples" if any("{" in value for value in values) else "enum"] = [
            value for value in values if "{" not in value
        ]
    return found


def _operation(channel: Channel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "title": channel.title,
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{key}"} for key in _keys(channel)],
    }
    if channel.reply is not None:
        found["reply"] = {"channel": {"$ref": f"#/channels/{channel.reply}"}}
    return found


def _messages() -> dict[str, Any]:
    found = {"event": _message("event", "Event of the application", "Event")}
    for kind in MESSAGE_TYPES:
        key = message_key(kind)
        found[key] = _message(key, kind.title, event_name(kind))
    return found


def _message(name: str, title: str, schema: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "contentType": _CONTENT_TYPE,
        "correlationId": {"$ref": "#/components/correlationIds/correlation_id"},
        "payload": {"$ref": _SCHEMAS + schema},
    }


def event_name(kind: MessageType) -> str:
    """Return the name of the schema of the whole event: from its payload, or from the message where several have it."""
    if len({one.name for one in MESSAGE_TYPES if one.type_name == kind.type_name}) == 1:
        return f"{kind.type_name}Event"
    return "".join(word.capitalize() for word in re.split(r"[/._]", kind.name)) + "Event"


def _schemas(documents: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return all schemas by their titles: events, their payloads, and what these consist of."""
    found: dict[str, Any] = {}

    def add(name: str, schema: dict[str, Any]) -> None:
        for optional in _optional(schema):
            title = optional.rpartition("/")[2]
            of = {"$ref": _SCHEMAS + title.removeprefix(_OPTIONAL)}
            found[title] = {"title": title, "description": "It, or null.", "anyOf": [of, {"type": "null"}]}
        own = {key: value for key, value in schema.items() if key not in _OF_A_FILE}
        if found.setdefault(name, own) != own:
            raise ValueError(f"two different schemas have the name {name}")

    event = documents["event"]
    add(event["title"], _inside(event))
    for kind in MESSAGE_TYPES:
        document = documents[kind.name]
        payload = _inside(document)
        # Types of messages with the same payload differ in their examples.
        examples = payload.pop("examples")
        add(kind.type_name, payload)
        for name, definition in document.get("$defs", {}).items():
            add(name, _inside(definition))
        whole = deepcopy(_inside(event))
        whole["title"] = event_name(kind)
        whole["description"] = f"An event with the payload `{kind.type_name}`."
        whole["properties"]["payload"] = {"$ref": _SCHEMAS + kind.type_name}
        whole["examples"] = [_example(kind, examples[0])]
        found.setdefault(whole["title"], {key: value for key, value in whole.items() if key not in _OF_A_FILE})
    return dict(sorted(found.items()))


def _example(kind: MessageType, payload: Any) -> dict[str, Any]:
    topic = kind.topic.format_map(_EXAMPLES)
    command = kind.channel in {"integrationCommands", "bridgeCommands"}
    return {
        "id": 41,
        "event_type": topic,
        "payload": payload,
        "timestamp": 1763935200000,
        "source": "shop" if command else "bridge",
        "correlation_id": "c-41" if command or kind.is_response else None,
    }


def _optional(schema: Any) -> Iterator[str]:
    """Yield the references to schemas of something that may be null."""
    if isinstance(schema, list):
        for one in schema:
            yield from _optional(one)
    elif isinstance(schema, dict):
        if str(schema.get("$ref", "")).startswith(_SCHEMAS + _OPTIONAL):
            yield schema["$ref"]
        for one in schema.values():
            yield from _optional(one)


def _inside(schema: Any) -> Any:
    """Return a schema as it stands in the document: draft 07, and references to the document's own schemas."""
    if isinstance(schema, list):
        return [_inside(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "$ref":
            found[key] = value.replace("#/$defs/", _SCHEMAS)
        elif key == "anyOf" and len(value) == 2 and "$ref" in value[0] and value[1] == {"type": "null"}:
            found["$ref"] = value[0]["$ref"].replace("#/$defs/", _SCHEMAS + _OPTIONAL)
        elif key in {"examples", "default", "const", "enum"}:
            found[key] = value
        else:
            found[_RENAMED.get(key, key)] = _inside(value)
    return found
