"""Makes JSON Schemas (draft 2020-12) from the models and their docstrings; no schema refers to another file."""

import inspect
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

import msgspec

from bridge import config
from bridge.contract import examples
from bridge.contract.catalogue import MESSAGE_TYPES, MessageType
from bridge.core import payloads
from bridge.core.model import Event
from bridge.core.ports import AdapterSpec

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = "#/$defs/"
#: Objects whose other properties are known, too: not just the named ones may be there.
_OTHERS: Final[dict[str, Any]] = {
    "Status": payloads.IntegrationHealth,
    "Published": Any,
    "Event": Any,  # a reader ignores keys that it does not know
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
    whole = config.schema(adapters)
    found["configuration"] = _head("configuration", whole.pop("title"), whole.pop("description")) | {
        key: value for key, value in whole.items() if key != "$schema"
    }
    return found


def _head(name: str, title: str, description: str) -> dict[str, Any]:
    identity = f"urn:nemo-bridge:v1:{name.replace('/', ':')}"
    return {"$schema": DIALECT, "$id": identity, "title": title, "description": description}


def _payload(kind: MessageType) -> dict[str, Any]:
    schema = _document(kind.name, kind.title, kind.model, kind.example)
    if kind.also:
        schema["allOf"] = [deepcopy(kind.also)]
    return schema


def _document(name: str, title: str, model: Any, example: Any) -> dict[str, Any]:
    schema, definitions = _parts(model)
    if "$ref" in schema:
        schema = definitions.pop(schema["$ref"].removeprefix(_REFERENCE))
    text = schema.pop("description", "Any value.")
    if text == "Any value." and definitions:
        text = next(iter(definitions.values()))["description"]
    schema.pop("title", None)
    return _head(name, title, text) | schema | _tail(definitions, example)


def _response(kind: MessageType) -> dict[str, Any]:
    """Return the schema of a response: success with this command's result, or failure; for a route, with its name."""
    _, definitions = _parts(payloads.Failure)
    forms = ["Failure"]
    if kind.model is not None:
        result, used = _parts(kind.model)
        definitions |= used | _parts(payloads.Success)[1]
        result_text = definitions["Success"]["properties"]["result"]
        definitions["Success"]["properties"]["result"] = result_text | result
        forms.insert(0, "Success")
    for form in forms:
        if kind.channel == "routeResponses":
            definitions[form]["required"].append("route")
        else:
            del definitions[form]["properties"]["route"]
    what = kind.topic.removeprefix("response.").replace("{integration}", "<id>")
    text = f"What `{what}` is answered with; the envelope's `correlation_id` is that of the command."
    if kind.model is None:
        text = "A command by a name that does not exist is refused; the `correlation_id` is that of the command."
    elif kind.channel == "routeResponses":
        text = "What an event that set off a route is answered with, once by each route."
    body = {"oneOf": [{"$ref": _REFERENCE + form} for form in forms]}
    return _head(kind.name, kind.title, text) | body | _tail(definitions, kind.example)


def _tail(definitions: dict[str, Any], example: Any) -> dict[str, Any]:
    tail: dict[str, Any] = {"examples": [deepcopy(example)]}
    return tail | {"$defs": dict(sorted(definitions.items()))} if definitions else tail


def _parts(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of a model, and those of all that it refers to, with descriptions and no further properties."""
    (schema,), definitions = msgspec.json.schema_components([model], ref_template=_REFERENCE + "{name}")
    for name, definition in list(definitions.items()):
        _describe(definition)
        if "properties" not in definition:
            continue
        if name not in _OTHERS:
            definition["additionalProperties"] = False
        elif _OTHERS[name] is not Any:
            definition["additionalProperties"], more = _parts(_OTHERS[name])
            definitions |= more
    return schema, definitions


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
