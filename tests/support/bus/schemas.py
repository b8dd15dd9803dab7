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
_COMMANDS = ("integration.", "bridge.")


@cache
def validator(name: str) -> Draft202012Validator:
    """Return the validator of `schemas/<name>.schema.json`."""
    return Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")))


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
    elif own and event_type.startswith(_EMITTED_BY_THE_BRIDGE):
        raise AssertionError(f"the bridge has emitted {event_type}, which has no schema: {dict(envelope)!r}")
