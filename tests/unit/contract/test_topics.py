"""The table has all topics that the code emits, and the AsyncAPI document has those of the table."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import bridge
from bridge.contract import CHANNELS, MESSAGE_TYPES, MessageType, message_type_for
from bridge.contract.asyncapi import message_key
from bridge.core.model import BRIDGE_OPERATIONS, DEAD_LETTER_OPERATIONS
from tests.support.bus.schemas import FOLDER, validate_event

PACKAGE = Path(bridge.__file__).parent
DOCUMENT = json.loads((FOLDER / "asyncapi.json").read_text("utf-8"))
#: How a report is called where its name is not written out.
REPORTS = {"report", "_report"}


def calls(folder: str) -> Iterator[ast.Call]:
    """Yield all calls in a package."""
    for path in (PACKAGE / folder).rglob("*.py"):
        yield from (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))


def texts(path: str) -> set[str]:
    """Return all string constants in a file."""
    tree = ast.parse((PACKAGE / path).read_text("utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def references(value: Any) -> Iterator[str]:
    """Yield all `$ref`s of a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize(
    ("event_type", "name"),
    [
        ("integration.api.request", "command/request"),
        ("integration.api.circuit.reset", "command/circuit.reset"),
        ("integration.api.nonsense", None),
        ("bridge.ping", "command/bridge.ping"),
        ("response.integration.api.request", "response/request"),
        ("response.integration.api.circuit.force_open", "response/circuit.force_open"),
        ("response.integration.api.nonsense.more", "response/unknown"),
        ("response.bridge.nonsense", "response/unknown"),
        ("response.order.created", "response/route"),
        ("message.api", "message"),
        ("health.bridge", "health/bridge"),
        ("health.api", "health/integration"),
        ("resilience.bus.gap", "resilience/bus.gap"),
        ("resilience.bridge.failed", "resilience/failed"),
        ("resilience.api.circuit.half_opened", "resilience/circuit.half_opened"),
        ("resilience.api.nonsense", None),
        ("order.created", None),
        ("healthy.api", None),
        ("bridge.fleet", "command/bridge.fleet"),
        ("response.bridge.forget_node", "response/bridge.forget_node"),
        ("health.fabric.plant", "health/fabric"),
        ("health.node.desk-7", "health/node"),
        ("health.fabric.plant.more", None),
        ("resilience.fabric.plant.missed", "resilience/fabric.missed"),
        ("resilience.fabric.plant.lease", "resilience/fabric.lease"),
        ("resilience.fabric.plant.nonsense", None),
    ],
)
def test_an_event_type_finds_its_message_type(event_type: str, name: str | None):
    """An event type finds the first message type that matches; an application's own finds none."""
    kind = message_type_for(event_type)
    assert (None if kind is None else kind.name) == name


def test_every_report_in_the_code_is_in_the_table():
    """The table has exactly the reports of guard, connections, responder, bus, gateway and console."""
    reported = {
        call.args[0].value
        for package in ("resilience", "connection")
        for call in calls(package)
        if getattr(call.func, "attr", getattr(call.func, "id", None)) in REPORTS
        if isinstance(call.args[0], ast.Constant)
    }
    reported |= {text for text in texts("resilience/guard.py") if re.fullmatch(r"circuit\.\w+", text)}
    found = {f"resilience.{{integration}}.{what}" for what in reported}
    responder = texts("core/responder.py")
    found |= {"resilience.{integration}" + what for what in (".failed", ".dead_letter") if what in responder}
    found |= {text for text in texts("bus/bus.py") if re.fullmatch(r"resilience\.bus\.\w+", text)}
    for path in ("gateway.py", "observe/actions.py"):
        found |= {text for text in texts(path) if re.fullmatch(r"resilience\.bridge\.\w+", text)}
    found |= {
        re.sub(r"\{[^}]*\}", "{fabric}", text)
        for path in (PACKAGE / "fabric").rglob("*.py")
        for text in re.findall(r'"(resilience\.fabric\.[^"]*)"', path.read_text("utf-8"))
    }
    assert found == {kind.topic for kind in MESSAGE_TYPES if kind.topic.startswith("resilience.")}


def test_every_command_of_the_bridge_is_in_the_table():
    """The table has exactly the bridge's commands that the dispatcher knows, and the router lets pass."""
    tree = ast.parse((PACKAGE / "routing" / "dispatcher.py").read_text("utf-8"))
    (method,) = (node for node in ast.walk(tree) if getattr(node, "name", "") == "_bridge_command")
    compared = {
        node.comparators[0].value
        for node in ast.walk(method)
        if isinstance(node, ast.Compare) and isinstance(node.comparators[0], ast.Constant)
    }
    compared |= set(DEAD_LETTER_OPERATIONS)
    assert compared == set(BRIDGE_OPERATIONS)
    assert {f"bridge.{name}" for name in compared} == {e.topic for e in MESSAGE_TYPES if e.channel == "bridgeCommands"}


def resolve(reference: str) -> Any:
    """Return what a reference within the document leads to."""
    assert reference.startswith("#/"), reference
    found: Any = DOCUMENT
    for part in reference[2:].split("/"):
        found = found[part]
    return found


def test_the_document_stands_alone():
    """Each reference resolves within the document: nothing else must be at hand to read it."""
    assert [resolve(reference) for reference in references(DOCUMENT)]


def test_the_document_is_of_the_newest_version():
    """It is AsyncAPI 3.1, whose schemas are draft 07: no keyword of a later draft is left in them."""
    assert DOCUMENT["asyncapi"] == "3.1.0"
    text = json.dumps(DOCUMENT["components"]["schemas"])
    assert [word for word in ("$defs", "$schema", "$id", "dependentSchemas") if f'"{word}"' in text] == []
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=lambda kind: kind.name)
def test_a_message_carries_its_payload(kind: MessageType):
    """A message's schema is the envelope with the type of its payload, and takes the example of its schema file."""
    whole = resolve(DOCUMENT["components"]["messages"][message_key(kind)]["payload"]["$ref"])
    assert whole["properties"]["payload"] == {"$ref": f"#/components/schemas/{kind.type_name}"}
    file = json.loads((FOLDER / f"{kind.name}.schema.json").read_text("utf-8"))
    assert file["title"] == kind.type_name == resolve(whole["properties"]["payload"]["$ref"])["title"]
    assert set(whole["properties"]) == set(DOCUMENT["components"]["schemas"]["Event"]["properties"])
    check = jsonschema.Draft7Validator({"$ref": "#/here", "here": whole, "components": DOCUMENT["components"]})
    check.validate(envelope("x", kind.example))
    assert not check.is_valid(envelope("x", kind.example) | {"id": "1"})
    for example in whole["examples"]:
        check.validate(example)


def test_messages_of_a_channel_have_types_of_their_own():
    """No two messages of a channel have the same schema, also where their payloads are of one type."""
    for channel in DOCUMENT["channels"].values():
        messages = [resolve(message["$ref"]) for message in channel["messages"].values()]
        schemas = [message["payload"]["$ref"] for message in messages]
        assert len(set(schemas)) == len(schemas)


def test_every_schema_of_the_document_is_named_and_used():
    """A schema's title is its key, so that generated types have its name; each one is referred to."""
    schemas = DOCUMENT["components"]["schemas"]
    assert {name: schema["title"] for name, schema in schemas.items()} == {name: name for name in schemas}
    used = {reference.rpartition("/")[2] for reference in references(DOCUMENT) if "/schemas/" in reference}
    assert used == set(schemas)


def test_every_message_type_is_in_its_channel():
    """Each channel of the document has the table's messages, whose topics fit its address."""
    for channel in CHANNELS:
        beginning = channel.address.partition("{")[0]
        kinds = [kind for kind in MESSAGE_TYPES if kind.channel == channel.name]
        keys = {message_key(kind) for kind in kinds} or {"event"}
        assert set(DOCUMENT["channels"][channel.name]["messages"]) == keys
        assert all(kind.topic.startswith(beginning) for kind in kinds)
    assert {kind.channel for kind in MESSAGE_TYPES} < {channel.name for channel in CHANNELS}


def test_every_channel_has_an_operation_and_commands_a_reply():
    """The bridge receives commands and events, with a reply, and sends the rest."""
    for name, operation in DOCUMENT["operations"].items():
        assert operation["channel"] == {"$ref": f"#/channels/{name}"}
        assert ("reply" in operation) == (operation["action"] == "receive")
    assert set(DOCUMENT["operations"]) == set(DOCUMENT["channels"]) == {channel.name for channel in CHANNELS}


def test_parameters_are_those_of_the_address():
    """Each expression in an address is a parameter, and vice versa (AsyncAPI 3.0, "Channel Object")."""
    for channel in DOCUMENT["channels"].values():
        assert set(channel.get("parameters", {})) == set(re.findall(r"\{(\w+)\}", channel["address"]))


def envelope(event_type: str, payload: Any, source: str | None = "bridge") -> dict[str, Any]:
    """One event as it is seen on the bus."""
    return {
        "id": 1,
        "event_type": event_type,
        "payload": payload,
        "timestamp": 1,
        "source": source,
        "correlation_id": None,
        "headers": {"hop": "1"},
    }


@pytest.mark.parametrize(
    "bad",
    [
        envelope("health.api", {}),
        envelope("resilience.api.nonsense", {}),
        envelope("response.integration.api.request", {"ok": True}, "bridge/second"),
        envelope("integration.api.request", {}, "app"),
        envelope("order.created", {}) | {"id": "1"},
    ],
)
def test_a_bad_event_is_seen(bad: dict[str, Any]):
    """The tests' check of events fails on an event that violates the contract."""
    with pytest.raises(AssertionError):
        validate_event(bad)


def test_an_applications_events_are_its_own():
    """An application's events are not checked with the schemas of the bridge's; bad commands may be left unchecked."""
    validate_event(envelope("health.api", {}, "app"))
    validate_event(envelope("order.created", b"\x00", None))
    validate_event(envelope("integration.api.request", {}, "app"), commands=False)
