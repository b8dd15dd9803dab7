"""Makes the AsyncAPI 3.0 document of the contract, from the bridge's view; payloads refer to the schema files."""

import re
from typing import Any, Final

from bridge.bus.address import DEFAULT_PUBLISH_PORT, DEFAULT_SUBSCRIBE_PORT
from bridge.contract.catalogue import CHANNELS, MESSAGE_TYPES, Channel, MessageType

#: JSON Schema draft 2020-12 within AsyncAPI (AsyncAPI 3.0, "Multi Format Schema Object").
_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_CONTENT_TYPE: Final = "application/vnd.msgpack"
_DESCRIPTION: Final = """\
A sidecar beside a Nemo application: events on the bus become operations on external systems, and what comes back \
becomes events. The bus is a ZeroMQ XSUB/XPUB broker. A message has two frames: the event type in UTF-8, and the event \
in MessagePack, a map as in `event.schema.json`."""
_PARAMETERS: Final = {
    "integration": "Label of an integration in the configuration: letters, digits, `_` and `-`.",
    "operation": "The operation's name.",
    "event_type": "Dotted name of an event: segments without spaces and control characters.",
    "what": "What happened.",
    "outcome": "How it ended.",
}


def asyncapi() -> dict[str, Any]:
    """Return the whole document."""
    return {
        "asyncapi": "3.0.0",
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
            "schemas": {
                "configuration": {"schemaFormat": _FORMAT, "schema": {"$ref": "./configuration.schema.json"}},
            },
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
    event: dict[str, Any] = {"$ref": "./event.schema.json"}
    found = {"event": _message("Event of the application", event)}
    for kind in MESSAGE_TYPES:
        payload = {"allOf": [event, {"properties": {"payload": {"$ref": f"./{kind.name}.schema.json"}}}]}
        found[message_key(kind)] = _message(kind.title, payload)
    return found


def _message(title: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "contentType": _CONTENT_TYPE,
        "correlationId": {"$ref": "#/components/correlationIds/correlation_id"},
        "payload": {"schemaFormat": _FORMAT, "schema": schema},
    }
