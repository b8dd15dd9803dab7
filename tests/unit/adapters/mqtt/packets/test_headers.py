"""Topics and properties of messages that are published."""

from itertools import product

import pytest

from bridge.adapters._common.content import BYTES, JSON
from bridge.adapters.mqtt.packets.headers import Outgoing, message_properties
from bridge.core.errors import InvalidError
from bridge.core.ports import Context


def test_remembered_properties_are_those_of_the_message() -> None:
    """Each combination of headers, key, content type and an empty payload has its own, however often it comes."""
    outgoing = Outgoing()
    contexts = [Context({"hop": hop}, key) for hop, key in product(("1", "2"), (None, "k"))]
    for own, context, content_type, payload in 2 * list(
        product((None, {"a": "b"}, {"hop": "9"}), contexts, (JSON, BYTES), (b"", b"1"))
    ):
        joined = context.joined(own)
        made = message_properties(joined, key=context.idempotency_key, content_type=content_type, payload=payload)
        assert outgoing.properties(own, context, content_type, payload) == made.encode()


def test_what_is_remembered_has_a_limit() -> None:
    """Whoever sends many topics and traces fills no memory."""
    outgoing = Outgoing()
    for number in range(3_000):
        outgoing.check(f"topic/{number}")
        outgoing.properties(None, Context({"traceparent": str(number)}), JSON, b"1")
    assert len(outgoing.checked) <= 1024
    assert len(outgoing._properties) <= 1024


def test_nothing_bad_is_remembered() -> None:
    """A bad topic or header is refused each time."""
    outgoing = Outgoing()
    for _ in range(2):
        with pytest.raises(InvalidError):
            outgoing.check("a/+")
        with pytest.raises(InvalidError):
            outgoing.properties(None, Context({"hop": "1\n"}), JSON, b"1")
    assert not outgoing.checked
