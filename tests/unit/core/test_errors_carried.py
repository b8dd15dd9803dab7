"""Show that an error always fits on the bus, whatever a remote put into it."""

import msgspec
import pytest

from bridge.core.errors import MOST_MESSAGE, RejectedError


def test_a_message_is_cut_and_made_unicode():
    """A long message is cut, and a lone surrogate, which cannot be sent, is replaced."""
    assert msgspec.to_builtins(RejectedError("x" * 5000).to_wire())["message"] == "x" * MOST_MESSAGE
    assert msgspec.to_builtins(RejectedError("a\ud800b").to_wire())["message"] == "a?b"


@pytest.mark.parametrize("data", [0, "", [], {"a": [1, None, {"b": 2.5}]}, False, "x" * 60_000])
def test_data_is_kept(data):
    """Code and data of a remote that can be sent are kept unchanged."""
    wire = msgspec.to_builtins(RejectedError("no", code=-32001, data=data).to_wire())
    assert (wire["code"], wire["data"]) == (-32001, data)


_DEEP: list[object] = []
for _ in range(20):
    _DEEP = [_DEEP]


@pytest.mark.parametrize("data", [1 << 70, [-(1 << 70)], "x" * 70_000, _DEEP, "\ud800", object()])
def test_data_that_cannot_be_carried_is_left_out(data):
    """Data that cannot be sent is left out; the rest of the error stays."""
    assert msgspec.to_builtins(RejectedError("no", code=7, data=data).to_wire()) == {
        "kind": "rejected",
        "message": "no",
        "retryable": False,
        "code": 7,
    }


def test_a_code_of_more_than_64_bits_is_text():
    """A code that no integer on the bus can carry is sent as its digits."""
    wire = msgspec.to_builtins(RejectedError("no", code=1 << 70).to_wire())
    assert wire["code"] == str(1 << 70)
