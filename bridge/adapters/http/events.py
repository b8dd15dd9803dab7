"""Server-sent events as bytes: the parser of the event stream format (WHATWG HTML, section 9.2.6)."""

from dataclasses import dataclass

from bridge.core.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its type (`message` where the server names none), its data, and the last id said so far."""

    kind: str
    data: str
    last_id: str


class EventParser:
    """Makes events of the stream's pieces, wherever the pieces are cut.

    The field `retry` is read over: when to connect again is decided in one place for all protocols.
    """

    def __init__(self, limit: int, last_id: str = "") -> None:
        """`limit` is what one event may have, in bytes; `last_id` the id that the stream goes on from."""
        self.last_id = last_id
        self._limit = limit
        self._rest = bytearray()
        self._first = True
        self._after_return = False
        self._kind = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """The events that are complete with this piece.

        Raises:
            ProtocolError: An event is over the limit.
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
            raise ProtocolError(f"an event is over the limit of {self._limit} bytes")

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
