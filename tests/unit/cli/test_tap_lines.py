"""What `tap` prints of an event, whatever somebody has put onto the bus."""

import json
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bridge.cli.event_lines import is_failure, show_event, show_event_as_json
from bridge.core.model import Event

ESCAPE = "\x1b[2J"


def event(payload: Any = None, **changes: Any) -> Event:
    """An event as it comes off the bus."""
    whole: dict[str, Any] = {"id": 1, "event_type": "a.b", "timestamp": 1, "source": None, "correlation_id": None}
    return Event(raw=msgspec.Raw(msgspec.msgpack.encode(payload)), **(whole | changes))


ODD = [
    event({b"key": [{(1, 2): b"xyz"}], 3: {}}),
    event(timestamp=2**64 - 1),
    event({"clear": ESCAPE}, event_type=f"a.{ESCAPE}", source=ESCAPE, correlation_id=ESCAPE),
    event("[/bold] [red]"),
    event(list(range(1000))),
]


@pytest.mark.parametrize("odd", ODD, ids=["keys", "timestamp", "escapes", "markup", "long"])
def test_two_lines_for_people(odd: Event, capsys: pytest.CaptureFixture[str]):
    """No event breaks the listing, and none commands the terminal."""
    show_event(Console(highlight=False, soft_wrap=True), odd)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    head, body = printed.splitlines()
    assert "a." in head
    assert len(body) < 420


def test_what_is_shown(capsys: pytest.CaptureFixture[str]):
    """Keys and bytes that JSON has not, an hour that no calendar has, brackets that are no markup."""
    for one in ODD[:4]:
        show_event(Console(highlight=False, soft_wrap=True), one)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].strip() == """{"b'key'": [{"(1, 2)": {"$bytes": "eHl6"}}], "3": {}}"""
    assert lines[2].split() == ["-", "a.b", "-"]
    assert lines[7].strip() == '"[/bold] [red]"'


@pytest.mark.parametrize("odd", ODD, ids=["keys", "timestamp", "escapes", "markup", "long"])
def test_one_line_for_machines(odd: Event, capsys: pytest.CaptureFixture[str]):
    """Always one JSON object."""
    show_event_as_json(Console(), odd)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed)["timestamp"] == odd.timestamp


@pytest.mark.parametrize(
    ("event_type", "payload", "failure"),
    [
        ("response.shop.call", {"ok": True}, False),
        ("response.shop.call", {"ok": False}, True),
        ("response.shop.call", "no object", False),
        ("resilience.shop.failed", {}, True),
        ("resilience.shop.circuit.opened", {}, True),
        ("resilience.shop.retry", {}, False),
        ("receipt.shop.dead_lettered", {}, True),
        ("receipt.shop.delivered", {}, False),
        ("order.failed", {}, False),
    ],
)
def test_failures_are_red(event_type: str, payload: Any, failure: bool):
    """What says that something has failed stands out; a program's own event never does."""
    assert is_failure(event(payload, event_type=event_type)) is failure
