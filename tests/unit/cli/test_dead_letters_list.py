"""What `nemo-bridge dead-letters list` makes of dead letters."""

from rich.console import Console

from bridge.cli import dead_letters


def test_a_narrow_terminal() -> None:
    """The id, which other commands take, is whole on one line, and nothing is cut off."""
    letter = {
        "letter_id": "0192f0c1d5b8-7",
        "at": 1_767_571_200_000,
        "integration": "backend_api",
        "operation": "request",
        "event": {"event_type": "order.created"},
        "error": {"kind": "rejected", "message": "there is no such article"},
        "unknown": False,
        "attempts": 3,
    }
    console = Console(width=50, color_system=None)
    with console.capture() as capture:
        console.print(dead_letters._table([letter]))
    assert "0192f0c1d5b8-7" in capture.get()
    assert "…" not in capture.get()
