"""Write what happened in a simulation as lines of text, for a person."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from bridge.core.model import Event
from bridge.core.printable import printable
from bridge.core.redaction import Redactor
from bridge.simulation.record import Attempt, Delivered, Entry, Garbage, LogLine, Said, SessionChange, Step
from bridge.simulation.texts import clock_time, json_line

#: Characters of a line, at most.
_MOST: Final = 160
#: What a health event says of the state; all else in it are figures.
_STATE: Final = ("status", "circuit", "error", "warnings", "subscriptions")
#: What each part is at the start, of which nothing needs to be said.
_AT_START: Final = ("starting", "ready", "connecting", "connected")
#: What a response says of the answer.
_ANSWER: Final = ("ok", "result", "error", "attempts")
#: What the report of a resilience event says about itself that its type says already.
_KNOWN: Final = ("integration", "operation", "cause")


class Line(msgspec.Struct, frozen=True):
    """One line of a timeline.

    Attributes:
        at_ms: The virtual time in milliseconds.
        what: `emit` (an event of a program), `event` (one of the bridge), `call`, `message`, `session`, `step` or
            `log`.
        text: What happened.
        failed: Whether it says that something has failed.
        more: How many equal lines follow, which are left out.
        last_ms: The time of the last of these.
    """

    at_ms: int
    what: str
    text: str
    failed: bool = False
    more: int = 0
    last_ms: int = 0

    def __str__(self) -> str:
        again = f"  ({self.more} more, the last at {clock_time(self.last_ms)})" if self.more else ""
        return f"{clock_time(self.at_ms):>12}  {self.what:<7}  {self.text}{again}"


def timeline(entries: Iterable[Entry], source: str, redactor: Redactor) -> list[Line]:
    """Return the lines for what happened, in order; health that has not changed is left out.

    Args:
        entries: What happened.
        source: The `source` of the bridge's own events.
        redactor: Masks the secrets.
    """
    lines: list[Line] = []
    for line in _Writer(source, redactor).lines(entries):
        last = lines[-1] if lines else None
        if last is not None and (last.what, last.text) == (line.what, line.text):
            lines[-1] = Line(last.at_ms, last.what, last.text, last.failed, last.more + 1, line.at_ms)
        else:
            lines.append(line)
    return lines


class _Writer:
    """Writes the lines of one record."""

    def __init__(self, source: str, redactor: Redactor) -> None:
        self._source = source
        self._redactor = redactor
        self._health: dict[str, str] = {}

    def lines(self, entries: Iterable[Entry]) -> Iterator[Line]:
        for entry in entries:
            line = self._line(entry)
            if line is not None:
                yield line

    def _line(self, entry: Entry) -> Line | None:
        match entry:
            case Said():
                return self._event(entry)
            case Attempt():
                return self._call(entry)
            case Delivered():
                outcome = entry.outcome or "not decided"
                again = f", delivery {entry.attempts}" if entry.attempts > 1 else ""
                text = f"{entry.remote} {entry.topic} {self._value(entry.content)} -> {outcome}{again}"
                return self._made(entry, "message", text, failed=entry.outcome in {"not acknowledged", "given up"})
            case SessionChange() if entry.what in ("lost", "refused") or (entry.what == "opened" and entry.at_ms > 0):
                why = f": {entry.why}" if entry.why else ""
                text = f"{entry.remote} {entry.what}{why}"
                return self._made(entry, "session", text, failed=entry.what != "opened")
            case Step():
                return self._made(entry, "step", entry.what)
            case Garbage():
                return self._made(entry, "event", f"no event: {entry.reason}", failed=True)
            case LogLine(level="error" | "critical"):
                return self._made(entry, "log", entry.text, failed=True)
        return None

    def _made(self, entry: Entry, what: str, text: str, *, failed: bool = False) -> Line:
        text = printable(self._redactor.text(text))
        return Line(entry.at_ms, what, text if len(text) <= _MOST else f"{text[:_MOST]} …", failed)

    def _value(self, value: Any) -> str:
        return json_line(value, self._redactor)

    def _event(self, entry: Said) -> Line | None:
        event = entry.event
        if event.source != self._source:
            return self._made(entry, "emit", f"{_name(event)} {self._value(event.payload)}")
        family = event.event_type.partition(".")[0]
        name = event.event_type if family in {"health", "resilience"} else _name(event)
        text = f"{name} {self._value(_shown(event, family))}"
        if family == "health":
            if self._health.get(event.event_type) == text:
                return None
            self._health[event.event_type] = text
            if entry.at_ms == 0 and event.payload["status"] in _AT_START:
                return None
        return self._made(entry, "event", text, failed=_is_failure(event, family))

    def _call(self, entry: Attempt) -> Line:
        asked = f"{entry.remote} {entry.operation} {entry.name} {self._value(entry.content)}"
        if entry.ended_ms is None or (entry.given_up and entry.outcome != "ok"):
            return self._made(entry, "call", f"{asked} -> no answer", failed=True)
        took = entry.ended_ms - entry.at_ms
        after = f" after {clock_time(took)}" if took else ""
        late = ", given up before" if entry.given_up else ""
        answer = self._value(entry.result) if entry.outcome == "ok" else f"error {entry.outcome}"
        return self._made(entry, "call", f"{asked} -> {answer}{after}{late}", failed=entry.outcome != "ok")


def _name(event: Event) -> str:
    """Return the type, with the correlation id where there is one."""
    return event.event_type if event.correlation_id is None else f"{event.event_type} ({event.correlation_id})"


def _shown(event: Event, family: str) -> Any:
    """Return what a line shows of a payload."""
    payload = event.payload
    if not isinstance(payload, Mapping):
        return payload
    if family == "health":
        return {key: _shortly(payload[key]) for key in _STATE if payload.get(key)}
    if family == "resilience":
        return {key: _shortly(value) for key, value in payload.items() if key not in _KNOWN and value is not None}
    if family == "response" and "ok" in payload:
        return {key: _shortly(payload[key]) for key in _ANSWER if key in payload}
    return payload


def _shortly(value: Any) -> Any:
    """Return an error of the contract as one text; any other value as it is."""
    if isinstance(value, Mapping) and {"kind", "message", "retryable"} <= value.keys():
        return f"{value['kind']}: {value['message']}"
    return value


def _is_failure(event: Event, family: str) -> bool:
    if family == "response":
        return isinstance(event.payload, Mapping) and event.payload.get("ok") is False
    return family == "resilience" and event.event_type.endswith((".failed", ".opened", ".dead_letter", ".rejected"))
