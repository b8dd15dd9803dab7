"""Print events for people, in two lines each, or for programs, as one JSON object per line."""

from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from bridge.cli.terminal import json_text
from bridge.core.model import Event
from bridge.core.printable import printable
from bridge.core.values import with_text_keys

#: Colour of an event type by its first segment; others are plain.
_COLOURS: Final = {
    "response": "green",
    "message": "cyan",
    "health": "blue",
    "resilience": "yellow",
    "receipt": "magenta",
}
#: The ends of event types that say that something has failed.
_FAILURES: Final = (".opened", ".failed", ".rejected", ".dead_letter", ".given_up", ".dead_lettered", ".expired")


def _as_json(value: Any) -> str:
    """Return an event's content as JSON text, as near as JSON can express it: MessagePack has keys that JSON lacks."""
    try:
        return json_text(value)
    except TypeError:
        return json_text(with_text_keys(value))


def _time(milliseconds: int) -> str:
    """Return local time; a dash for a time stamp beyond the calendar, since anybody may write to the bus."""
    try:
        at = datetime.fromtimestamp(milliseconds / 1000).astimezone()
    except (OverflowError, OSError, ValueError):
        return f"{'-':12}"
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"


def show_event_as_json(_: Console, event: Event) -> None:
    """Print an event as one JSON object."""
    line = {
        "id": event.id,
        "event_type": event.event_type,
        "payload": event.payload,
        "timestamp": event.timestamp,
        "source": event.source,
        "correlation_id": event.correlation_id,
        "headers": event.headers,
    }
    print(_as_json(line), flush=True)


def is_failure(event: Event) -> bool:
    """Return whether an event says that something has failed."""
    family = event.event_type.partition(".")[0]
    if family == "response":
        return isinstance(event.payload, dict) and event.payload.get("ok") is False
    return family in {"resilience", "receipt"} and event.event_type.endswith(_FAILURES)


def show_event(output: Console, event: Event) -> None:
    """Print an event in two lines: time, type, source and correlation id; then its payload, shortened."""
    colour = _COLOURS.get(event.event_type.partition(".")[0], "white")
    if is_failure(event):
        colour = "red"
    line = Text(f"{_time(event.timestamp)}  ", style="dim")
    line.append(printable(event.event_type), style=f"bold {colour}")
    line.append(f"  {printable(event.source or '-')}", style="dim")
    if event.correlation_id:
        line.append(f"  ↔ {printable(event.correlation_id[:8])}", style="dim")
    output.print(line)
    body = _as_json(event.payload)
    if len(body) > 400:
        body = body[:400] + " …"
    output.print(JSONHighlighter()(Text(f"    {body}")))
