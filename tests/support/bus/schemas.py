"""Check what is sent on the bus against the files in `schemas/`."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from bridge.contract import message_type_for

FOLDER = Path(__file__).resolve().parents[3] / "schemas"
#: Types that only the bridge emits: each of its events has a schema.
_EMITTED_BY_THE_BRIDGE = ("response.", "health.", "resilience.", "receipt.")
#: Schemas that are what they say: a reader of events ignores keys that it does not know.
_OPEN = {"event", "configuration"}
#: The last segment of the type of a circuit's change, with the state that its payload names.
_CIRCUIT = {"opened": "open", "half_opened": "half_open", "closed": "closed"}
_COMMANDS = ("integration.", "bridge.")


@cache
def validator(name: str) -> Draft202012Validator:
    """Return the validator of `schemas/<name>.schema.json`, for which all properties that are not there are unknown."""
    return Draft202012Validator(closed(json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")), name))


def closed(schema: Any, name: str) -> Any:
    """Return a schema that refuses unknown properties.

    The schemas of what the bridge emits allow them, since a newer bridge may say more. This one must say what it emits.
    """
    if name in _OPEN or name.startswith("command/"):
        return schema
    if isinstance(schema, list):
        return [closed(one, name) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: value if key == "examples" else closed(value, name) for key, value in schema.items()}
    if found.get("type") == "object" and "title" in found:
        found.setdefault("additionalProperties", False)
    return found


def check(name: str, value: Any) -> None:
    """Raise AssertionError, with the path, unless the value is valid by the schema of this name."""
    faults = sorted(validator(name).iter_errors(value), key=lambda fault: fault.json_path)
    lines = [f"{fault.json_path}: {fault.message}" for fault in faults]
    lines += [f"  {inner.json_path}: {inner.message}" for fault in faults for inner in fault.context or ()]
    if lines:
        raise AssertionError("\n".join([f"does not fit {name}.schema.json:", *lines, f"value: {value!r}"]))


def validate_event(envelope: Mapping[str, Any], *, commands: bool = True) -> None:
    """Raise AssertionError unless an event seen on the bus keeps the contract.

    Args:
        envelope: The decoded map of the second frame.
        commands: Whether commands are held against their schemas, too; false where a test sends bad ones on purpose.
    """
    check("event", dict(envelope))
    event_type, source = envelope["event_type"], envelope["source"]
    own = source is not None and (source == "bridge" or source.startswith("bridge/"))
    if not (own or (commands and event_type.startswith(_COMMANDS))):
        return  # an application's own event, whatever it is called
    kind = message_type_for(event_type)
    if kind is not None:
        check(kind.name, envelope["payload"])
        _, _, change = event_type.rpartition(".circuit.")
        if own and event_type.startswith("resilience.") and change in _CIRCUIT:
            assert envelope["payload"]["to"] == _CIRCUIT[change], dict(envelope)
    elif own and event_type.startswith(_EMITTED_BY_THE_BRIDGE):
        raise AssertionError(f"the bridge has emitted {event_type}, which has no schema: {dict(envelope)!r}")
