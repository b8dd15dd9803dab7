"""Hold one HTTP response, and collect its body up to a size limit."""

import zlib
from typing import Any, Final

import httpx
import msgspec

Headers = list[tuple[bytes, bytes]]

_GZIP: Final = 16 + zlib.MAX_WBITS
_PLAIN: Final = frozenset({b"", b"identity"})
#: Bytes that are decompressed at a time after the first member of a gzip.
_SLICE: Final = 16 * 1024
#: Bytes by which a compressed body may be larger than the limit doubled, for headers of members and padding.
_MOST_OVERHEAD: Final = 64 * 1024


class Response(msgspec.Struct):
    """A complete response.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case, and values, as the server sent them.
        body: Decompressed.
        received_ms: When it came, by the bridge's clock: Unix time in milliseconds.
    """

    status: int
    headers: Headers
    body: bytes
    received_ms: int

    def header(self, name: bytes) -> str | None:
        """Return the first header of that name (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None


class Body:
    """Collects a body chunk by chunk, and decompresses it; it never holds more than `limit` bytes."""

    __slots__ = ("_chunks", "_decoder", "_encoding", "_left_out", "_limit", "_optional", "_received", "_size")

    def __init__(self, limit: int, encoding: bytes = b"identity", *, optional: bool = False) -> None:
        """Begin an empty body.

        Args:
            limit: The largest body, in bytes, decompressed.
            encoding: Its Content-Encoding.
            optional: True where the status tells enough. A body that cannot be decompressed is then left out: it is
                empty, and no error.
        """
        self._optional = optional
        self._left_out = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._received = 0
        self._limit = limit
        self._encoding = encoding.strip().lower()
        self._decoder: _Gzip | _Deflate | None = None

    def feed(self, data: bytes) -> None:
        """Add a chunk, still compressed.

        Raises:
            httpx.DecodingError: Its Content-Encoding was not asked for, or it is not compressed as that names.
            httpx.RemoteProtocolError: The body is over the limit.
        """
        if self._encoding not in _PLAIN:
            self._received += len(data)
            data = self._decompress(data)
        self._size += len(data)
        # What decompresses to nothing, such as empty gzip members, has a limit, too.
        if self._size > self._limit or self._received > 2 * self._limit + _MOST_OVERHEAD:
            # The traceback of the error keeps this frame, and its data, until the garbage collector runs.
            self._chunks.clear()
            del data
            raise httpx.RemoteProtocolError(f"the body is over the limit of {self._limit} bytes")
        self._chunks.append(data)

    def _decompress(self, data: bytes) -> bytes:
        if self._left_out:
            return b""
        try:
            if self._decoder is None:
                self._decoder = _decoder(self._encoding)
            # One byte more than is allowed shows that the body is too large, without decompressing the rest.
            return self._decoder.feed(data, self._limit - self._size + 1)
        except zlib.error:
            error = httpx.DecodingError("the body does not fit its Content-Encoding")
        except httpx.DecodingError as not_asked_for:
            error = not_asked_for
        self._leave_out(error)
        return b""

    def _leave_out(self, error: httpx.DecodingError) -> None:
        """Make the body empty if it is optional. Raises the error if it is not."""
        if not self._optional:
            raise error from None
        self._left_out = True
        self._chunks.clear()

    def finish(self) -> bytes:
        """Return the whole body. Raises `httpx.DecodingError` where the compressed stream is not complete."""
        if self._decoder is not None and not self._left_out and not self._decoder.complete:
            self._leave_out(httpx.DecodingError("the compressed body ends too early"))
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class _Gzip:
    """Decompresses gzip: one member, or several one after the other (RFC 1952, 2.2). Zeros may follow as padding."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)

    def feed(self, data: bytes, room: int) -> bytes:
        """Decompress a chunk to at most `room` bytes, of which there is at least one. Raises `zlib.error`."""
        if not self._stream.eof:
            piece = self._stream.decompress(data, room)
            data = self._stream.unused_data
            if not data:
                return piece
            pieces, room = [piece], room - len(piece)
        else:
            pieces = []
        # zlib copies what follows a member. With many small members in small slices that is little.
        rest = data.lstrip(b"\0")
        while rest and room > 0:
            taken, rest = rest[:_SLICE], rest[_SLICE:]
            while taken and room > 0:
                if self._stream.eof:
                    self._stream = zlib.decompressobj(_GZIP)
                pieces.append(self._stream.decompress(taken, room))
                room -= len(pieces[-1])
                taken = self._stream.unused_data.lstrip(b"\0")
        return b"".join(pieces)

    @property
    def complete(self) -> bool:
        """Return whether a member has ended and no other has begun."""
        return self._stream.eof


class _Deflate:
    """Decompresses deflate: that is zlib or, as some servers send it, bare (RFC 9110, 8.4.1.2)."""

    __slots__ = ("_start", "_stream")

    def __init__(self) -> None:
        self._stream: Any = None
        self._start = b""

    def feed(self, data: bytes, room: int) -> bytes:
        """Decompress a chunk to at most `room` bytes. Raises `zlib.error`."""
        if self._stream is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return b""
            # A zlib stream has 8 in the low half of its first byte; its first two are a multiple of 31 (RFC 1950, 2.2).
            is_zlib = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        elif self._stream.eof and data:
            raise zlib.error("more after the end of the stream")
        piece: bytes = self._stream.decompress(data, room)
        if self._stream.unused_data:
            raise zlib.error("more after the end of the stream")
        return piece

    @property
    def complete(self) -> bool:
        """Return whether the stream has ended."""
        return self._stream is not None and bool(self._stream.eof)


def _decoder(encoding: bytes) -> _Gzip | _Deflate:
    match encoding:
        case b"gzip" | b"x-gzip":
            return _Gzip()
        case b"deflate":
            return _Deflate()
    raise httpx.DecodingError(
        f"the body has the Content-Encoding {encoding[:40].decode('latin-1')!r}, which was not asked for"
    )
