"""What a person writes for `emit` and `call`."""

import pytest

from bridge.cli import talk
from bridge.core.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "the payload is not JSON: Expecting property name"),
        ("lamp", r"the payload is not JSON: .*text needs quotes"),
        ("[" * 100_000 + "]" * 100_000, "the payload is nested too deeply"),
        ("1" * 5000, "the payload has an integer of more than 64 bits"),
        ('{"a": {"$bytes": 1}}', "the payload"),
        ('"\udcff"', "the payload is not UTF-8"),
    ],
)
def test_a_payload_that_cannot_be_sent(text: str, complaint: str) -> None:
    """A complaint says what is wrong with it, and no exception of Python's reaches the person."""
    with pytest.raises(InvalidError, match=complaint):
        talk.json_value(text, "the payload")


def test_a_payload_where_the_locale_has_no_utf_8() -> None:
    """Python then has each byte beyond ASCII as half of a surrogate pair; it is UTF-8 all the same."""
    assert talk.json_value('"é"'.encode().decode("ascii", "surrogateescape"), "the payload") == "é"
