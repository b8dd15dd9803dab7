"""One HTTP response, and the reading of its body under a size limit."""

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
        """The first header of that name (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None


class Body:
    """Collects a body chunk by chunk and never holds more than `limit` bytes of it, decompressed."""

    __slots__ = ("_chunks", "_decoder", "_limit", "_size")

    def __init__(self, limit: int, encoding: bytes = b"identity") -> None:
        """Raises `httpx.DecodingError` where `encoding` (a Content-Encoding) is one we did not ask for."""
        self._chunks: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._decoder = _decoder(encoding.strip().lower())

    def feed(self, data: bytes) -> None:
        """Take a chunk as it came off the wire.

        Raises:
            httpx.DecodingError: It is not what its Content-Encoding says.
            httpx.RemoteProtocolError: The body is over the limit.
        """
        if self._decoder is not None:
            try:
                # One byte more than is allowed shows a bomb without ever unpacking it.
                data = self._decoder.feed(data, self._limit - self._size + 1)
            except zlib.error:
                raise httpx.DecodingError("the body does not fit its Content-Encoding") from None
        self._size += len(data)
        if self._size > self._limit:
            # The error takes this frame along in its traceback, and waits for the collector with it.
            self._chunks.clear()
            del data
            raise httpx.RemoteProtocolError(f"the body is over the limit of {self._limit} bytes")
        self._chunks.append(data)

    def finish(self) -> bytes:
        """The whole body; raises `httpx.DecodingError` where the compressed stream stops in the middle."""
        if self._decoder is not None and self._chunks and not self._decoder.complete:
            raise httpx.DecodingError("the compressed body ends too early")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class _Inflate:
    """gzip; or what goes by the name of deflate: zlib, or as some servers send it, bare (RFC 9110, 8.4.1.2)."""

    __slots__ = ("_start", "_stream")

    def __init__(self, wbits: int | None) -> None:
        """`wbits` as zlib has it; None to find out from the first two bytes."""
        self._stream = None if wbits is None else zlib.decompressobj(wbits)
        self._start = b""

    def feed(self, data: bytes, room: int) -> bytes:
        if self._stream is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return b""
            # A zlib stream says so in the low half of its first byte, and the two are a multiple of 31 (RFC 1950, 2.2).
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
    raise httpx.DecodingError(f"the body has the Content-Encoding {encoding[:40].decode('latin-1')!r}, not asked for")
