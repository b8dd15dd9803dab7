"""Parse the bytes of a stream of server-sent events (WHATWG HTML, section 9.2.6)."""

from dataclasses import dataclass

from bridge.core.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event.

    Attributes:
        kind: Its type; `message` where the server names none.
        data: Its lines of data, joined.
        last_id: The id of this event, or else of the last one before that had an id.
    """

    kind: str
    data: str
    last_id: str


class EventParser:
    """Makes events of the stream's pieces, wherever the stream was cut into pieces.

    The field `retry` is ignored: when to connect again is decided in one place for all protocols.
    """

    def __init__(self, limit: int, last_id: str = "") -> None:
        """Begin at the start of a stream.

        Args:
            limit: The largest event, in bytes.
            last_id: The id of the last event of the stream before this one.
        """
        self.last_id = last_id
        self._limit = limit
        self._rest = bytearray()
        self._first = True
        self._after_return = False
        self._kind = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Take the next piece, and return the events that it completes.

        Raises:
            ProtocolError: An event is larger than the limit.
        """
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]  # the other half of a line end that was cut in two
        if piece:
            self._after_return = piece.endswith(b"\r")
        if b"\n" not in piece and b"\r" not in piece:
            self._keep(piece)
            return []
        text = (bytes(self._rest) + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._rest.clear()
        *lines, rest = text.split(b"\n")
        events = [event for event in map(self._line, lines) if event is not None]
        self._keep(rest)
        return events

    def _keep(self, piece: bytes) -> None:
        self._rest += piece
        self._count(len(self._rest))

    def _count(self, more: int) -> None:
        if self._size + more > self._limit:
            raise ProtocolError(f"an event is larger than the limit of {self._limit} bytes")

    def _line(self, line: bytes) -> ServerEvent | None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._count(len(line))
            self._size += len(line)
            self._data.append(value)
        elif name == "event":
            self._count(len(line))
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._count(len(line))
            self.last_id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        kind, data = self._kind or "message", self._data
        self._kind, self._data, self._size = "", [], 0
        return ServerEvent(kind, "\n".join(data), self.last_id) if data else None
