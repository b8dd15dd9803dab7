"""Shows events of the bus to the console as they come: chosen by pattern, at a limited rate, with secrets masked.

While nobody taps, nothing is done. While somebody does, an event that is not wanted costs one look-up, because the
choice is remembered by event type. Only events that are shown are decoded.
"""

import base64
import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from bridge.core.errors import InvalidError
from bridge.core.event_type import MOST_BYTES
from bridge.core.filters import AnyOf, parse_pattern
from bridge.core.model import Event
from bridge.core.ports import Clock
from bridge.core.redaction import MASK, Redactor
from bridge.core.wildcards import EVENT_TYPES, translated

#: Seconds between two frames, and events in a second, at most.
PERIOD: Final = 0.2
RATE: Final = 100
#: Seconds of a period that all taps together use to prepare what they show. The other events wait for the next one.
_WORK: Final = 0.01
#: Patterns of one tap, and characters of a correlation id.
_MOST_PATTERNS: Final = 32
_MOST_ID: Final = 1000
#: Event types whose choice is remembered; when more turn up, the memory starts anew.
_REMEMBERED: Final = 4096
#: Characters of a payload that are shown.
MOST_PAYLOAD: Final = 4096
#: Bytes of a message whose payload is shown at all, and of the messages of one tap that wait.
_DECODED: Final = 256 << 10
_MOST_WAITING: Final = 1 << 20
#: Bytes of an event as it is shown. The rest is in its headers and names.
_MOST_SHOWN: Final = 16 << 10
#: Characters of a long name in such an event.
_SHORT: Final = 300
#: The largest integer that a number of JavaScript holds exactly.
_EXACT: Final = 2**53 - 1


class WatchedBus(Protocol):
    """The part of the bus that a tap uses."""

    def watch(self, watcher: Callable[[bytes, bytes], None] | None) -> None:
        """Call `watcher` with the two frames of each message that comes, our own too; None to end that."""
        ...

    def read(self, frame: bytes, body: bytes) -> Event | None:
        """Return the event of a message; None where it is no valid event."""
        ...


class _Shown(msgspec.Struct):
    """An event as the console shows it."""

    at: int
    event_type: str
    source: str | None
    id: int | str
    correlation_id: str | None
    headers: dict[str, str]
    payload: Any
    cut: bool
    bytes: int


class _Message:
    """A message that at least one tap wants; what is shown of it is made once for all of them."""

    __slots__ = ("_made", "body", "frame", "size")

    def __init__(self, frame: bytes, body: bytes) -> None:
        self.frame = frame
        self.body = body
        self.size = len(body)
        self._made: tuple[str | None, bytes] | None = None

    def shown(self, make: Callable[[bytes, bytes], tuple[str | None, bytes]]) -> tuple[str | None, bytes]:
        """Return its correlation id, and the JSON that shows it, which is empty where it is no valid event."""
        if self._made is None:
            self._made = make(self.frame, self.body)
            self.body = b""
        return self._made


class Tap:
    """What one viewer wants to see; `TapHub.open` makes it."""

    def __init__(self, patterns: Sequence[str], correlation_id: str | None) -> None:
        """Create it.

        Args:
            patterns: Patterns of event types; none for all.
            correlation_id: Only events with this correlation id; None for any.

        Raises:
            InvalidError: A pattern or the id is not valid; the message has the reason.
        """
        if len(patterns) > _MOST_PATTERNS:
            raise InvalidError(f"{len(patterns)} patterns; there may be {_MOST_PATTERNS} at most")
        self._wanted = AnyOf(tuple(map(_filter, patterns or ("**",))))
        if correlation_id is not None and not 0 < len(correlation_id) <= _MOST_ID:
            raise InvalidError(f"a correlation id has 1 to {_MOST_ID} characters")
        self._correlation_id = correlation_id
        try:
            self._id_bytes = None if correlation_id is None else correlation_id.encode()
        except UnicodeEncodeError:
            raise InvalidError("a correlation id is valid Unicode") from None
        self._known: dict[bytes, bool] = {}
        self._waiting: deque[_Message] = deque()
        self._waiting_bytes = 0
        self._skipped = 0
        self._left = RATE
        self._has_begun = False

    def wants(self, frame: bytes, body: bytes) -> bool:
        """Return whether an event may be one to show; whether it has the correlation id shows when it is decoded."""
        wants = self._known.get(frame)
        if wants is None:
            if len(frame) > MOST_BYTES:  # no event type, and not to be kept
                return False
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            wants = self._known[frame] = self._wanted.matches(frame.decode("utf-8", "replace"))
        return wants and (self._id_bytes is None or self._id_bytes in body)

    def has_room(self, size: int) -> bool:
        """Return whether a message of this size may still be shown; count it as skipped where not."""
        if self._left > 0 and self._waiting_bytes + size <= _MOST_WAITING:
            return True
        self._skipped += 1
        return False

    def add(self, message: _Message) -> None:
        """Show a message with the next frame."""
        self._left -= 1
        self._waiting.append(message)
        self._waiting_bytes += message.size

    def take(
        self, make: Callable[[bytes, bytes], tuple[str | None, bytes]], is_over: Callable[[], bool]
    ) -> bytes | None:
        """Return the next frame, for the time since the last one; None where there is nothing to tell.

        The first one comes in any case: it tells that events are taken from now on.

        Args:
            make: Makes what is shown of a message.
            is_over: Returns whether the time for this is used up; at least one message is shown.
        """
        self._left = min(RATE, self._left + round(RATE * PERIOD))
        shown = []
        while self._waiting:
            message = self._waiting.popleft()
            self._waiting_bytes -= message.size
            correlation_id, text = message.shown(make)
            if text and self._correlation_id in (None, correlation_id):
                shown.append(text)
            if is_over():
                break
        skipped, self._skipped = self._skipped, 0
        if not shown and not skipped and self._has_begun:
            return None
        self._has_begun = True
        return b'{"type":"tap","events":[%b],"skipped":%d}' % (b",".join(shown), skipped)


class TapHub:
    """All taps of the console."""

    def __init__(self, bus: WatchedBus, redactor: Redactor, clock: Clock) -> None:
        """Create it; nothing is watched before the first `open`.

        Args:
            bus: Where events come from.
            redactor: Masks secrets in what is shown.
            clock: Limits the time that is spent.
        """
        self._bus = bus
        self._redactor = redactor
        self._clock = clock
        self._taps: list[Tap] = []
        self._envelope = msgspec.msgpack.Decoder(Event).decode

    def open(self, patterns: Sequence[str], correlation_id: str | None) -> Tap:
        """Begin to show events; see `Tap`.

        Raises:
            InvalidError: A pattern or the id is not valid; the message has the reason.
        """
        tap = Tap(patterns, correlation_id)
        if not self._taps:
            self._bus.watch(self._on_message)
        self._taps.append(tap)
        return tap

    def close(self, tap: Tap) -> None:
        """End a tap."""
        self._taps.remove(tap)
        if not self._taps:
            self._bus.watch(None)

    def take(self, tap: Tap) -> bytes | None:
        """Return a tap's next frame, each `PERIOD`; None where there is nothing to tell."""
        until = self._clock.monotonic() + _WORK / len(self._taps)
        return tap.take(self._make, lambda: self._clock.monotonic() >= until)

    def _on_message(self, frame: bytes, body: bytes) -> None:
        message = None
        for tap in self._taps:
            if tap.wants(frame, body) and tap.has_room(0 if len(body) > _DECODED else len(body)):
                if message is None:
                    message = _Message(frame, body)
                    if len(body) > _DECODED:  # not to be kept
                        message.size = 0
                        message.shown(self._make)
                tap.add(message)

    def _make(self, frame: bytes, body: bytes) -> tuple[str | None, bytes]:
        """Return the correlation id of an event, and the JSON that shows it; nothing where it is no valid event."""
        event = self._bus.read(frame, body) if len(body) <= _DECODED else self._envelope_of(frame, body)
        if event is None:
            return None, b""
        size = len(event.raw)
        payload, cut = _payload(event.payload) if len(body) <= _DECODED else (None, True)
        if isinstance(payload, str):  # the cut may have left the beginning of a secret
            payload = self._redactor.text(payload)
        shown = _Shown(
            at=event.timestamp,
            event_type=event.event_type,
            source=event.source,
            id=event.id if event.id <= _EXACT else str(event.id),
            correlation_id=event.correlation_id,
            headers=event.headers or {},
            payload=msgspec.json.encode(payload) if cut else payload,
            cut=cut,
            bytes=size,
        )
        shown.payload = msgspec.Raw(shown.payload)
        return event.correlation_id, self._masked(self._short(shown))

    def _envelope_of(self, frame: bytes, body: bytes) -> Event | None:
        """Return a large event, in most cases without a look at its payload; None where it is no event."""
        try:
            return self._envelope(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._bus.read(frame, body)

    def _short(self, shown: _Shown) -> _Shown:
        """Return an event of which long names and headers are left out, where it is too long to be shown."""
        if len(msgspec.json.encode(shown)) > _MOST_SHOWN:
            shown.headers = {"…": "the headers are too long to be shown"}
            shown.source = None if shown.source is None else shown.source[:_SHORT]
            shown.correlation_id = None if shown.correlation_id is None else shown.correlation_id[:_SHORT]
        return shown

    def _masked(self, shown: _Shown) -> bytes:
        """Return the JSON of an event without secrets.

        A secret is looked for in the whole text, which is fast, and only where there is one it is masked value by
        value. A number may be a secret, too; then nothing of the payload is shown.
        """
        text = msgspec.json.encode(shown).decode()
        if self._redactor.text(text) == text:
            return text.encode()
        values = self._redactor.value(msgspec.json.decode(text))
        text = msgspec.json.encode(values).decode()
        if self._redactor.text(text) != text:
            text = msgspec.json.encode(values | {"payload": MASK}).decode()
        return text.encode()


def _filter(pattern: str) -> Any:
    meant = translated(pattern, EVENT_TYPES)
    if meant is not None:
        raise InvalidError(f"{pattern!r} has wildcards of another language; did you mean {meant!r}?")
    try:
        return parse_pattern(pattern)
    except ValueError as error:
        raise InvalidError(str(error)) from None


# --- payloads


class _FullError(Exception):
    """There is no room for more of a payload."""


class _JsonText:
    """Writes JSON until it is too long: of a large payload only the beginning is looked at."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._room = MOST_PAYLOAD

    def _add(self, text: str) -> None:
        self.parts.append(text)
        self._room -= len(text)
        if self._room < 0:
            raise _FullError

    def value(self, value: Any) -> None:
        """Write a value of JSON's data model, or bytes.

        Integers that JavaScript does not hold exactly, and numbers that JSON does not have, are written as text.

        Raises:
            _FullError: It is too long; `parts` has the beginning.
        """
        if isinstance(value, str):
            self._text(value)
        elif value is None or isinstance(value, bool):
            self._add({None: "null", True: "true", False: "false"}[value])
        elif isinstance(value, int):
            self._add(str(value) if -_EXACT <= value <= _EXACT else f'"{value}"')
        elif isinstance(value, float):
            self._add(repr(value) if math.isfinite(value) else f'"{value}"')
        elif isinstance(value, dict):
            for number, (key, item) in enumerate(value.items()):
                self._add(", " if number else "{")
                self._text(str(key))
                self._add(": ")
                self.value(item)
            self._add("}" if value else "{}")
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value):
                self._add(", " if number else "[")
                self.value(item)
            self._add("]" if value else "[]")
        else:  # bytes
            text = base64.b64encode(value[:MOST_PAYLOAD]).decode()
            self._add(f'{{"$bytes": "{text}"}}')

    def _text(self, text: str) -> None:
        self._add(json.dumps(text[: MOST_PAYLOAD + 1], ensure_ascii=False))


def _payload(value: Any) -> tuple[Any, bool]:
    """Return a payload as JSON, and False; of a long one the beginning of that as text, and True."""
    text = _JsonText()
    try:
        text.value(value)
    except _FullError:
        return "".join(text.parts)[:MOST_PAYLOAD], True
    return "".join(text.parts).encode(), False
