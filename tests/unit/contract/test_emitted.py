"""The running bridge emits the contract's own types: no payload is put together by hand beside them."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import bridge
from bridge.contract import MESSAGE_TYPES, MessageType
from bridge.core.payloads import Payload

PACKAGE = Path(bridge.__file__).parent
#: Functions that take a payload.
EMITTING = {"publish", "keep", "offer", "report", "_report", "_publish"}
#: Where it is no repetition that a payload is made in two places: an operation failed, and no event could be made of a
#: message from outside.
TWICE = {"Failed": {"core/responder.py", "connection/connection.py"}}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the running bridge, with its file; programs on the bus (client, cli) are not part of it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(("contract/", "cli/", "client/", "core/payloads/")):
            tree = ast.parse(path.read_text("utf-8"))
            yield from ((name, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    """The last part of the called name."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_each_payload_is_made_in_one_place():
    """Each payload type of health, resilience and receipts is created in exactly one place of the bridge."""
    models = {one.model for one in MESSAGE_TYPES if one.topic.startswith(("health.", "resilience.", "receipt."))}
    assert all(issubclass(model, Payload) for model in models)
    made = defaultdict(list)
    for name, call in calls():
        made[called(call)].append(name)
    for model in models:
        places = made[model.__name__]
        assert set(places) == TWICE.get(model.__name__, set(places[:1])), model
        assert len(places) == len(set(places)) > 0, model


def test_nothing_is_emitted_that_was_put_together_by_hand():
    """No dictionary is written where an event is emitted."""
    emitted = [(name, call) for name, call in calls() if called(call) in EMITTING]
    assert emitted
    for name, call in emitted:
        by_hand = [node for argument in call.args for node in ast.walk(argument) if isinstance(node, ast.Dict)]
        assert not by_hand, f"{name}:{call.lineno}"


@pytest.mark.parametrize("kind", [one for one in MESSAGE_TYPES if not one.is_response], ids=lambda one: one.name)
def test_the_types_are_encoded_as_the_examples(kind: MessageType) -> None:
    """Each payload type encodes to the contract's example, also where keys are left out or have another name."""
    if isinstance(kind.model, type) and issubclass(kind.model, Payload):
        encoded = msgspec.msgpack.encode(msgspec.convert(kind.example, kind.model))
        assert msgspec.msgpack.decode(encoded) == kind.example
