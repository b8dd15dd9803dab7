"""Hold one HTTP response, and collect its body up to a size limit."""

import zlib
from dataclasses import dataclass
from typing import Final

import httpx

Headers = list[tuple[bytes, bytes]]

_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(slots=True)
class Response:
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

    __slots__ = ("_chunks", "_decoder", "_limit", "_size")

    def __init__(self, limit: int, encoding: bytes = b"identity") -> None:
        """Begin an empty body.

        Args:
            limit: The largest body, in bytes, decompressed.
            encoding: Its Content-Encoding.

        Raises:
            httpx.DecodingError: The encoding is one that was not asked for.
        """
        self._chunks: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._decoder = _decoder(encoding.strip().lower())

    def feed(self, data: bytes) -> None:
        """Add a chunk, still compressed.

        Raises:
            httpx.DecodingError: It is not compressed as its Content-Encoding names.
            httpx.RemoteProtocolError: The body is over the limit.
        """
        if self._decoder is not None:
            try:
                # One byte more than is allowed shows that the body is too large, without decompressing the rest.
                data = self._decoder.feed(data, self._limit - self._size + 1)
            except zlib.error:
                raise httpx.DecodingError("the body does not fit its Content-Encoding") from None
        self._size += len(data)
        if self._size > self._limit:
            # The traceback of the error keeps this frame, and its data, until the garbage collector runs.
            self._chunks.clear()
            del data
            raise httpx.RemoteProtocolError(f"the body is over the limit of {self._limit} bytes")
        self._chunks.append(data)

    def finish(self) -> bytes:
        """Return the whole body. Raises `httpx.DecodingError` where the compressed stream is not complete."""
        if self._decoder is not None and self._chunks and not self._decoder.complete:
            raise httpx.DecodingError("the compressed body ends too early")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class _Inflate:
    """Decompresses gzip, or deflate: that is zlib or, as some servers send it, bare (RFC 9110, 8.4.1.2)."""

    __slots__ = ("_start", "_stream")

    def __init__(self, wbits: int | None) -> None:
        """Begin a stream; `wbits` is as for `zlib.decompressobj`, None to find it out from the first two bytes."""
        self._stream = None if wbits is None else zlib.decompressobj(wbits)
        self._start = b""

    def feed(self, data: bytes, room: int) -> bytes:
        if self._stream is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return b""
            # A zlib stream has 8 in the low half of its first byte; its first two are a multiple of 31 (RFC 1950, 2.2).
            is_zlib = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        return self._stream.decompress(data, room)

    @property
    def complete(self) -> bool:
        return self._stream is not None and self._stream.eof


def _decoder(encoding: bytes) -> _Inflate | None:
    match encoding:
        case b"identity" | b"":
            return None
        case b"gzip" | b"x-gzip":
            return _Inflate(_GZIP)
        case b"deflate":
            return _Inflate(None)
    raise httpx.DecodingError(
        f"the body has the Content-Encoding {encoding[:40].decode('latin-1')!r}, which was not asked for"
    )
