"""Makes JSON Schemas (draft 2020-12) from the models and their docstrings; no schema refers to another file.

Their form suits programs that generate code from schemas: each object and each list of values has a name, which is its
`title`; each integer has a width in `format`; what may be null says so in `type`.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

import msgspec

from bridge.config.schema import schema as configuration_schema
from bridge.contract import examples
from bridge.contract.catalogue import MESSAGE_TYPES, MessageType
from bridge.contract.widths import add_widths
from bridge.core import payloads
from bridge.core.model import Event
from bridge.core.ports import AdapterSpec

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = "#/$defs/"
#: Types without a name of their own: the names and descriptions that their schemas get.
_NAMED: Final[dict[str, tuple[Any, str]]] = {
    "Delivery": (payloads.Delivery, "How often an event of a fabric may come."),
    "BridgeStatus": (payloads.BridgeStatus, "The status of the bridge."),
    "ErrorCode": (payloads.ErrorCode, "The remote's own error code."),
    "ErrorKind": (payloads.ErrorKind, "What went wrong."),
    "RestartBlock": (payloads.RestartBlock, "A block of the configuration that takes effect at the next start."),
    "SequenceNumber": (payloads.SequenceNumber, "The number of a message in its stream."),
    "ShedReason": (payloads.ShedReason, "Why an operation was shed: an error's kind, or `retry_budget`."),
    "ProblemKind": (payloads.ProblemKind, "What a problem is about."),
    "FabricStatus": (payloads.FabricStatus, "The status of this bridge in a fabric."),
    "NodeStatus": (payloads.NodeStatus, "The status of a node of a fabric."),
    "Severity": (payloads.Severity, "How bad a problem is."),
    "SubscriptionStatus": (payloads.SubscriptionStatus, "The status of a subscription that is not live."),
}
#: Attributes that have another name on the bus.
_WIRE_NAMES: Final = {"raw": "payload"}
_ATTRIBUTE: Final = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def documents(adapters: Mapping[str, AdapterSpec]) -> dict[str, dict[str, Any]]:
    """Return all schemas by name, for example `command/request`.

    Args:
        adapters: The adapters whose `config` blocks the configuration may contain, by protocol.
    """
    found = {"event": _document("event", "Event", Event, examples.EVENT)}
    for kind in MESSAGE_TYPES:
        if kind.name not in found:
            found[kind.name] = _response(kind) if kind.is_response else _payload(kind)
    whole = add_widths(configuration_schema(adapters))
    found["configuration"] = _head("configuration", "Configuration", whole.pop("description")) | {
        key: value for key, value in whole.items() if key not in {"$schema", "title"}
    }
    return found


def _head(name: str, title: str, description: str) -> dict[str, Any]:
    identity = f"urn:nemo-bridge:v1:{name.replace('/', ':')}"
    return {"$schema": DIALECT, "$id": identity, "title": title, "description": description}


def _payload(kind: MessageType) -> dict[str, Any]:
    return _document(kind.name, kind.type_name, kind.model, kind.example) | deepcopy(kind.also)


def _document(name: str, title: str, model: Any, example: Any) -> dict[str, Any]:
    schema, definitions = _parts(model)
    if "$ref" in schema:
        schema = definitions.pop(schema["$ref"].removeprefix(_REFERENCE))
    elif "anyOf" in schema:  # an object or null
        (reference,) = (one["$ref"] for one in schema["anyOf"] if "$ref" in one)
        schema = definitions.pop(reference.removeprefix(_REFERENCE)) | {"type": ["object", "null"]}
    text = schema.pop("description", None)
    if text is None:
        text = next((one["description"] for one in definitions.values()), "Any value.")
    schema.pop("title", None)
    return _head(name, title, text) | schema | _tail(definitions, example)


def _response(kind: MessageType) -> dict[str, Any]:
    """Return the schema of a response: success with this command's result, or failure; for a route, with its name."""
    of_route = kind.channel == "routeResponses"
    text = "A command by a name that does not exist is refused; the `correlation_id` is that of the command."
    _, definitions = _parts(payloads.Failure)
    failure = _form(definitions.pop("Failure"), of_route=of_route)
    if kind.model is None:
        return _head(kind.name, kind.type_name, text) | failure | _tail(definitions, kind.example)
    result, used = _parts(kind.model)
    definitions |= used
    success = _form(_parts(payloads.Success)[1]["Success"], of_route=of_route)
    success["properties"]["result"] |= result
    names = kind.type_name.removesuffix("Response") + "Success", "RouteFailure" if of_route else "Failure"
    for name, form in zip(names, (success, failure), strict=True):
        definitions[name] = form | {"title": name}
    if of_route:
        text = "What an event that set off a route is answered with, once by each route."
    else:
        what = kind.topic_in_text.removeprefix("response.")
        text = f"What `{what}` is answered with; the envelope's `correlation_id` is that of the command."
    body = {"oneOf": [{"$ref": _REFERENCE + name} for name in names]}
    return _head(kind.name, kind.type_name, text) | body | _tail(definitions, kind.example)


def _form(definition: dict[str, Any], *, of_route: bool) -> dict[str, Any]:
    """Make `route` required, or remove it: only the response of a route has it."""
    if of_route:
        definition["required"].append("route")
    else:
        del definition["properties"]["route"]
    return definition


def _tail(definitions: dict[str, Any], example: Any) -> dict[str, Any]:
    tail: dict[str, Any] = {"examples": [deepcopy(example)]}
    return tail | {"$defs": dict(sorted(definitions.items()))} if definitions else tail


def _parts(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of a model, and those of all that it refers to, each with a name and a description."""
    (schema,), definitions = msgspec.json.schema_components([model], ref_template=_REFERENCE + "{name}")
    for definition in definitions.values():
        _describe(definition)
    if "Status" in definitions:  # its other properties have a type, too
        integration, more = _parts(payloads.IntegrationHealth)
        definitions["Status"]["additionalProperties"] = integration
        definitions = more | definitions
    if "Published" in definitions:
        definitions["Published"]["additionalProperties"] = True
    named = {key: (name, text) for name, (one, text) in _NAMED.items() for key in [_key(_raw(one))]}
    found: dict[str, Any] = {}
    schema = _tidy(schema, named, found)
    for name, definition in definitions.items():
        found[name] = _tidy(definition, named, found)
    return add_widths(schema), add_widths(found)


def _raw(model: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([model])
    return schema


def _key(schema: Mapping[str, Any]) -> str:
    """Return a text that is equal for schemas of the same values."""
    parts = schema.get("anyOf", [schema])
    if all("enum" in part for part in parts):
        return json.dumps(sorted({value for part in parts for value in part["enum"]}, key=str))
    return json.dumps(schema, sort_keys=True)


def _tidy(schema: Any, named: Mapping[str, tuple[str, str]], found: dict[str, Any]) -> Any:
    """Return a schema of msgspec in the form that this module promises; names that it needs are added to `found`."""
    if not isinstance(schema, dict):
        return schema
    schema = {
        key: {name: _tidy(one, named, found) for name, one in value.items()}
        if key == "properties"
        else _tidy(value, named, found)
        if key in {"items", "additionalProperties"}
        else value
        for key, value in schema.items()
    }
    about = {key: schema.pop(key) for key in ("title", "description", "default") if key in schema}
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    nullable = len(options) < len(schema.get("anyOf", ()))
    bare = schema if not nullable else options[0] if len(options) == 1 else {"anyOf": options}
    if "title" in about and "enum" in bare:
        bare = {"type": "string"} | bare
    elif _key(bare) in named:
        name, text = named[_key(bare)]
        options = bare.get("anyOf", [bare])
        values = sorted({value for option in options for value in option.get("enum", ())})
        if values:
            body: dict[str, Any] = {"type": "string", "enum": values}
        else:
            body = {"anyOf": [{"title": f"{name}{option['type'].capitalize()}"} | option for option in options]}
        found[name] = {"title": name, "description": text} | body
        bare = {"$ref": _REFERENCE + name}
    elif "enum" in bare:
        bare = _values(bare["enum"])
    else:
        bare = _tidy(bare, named, found) if nullable else bare
    if nullable:
        bare = {"anyOf": [bare, {"type": "null"}]} if "$ref" in bare else bare | {"type": [bare["type"], "null"]}
    return about | bare


def _values(values: list[Any]) -> dict[str, Any]:
    """Return the schema of values without a name: a constant, or integers from one to another."""
    if len(values) == 1:
        return {"type": "string", "const": values[0]}
    if all(type(value) is int for value in values) and sorted(values) == [*range(min(values), max(values) + 1)]:
        return {"type": "integer", "minimum": min(values), "maximum": max(values)}
    raise TypeError(f"a list of values without a name: {values}")


def _describe(definition: dict[str, Any]) -> None:
    """Turn a docstring into the descriptions of the object and of its properties, which get its order."""
    text, _, attributes = inspect.cleandoc(definition.get("description", "")).partition("\n\nAttributes:\n")
    definition["description"] = " ".join(text.split())
    properties = definition.get("properties")
    if properties is None:
        return
    described = {name: properties.pop(name) | {"description": words} for name, words in _attributes(attributes)}
    if properties:
        raise TypeError(f"{definition['title']}: not described: {', '.join(properties)}")
    definition["properties"] = described
    definition["required"] = [name for name in described if name in definition["required"]]


def _attributes(text: str) -> Iterator[tuple[str, str]]:
    for name, description in _ATTRIBUTE.findall(text):
        yield _WIRE_NAMES.get(name, name), " ".join(description.split())
