"""The schema of a command and the decoder that the bridge checks it with never disagree."""

from typing import Any

import msgspec
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from bridge.contract.examples import COMMANDS
from bridge.core.errors import InvalidError
from bridge.core.model import OPERATIONS, Event
from bridge.routing.router import parse_command
from tests.support.bus.schemas import validator

KEYS = sorted({field for struct in OPERATIONS.values() for field in struct.__struct_fields__} | {"unknown"})
TEXT = st.sampled_from(["", "a", "orders/new"])
# No float that is a whole number: JSON Schema takes 1.0 for an integer, and MessagePack's readers differ on that.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 2**53]),
    st.just(0.5),
    TEXT,
    st.lists(TEXT, max_size=1),
    st.dictionaries(TEXT, st.one_of(TEXT, st.integers(0, 1)), max_size=2),
)


@st.composite
def commands(draw: st.DrawFn) -> tuple[str, Any]:
    """Draw an operation, and a valid payload with some changes, or any other value."""
    operation = draw(st.sampled_from(sorted(OPERATIONS)))
    if draw(st.integers(0, 9)) == 0:
        return operation, draw(VALUES)
    payload = dict(COMMANDS[operation])
    own = st.sampled_from(OPERATIONS[operation].__struct_fields__)
    for _ in range(draw(st.integers(0, 2))):
        payload[draw(st.one_of(own, own, own, st.sampled_from(KEYS)))] = draw(VALUES)
    if draw(st.integers(0, 4)) == 0:
        payload.pop(draw(own), None)
    return operation, payload


@given(commands())
def test_schema_and_decoder_agree(command: tuple[str, Any]):
    """Schema and decoder accept the same payloads, except where `unsubscribe` must have one of two keys."""
    operation, payload = command
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    read = Event(id=1, event_type="x", raw=raw, timestamp=1, source=None, correlation_id=None)
    try:
        decoded: Any = parse_command(operation, read)
    except InvalidError:
        taken = False
    else:
        taken = operation != "unsubscribe" or (decoded.subscription is None) != (decoded.topic is None)
    note("taken" if taken else "refused")
    assert validator(f"command/{operation}").is_valid(payload) == taken
