"""What the demo prints."""

import io

import msgspec
import pytest
from rich.console import Console

from bridge.cli.demo_screen import Screen, describe
from bridge.core.model import Event


def event(event_type, payload, source="bridge"):
    """An event of the bridge, noon UTC of some day."""
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    return Event(id=1, event_type=event_type, raw=raw, timestamp=1_790_000_000_123, source=source, correlation_id=None)


def health(status, circuit="closed"):
    """A payload of `health.shop`, as far as it is shown."""
    return {"status": status, "circuit": circuit}


def shown(width=80, encoding="utf-8"):
    """A screen, and a function that gives what stands on it."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    screen = Screen(Console(file=file, width=width, highlight=False))
    return screen, lambda: file.buffer.getvalue().decode(encoding)


ERROR = {"kind": "not_connected", "message": "refused", "retryable": True}
OPEN = {"kind": "circuit_open", "message": "open", "retryable": False}


@pytest.mark.parametrize(
    ("event_type", "payload", "words"),
    [
        ("order.created", {"id": 7, "total": 12.5}, "id 7, total 12.5"),
        ("system.shutdown", None, ""),
        ("response.order.created", {"ok": True, "attempts": 1, "duration_ms": 1.25}, "ok, 1.2 ms"),
        ("response.order.created", {"ok": True, "attempts": 2, "duration_ms": 300.0}, "ok, 300.0 ms, tries: 2"),
        ("response.order.created", {"ok": False, "error": ERROR, "duration_ms": 310.4}, "not_connected, 310 ms"),
        ("response.order.created", {"ok": False, "error": OPEN, "duration_ms": 0.08}, "circuit_open, 0.08 ms"),
        ("health.shop", health("degraded", "open"), "degraded, circuit open"),
        ("health.bridge", {"status": "ready"}, "ready"),
        (
            "resilience.shop.retry",
            {"attempt": 1, "max_attempts": 3, "delay_ms": 53.4},
            "try 1 of 3, next in 53 ms",
        ),
        ("resilience.shop.failed", {"attempts": 3, "error": ERROR}, "not_connected, tries: 3"),
        ("resilience.shop.circuit.opened", {"failures": 5}, "after 5 failures in a row"),
        ("resilience.shop.circuit.closed", {"from": "half_open"}, "from half_open"),
        ("resilience.shop.shed", {"reason": "circuit_open", "count": 2}, "circuit_open, 2 rejected"),
    ],
)
def test_tells_the_fields_that_matter(event_type, payload, words):
    """Each kind of event is told in a few words, which fit beside the longest type on 80 columns."""
    assert describe(event(event_type, payload))[0] == words
    assert len(words) <= 28


def test_health_is_shown_when_it_changes():
    """A heartbeat without a change makes no line; another status or circuit does."""
    screen, text = shown()
    for payload in (health("connected"), health("connected"), health("connected", "open"), health("connected")):
        screen.event(event("health.shop", payload))
    assert text().count("health.shop") == 3


@pytest.mark.parametrize(("asked", "got"), [(20, 80), (90, 90), (200, 100)])
def test_width_has_bounds(asked, got):
    """Lines are readable on very narrow and very wide terminals."""
    screen, text = shown(asked)
    screen.title("Title", "Explanation")
    assert max(len(line) for line in text().splitlines()) == got


def test_works_on_a_terminal_without_unicode():
    """Only ASCII goes to an ASCII terminal."""
    screen, text = shown(encoding="ascii")
    screen.opening()
    screen.title("Title")
    screen.act("does something")
    screen.event(event("order.created", {"id": 1}, source="app"))
    screen.event(event("health.shop", health("connected")))
    screen.summary([("1.0 ms", "for something")])
    assert "> order.created" in text()
    assert "< health.shop" in text()
    assert "* does something" in text()


def test_no_colours_where_none_are_wanted(monkeypatch):
    """NO_COLOR is heeded on a terminal, too."""
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    Screen(Console(file=file, force_terminal=True, highlight=False)).event(event("order.created", {"id": 1}))
    assert "order.created" in file.getvalue()
    assert "\x1b[3" not in file.getvalue()
