"""What a person writes for `emit` and `call`, and how the answers of a bridge are read."""

from types import SimpleNamespace
from typing import cast

import pytest

from bridge.cli import talk
from bridge.client import BusClient
from bridge.core.errors import BusError, InvalidError, NoBusError
from bridge.core.payloads import Overview


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


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (None, "cannot be read"),
        ([1], "cannot be read"),
        ({"ok": True}, "cannot be read"),
        ({"ok": True, "result": {"at": "x"}}, "cannot be read"),
        ({"ok": False}, "cannot be read"),
        (
            {
                "ok": False,
                "error": {"kind": "unknown_integration", "message": "there is no 'a'", "retryable": False},
                "attempts": 0,
                "duration_ms": 1.0,
            },
            "there is no 'a'",
        ),
    ],
)
async def test_an_answer_that_is_none(payload: object, told: str) -> None:
    """A refusal, and whatever else a program on the bus answers, is an error with one line, never a crash."""

    class Answering:
        async def ask(self, *_: object, **__: object) -> SimpleNamespace:
            return SimpleNamespace(payload=payload)

    with pytest.raises(BusError, match=told):
        await talk.ask(cast("BusClient", Answering()), "bridge.overview", {}, Overview, 1.0)


async def test_no_answer() -> None:
    """It says how long it has waited, and ends with the exit code of this."""

    class Silent:
        async def ask(self, *_: object, **__: object) -> SimpleNamespace:
            raise TimeoutError

    with pytest.raises(NoBusError, match=r"no bridge answered within 1 s"):
        await talk.ask(cast("BusClient", Silent()), "bridge.overview", {}, Overview, 1.0)
