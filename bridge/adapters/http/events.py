"""Parse the bytes of a stream of server-sent events (WHATWG HTML, section 9.2.6)."""

from typing import Final

import msgspec

#: The longest id that is remembered, in bytes: a server must take it in a header of the next request.
MAX_ID: Final = 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class ServerEvent(msgspec.Struct, frozen=True):
    """One event.

    Attributes:
        kind: Its type; `message` where the server names none.
        data: Its lines of data, joined; None where it has none, so that only its id matters.
        last_id: The id of this event, or else of the last one before that had an id.
        fault: What is wrong, for a person. With `data`, that is not exactly what was sent; without, something is lost.
    """

    kind: str
    data: str | None
    last_id: str
    fault: str | None = None


class EventParser:
    """Makes events of the stream's pieces, wherever the stream was cut into pieces.

    An event over the limit is left out, and the stream goes on after it. Comments and unknown fields are ignored,
    however long. The field `retry` is ignored: when to connect again is decided in one place for all protocols.
    """

    def __init__(self, limit: int, last_id: str = "") -> None:
        """Begin at the start of a stream.

        Args:
            limit: The largest event, in bytes; more is never kept.
            last_id: The id of the last event of the stream before this one.
        """
        self.last_id = last_id
        self._limit = limit
        self._rest = bytearray()
        self._cut = False
        self._first = True
        self._after_return = False
        self._kind = ""
        self._data: list[str] = []
        self._size = 0
        self._new_id = False
        self._too_large = False
        self._not_text = False
        self._events: list[ServerEvent] = []

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Take the next piece, and return the events that it completes."""
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]  # the other half of a line end that was cut in two
            self._after_return = False
        if piece:
            self._after_return = piece.endswith(b"\r")
        if b"\n" not in piece and b"\r" not in piece:
            self._keep(piece)
            return self._taken()
        text = (bytes(self._rest) + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._rest.clear()
        *lines, rest = text.split(b"\n")
        if self._cut:  # what was left of a line that was too long
            self._cut = False
            del lines[0]
        for line in lines:
            self._line(line)
        self._keep(rest)
        return self._taken()

    def _taken(self) -> list[ServerEvent]:
        events = self._events
        if events:
            self._events = []
        return events

    def _keep(self, piece: bytes) -> None:
        """Keep the beginning of a line. Of one that is over the limit only the name of its field matters."""
        if self._cut:
            return
        self._rest += piece
        if len(self._rest) > self._limit:
            self._cut = True
            self._field(self._unmarked(bytes(self._rest[: self._limit + 1])), cut=True)
            self._rest.clear()

    def _line(self, line: bytes) -> None:
        line = self._unmarked(line)
        if line:
            self._field(line, cut=False)
        else:
            self._dispatch()

    def _unmarked(self, line: bytes) -> bytes:
        """Return a line without the byte-order mark that the first one may begin with."""
        if self._first:
            self._first = False
            return line.removeprefix(_BYTE_ORDER_MARK)
        return line

    def _field(self, line: bytes, *, cut: bool) -> None:
        """Take a field; `cut` where the line is longer than this."""
        name, _, content = line.partition(b":")
        content = content.removeprefix(b" ")
        if name == b"id":
            self._take_id(content, cut=cut)
        elif name in {b"data", b"event"} and not self._too_large:
            self._size += len(line)
            if cut or self._size > self._limit:
                self._too_large = True
                self._data.clear()
            elif name == b"data":
                self._data.append(self._text(content))
            else:
                self._kind = self._text(content)

    def _take_id(self, content: bytes, *, cut: bool) -> None:
        if cut or len(content) > MAX_ID:
            fault = f"the id of an event has more than {MAX_ID} bytes and is not remembered"
            self._events.append(ServerEvent("message", None, self.last_id, fault))
        elif b"\0" not in content:
            self.last_id = content.decode("utf-8", "replace")
            self._new_id = True

    def _text(self, content: bytes) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError:
            self._not_text = True
            return content.decode("utf-8", "replace")

    def _dispatch(self) -> None:
        kind, last_id = self._kind or "message", self.last_id
        if self._too_large:
            too_large = f"an event is larger than the limit of {self._limit} bytes"
            self._events.append(ServerEvent(kind, None, last_id, too_large))
        elif self._data:
            replaced = "the event is not UTF-8 text; what is not is replaced" if self._not_text else None
            self._events.append(ServerEvent(kind, "\n".join(self._data), last_id, replaced))
        elif self._new_id:
            self._events.append(ServerEvent(kind, None, last_id))
        self._kind, self._data, self._size = "", [], 0
        self._too_large = self._not_text = self._new_id = False
