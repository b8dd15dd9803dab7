"""One HTTP response, and the reading of its body under a size limit."""

import zlib
from dataclasses import dataclass
from typing import Final

import httpx

Headers = list[tuple[bytes, bytes]]

_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(slots=True)
class Response:
    """A complete response. Header names are in lower case; `body` is decompressed, in bytes."""

    status: int
    headers: Headers
    body: bytes

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
            raise httpx.RemoteProtocolError(f"the body is over the limit of {self._limit} bytes")
        self._chunks.append(data)

    def finish(self) -> bytes:
        """The whole body; raises `httpx.DecodingError` where the compressed stream stops in the middle."""
        if self._decoder is not None and self._chunks and not self._decoder.complete:
            raise httpx.DecodingError("the compressed body ends too early")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class _Inflate:
    """gzip, zlib, or the raw deflate that some servers send under the name of deflate (RFC 9110, 8.4.1.2)."""

    __slots__ = ("_may_be_raw", "_stream")

    def __init__(self, wbits: int, *, may_be_raw: bool = False) -> None:
        self._stream = zlib.decompressobj(wbits)
        self._may_be_raw = may_be_raw

    def feed(self, data: bytes, room: int) -> bytes:
        may_be_raw, self._may_be_raw = self._may_be_raw, False
        try:
            return self._stream.decompress(data, room)
        except zlib.error:
            if not may_be_raw:
                raise
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        return self._stream.decompress(data, room)

    @property
    def complete(self) -> bool:
        return self._stream.eof


def _decoder(encoding: bytes) -> _Inflate | None:
    match encoding:
        case b"identity" | b"":
            return None
        case b"gzip" | b"x-gzip":
            return _Inflate(_GZIP)
        case b"deflate":
            return _Inflate(zlib.MAX_WBITS, may_be_raw=True)
    raise httpx.DecodingError(f"the body has the Content-Encoding {encoding[:40].decode('latin-1')!r}, not asked for")
