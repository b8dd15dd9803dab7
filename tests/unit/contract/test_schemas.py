"""The schemas are good ones, fit their examples, and are what the models say."""

from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import msgspec
import pytest

from bridge.bus.codec import Codec
from bridge.bus.rejection import Reason, Rejected
from bridge.contract import MESSAGE_TYPES, documents
from bridge.core.errors import BridgeError, ErrorKind, InvalidError, RejectedError, ThrottledError
from bridge.core.model import CONTROLS, OPERATIONS, Event, Outcome
from bridge.registry import AdapterRegistry
from bridge.routing.router import parse_command
from tests.support.bus.schemas import check, validator

DOCUMENTS = documents(AdapterRegistry(bundled=True))
NAMES = sorted(DOCUMENTS)

FITTING: list[tuple[str, Any]] = [
    ("request", {"method": "m"}),
    ("request", {"method": "m", "params": None, "timeout_ms": None, "notify": True}),
    ("publish", {"topic": "t", "message": None, "qos": 2, "retain": True, "headers": {"a": "b"}}),
    ("subscribe", {"topic": "t", "emit": None}),
    ("unsubscribe", {"topic": "t"}),
    ("enqueue", {"queue": "q", "message": [1]}),
    ("dequeue", {"queue": "q", "wait_ms": 0, "visibility_ms": 1}),
    ("ack", {"message_id": "1"}),
    ("nack", {"message_id": "1", "delay_ms": 0}),
]
UNFITTING: list[tuple[str, Any]] = [
    ("request", {}),
    ("request", None),
    ("request", {"method": ""}),
    ("request", {"method": 1}),
    ("request", {"method": "m", "timeout_ms": 0}),
    ("request", {"method": "m", "notify": "yes"}),
    ("request", {"method": "m", "parms": {}}),
    ("publish", {"topic": "t"}),
    ("publish", {"topic": "t", "message": 1, "qos": 3}),
    ("publish", {"topic": "t", "message": 1, "headers": {"a": 1}}),
    ("subscribe", {"topic": "t", "emit": 1}),
    ("unsubscribe", {"topic": 1}),
    ("enqueue", {"queue": "q"}),
    ("dequeue", {"queue": "q", "wait_ms": -1}),
    ("dequeue", {"queue": "q", "visibility_ms": 0}),
    ("ack", {"message_id": ""}),
    ("nack", {"message_id": "1", "delay_ms": -1}),
]


def event(payload: Any) -> Event:
    """A command as the bus reads it."""
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    return Event(id=1, event_type="x", raw=raw, timestamp=1, source=None, correlation_id=None)


def error_classes(root: type[BridgeError]) -> Iterator[type[BridgeError]]:
    """All that derive from it and belong to the bridge."""
    for one in root.__subclasses__():
        if one.__module__ == "bridge.core.errors":
            yield one
        yield from error_classes(one)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_valid(name: str):
    """Each schema is valid JSON Schema 2020-12 with its own id, a title, a description and an example that fits."""
    schema = DOCUMENTS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:nemo-bridge:v1:{name.replace('/', ':')}"
    assert schema["title"]
    assert schema["description"].endswith(".")
    assert schema["examples"]
    for example in schema["examples"]:
        check(name, example)


def test_a_schema_refers_only_to_itself():
    """References of a schema stay inside its file and resolve, and each definition is used."""

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    for name, schema in DOCUMENTS.items():
        used = {reference.removeprefix("#/$defs/") for reference in references(schema)}
        assert used == set(schema.get("$defs", {})), name


@pytest.mark.parametrize("name", NAMES)
def test_every_property_is_described(name: str):
    """Each property of a payload, and each key of the configuration, has a description."""
    for one in parts(DOCUMENTS[name]):
        for key, value in one.get("properties", {}).items():
            assert value.get("description", "").endswith("."), f"{one.get('title')}.{key}"


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all schemas within it."""
    yield value
    for key in ("properties", "$defs"):
        for inner in value.get(key, {}).values():
            yield from parts(inner)
    for key in ("items", "additionalProperties"):
        if isinstance(value.get(key), dict):
            yield from parts(value[key])
    for key in ("oneOf", "anyOf"):
        for inner in value.get(key, ()):
            yield from parts(inner)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "configuration"])
def test_what_becomes_a_type_has_a_name(name: str):
    """Objects, lists of values and alternatives have a title, so that no generator invents a name."""
    schema = DOCUMENTS[name]
    for key, definition in schema.get("$defs", {}).items():
        assert definition["title"] == key
    for part in parts(schema):
        options = [option for option in part.get("anyOf", part.get("oneOf", ())) if option != {"type": "null"}]
        if "properties" in part or "enum" in part or len(options) > 1:
            assert part.get("title"), part
        for option in options if len(options) > 1 else ():
            assert "title" in option or "$ref" in option, part


@pytest.mark.parametrize("name", NAMES)
def test_numbers_have_a_width(name: str):
    """Each integer is `int64` or, where it is never negative, `uint64`; each number is a `double`."""
    for part in parts(DOCUMENTS[name]):
        kinds = part.get("type", ())
        if "integer" in ([kinds] if isinstance(kinds, str) else kinds):
            assert part["format"] == ("uint64" if part.get("minimum", -1) >= 0 else "int64"), part
        elif "number" in ([kinds] if isinstance(kinds, str) else kinds):
            assert part["format"] == "double", part


def test_equal_names_are_equal_types():
    """A definition that several schemas have is the same in all of them."""
    seen: dict[str, Any] = {}
    for schema in DOCUMENTS.values():
        for name, definition in schema.get("$defs", {}).items():
            assert seen.setdefault(name, definition) == definition


def test_a_newer_bridge_may_say_more():
    """What the bridge emits may have properties that its schema does not know; a command may not."""
    for name, schema in DOCUMENTS.items():
        closed = {part["title"] for part in parts(schema) if part.get("additionalProperties") is False}
        assert (
            bool(closed) == (name.startswith("command/") and name != "command/bridge.ping") or name == "configuration"
        )


@pytest.mark.parametrize("code", [2**63 - 1, -(2**63)])
def test_an_error_code_has_64_bits(code: int):
    """A longer code of a remote is its digits as text, so that a reader with 64 bits and a sign has all of it."""
    assert RejectedError("no", code=code).to_wire().code == code
    assert RejectedError("no", code=code * 2).to_wire().code == str(code * 2)


@pytest.mark.parametrize(("operation", "payload"), FITTING)
def test_what_the_bridge_takes_fits_the_schema(operation: str, payload: Any):
    """A command that the bridge accepts fits its schema."""
    parse_command(operation, event(payload))
    check(f"command/{operation}", payload)


@pytest.mark.parametrize(("operation", "payload"), UNFITTING)
def test_what_the_bridge_refuses_does_not_fit(operation: str, payload: Any):
    """A command that the bridge refuses does not fit its schema."""
    with pytest.raises(InvalidError):
        parse_command(operation, event(payload))
    assert not validator(f"command/{operation}").is_valid(payload)


def test_unsubscribe_names_one_thing():
    """`unsubscribe` fits with a subscription or a topic, not with neither or both; null counts as left out."""
    unsubscribe = validator("command/unsubscribe")
    assert not unsubscribe.is_valid({})
    assert not unsubscribe.is_valid({"subscription": "a", "topic": "b"})
    assert unsubscribe.is_valid({"subscription": "a", "topic": None})


def test_the_envelope_is_what_the_codec_reads():
    """Schema and codec refuse the same events: a missing or mistyped key, but no unknown key or missing `headers`."""
    codec, good = Codec(), DOCUMENTS["event"]["examples"][0]
    frame = good["event_type"].encode()
    for bad in [
        *({key: value for key, value in good.items() if key != left} for left in good if left != "headers"),
        *(good | {key: True} for key in good if key != "payload"),
        good | {"id": -1},
        good | {"headers": {"hop": 1}},
    ]:
        assert not validator("event").is_valid(bad), bad
        with pytest.raises(Rejected):
            codec.decode(frame, msgspec.msgpack.encode(bad))
    without = {key: value for key, value in good.items() if key != "headers"}
    for fine in (good, without, good | {"more": 1}):
        check("event", fine)
        codec.decode(frame, msgspec.msgpack.encode(fine))


def test_error_kinds_are_those_of_the_errors():
    """The schema's list of error kinds is the one of the error classes."""
    assert set(get_args(ErrorKind)) == {one.kind for one in error_classes(BridgeError)}


def test_errors_fit():
    """All errors fit the schema, with and without the remote's data; one with an unknown key does not."""
    full = msgspec.to_builtins(RejectedError("no", code=-32601, data={"a": 1}).to_wire())
    for error in (*(msgspec.to_builtins(one("words").to_wire()) for one in error_classes(BridgeError)), full):
        check("response/unknown", {"ok": False, "error": error, "attempts": 0, "duration_ms": 0.0})
    throttled = msgspec.to_builtins(ThrottledError("slow", retry_after_ms=10).to_wire())
    check("response/request", {"ok": False, "error": throttled, "attempts": 1, "duration_ms": 1})
    assert not validator("response/request").is_valid(
        {"ok": False, "error": full | {"secret": 1}, "attempts": 1, "duration_ms": 1}
    )


def test_a_response_is_good_or_bad():
    """Neither a success without a result nor one with an error fits, and a command's response names no route."""
    response = validator("response/request")
    assert response.is_valid({"ok": True, "result": None, "attempts": 1, "duration_ms": 0.1})
    assert not response.is_valid({"ok": True, "attempts": 1, "duration_ms": 0.1})
    assert not response.is_valid({"ok": False, "result": 1, "attempts": 1, "duration_ms": 0.1})
    assert not response.is_valid({"ok": True, "result": 1, "attempts": 1, "duration_ms": 0.1, "route": "r"})
    assert not validator("response/route").is_valid({"ok": True, "result": 1, "attempts": 1, "duration_ms": 0.1})


def test_reasons_of_rejection_are_known():
    """Each reason of the bus fits the schema of `resilience.bus.rejected`."""
    for reason in Reason:
        check("resilience/bus.rejected", {"reason": reason.value, "count": 1})


def test_every_command_has_a_schema_and_an_answer():
    """Each operation that the router knows has a schema for its payload and one for its response."""
    names = {kind.name for kind in MESSAGE_TYPES}
    for operation in (*OPERATIONS, *CONTROLS):
        assert {f"command/{operation}", f"response/{operation}"} <= names


def test_outcomes_keep_no_more_than_the_response_says():
    """The fields of a response exist in an outcome, from which it is made."""
    told = set(DOCUMENTS["response/request"]["$defs"]["RequestSuccess"]["properties"]) - {"ok"}
    assert told <= {field.name for field in msgspec.structs.fields(Outcome)}
