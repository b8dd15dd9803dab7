"""Bodies of responses: each compression that a request asks for, and the size limit."""

import gzip
import zlib

import httpx
import pytest

from bridge.adapters._common.http.message import Body

TEXT = b'{"jsonrpc": "2.0"}' * 50
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
PACKED = {
    b"": TEXT,
    b"identity": TEXT,
    b"gzip": gzip.compress(TEXT),
    b"GZip": b"".join(gzip.compress(part) for part in (TEXT[:7], b"", TEXT[7:500], TEXT[500:])) + bytes(20),
    b"X-Gzip": gzip.compress(TEXT),
    b"deflate": zlib.compress(TEXT),
    b" Deflate ": RAW.compress(TEXT) + RAW.flush(),
}


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_unpacks_whatever_the_chunks(encoding: bytes, chunk: int) -> None:
    """Each Content-Encoding that a request names is decompressed, in chunks of any size."""
    body, packed = Body(len(TEXT), encoding), PACKED[encoding]
    for start in range(0, len(packed), chunk):
        body.feed(packed[start : start + chunk])
    assert body.finish() == TEXT


@pytest.mark.parametrize("encoding", PACKED)
def test_one_byte_over_the_limit_is_too_much(encoding: bytes) -> None:
    """The limit counts decompressed bytes."""
    with pytest.raises(httpx.RemoteProtocolError, match="over the limit"):
        Body(len(TEXT) - 1, encoding).feed(PACKED[encoding])


def test_a_bomb_is_never_unpacked() -> None:
    """50 kB that would become 50 MB are decompressed up to the limit only."""
    bomb = gzip.compress(bytes(50_000_000))
    body = Body(1000, b"gzip")
    with pytest.raises(httpx.RemoteProtocolError):
        body.feed(bomb)
    assert sum(map(len, body._chunks)) <= 1000


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
@pytest.mark.parametrize("packed", [b"this is not packed", None])
def test_a_broken_stream_is_an_error(encoding: bytes, packed: bytes | None) -> None:
    """Bytes that are not gzip, and a stream that is not complete, are errors."""
    with pytest.raises(httpx.DecodingError):  # noqa: PT012  # either step may notice
        body = Body(10_000, encoding)
        body.feed(PACKED[encoding][:-5] if packed is None else packed)
        body.finish()


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip"])
def test_what_was_not_asked_for_is_an_error(encoding: bytes) -> None:
    """A Content-Encoding that no request names is an error."""
    with pytest.raises(httpx.DecodingError):
        Body(10, encoding).feed(b"x")
    body = Body(10, encoding, optional=True)
    body.feed(b"x")
    body.feed(b"y" * 10)
    assert body.finish() == b""


@pytest.mark.parametrize("encoding", [b"br", b"gzip", b"deflate"])
def test_no_body_needs_no_encoding(encoding: bytes) -> None:
    """A response without a body may name any encoding, as those to HEAD do."""
    assert Body(10, encoding).finish() == b""


def _behind(packed: bytes, more: bytes) -> list[list[bytes]]:
    return [[packed + more], [packed, more], [packed, *(more[n : n + 1] for n in range(len(more)))]]


@pytest.mark.parametrize(
    ("encoding", "chunks"),
    [
        *((b"gzip", chunks) for chunks in _behind(PACKED[b"gzip"], b"more than there should be")),
        *((b"gzip", chunks) for chunks in _behind(PACKED[b"gzip"], PACKED[b"gzip"][:-3])),
        *((b"gzip", chunks) for chunks in _behind(PACKED[b"gzip"], b"\x1f")),
        *((b"deflate", chunks) for chunks in _behind(PACKED[b"deflate"], b"x")),
        *((b"deflate", chunks) for chunks in _behind(PACKED[b" Deflate "], b"xyz")),
        *((b"deflate", chunks) for chunks in _behind(PACKED[b"deflate"], PACKED[b"deflate"])),
    ],
)
@pytest.mark.parametrize("optional", [False, True])
def test_what_is_behind_the_end_is_an_error(encoding: bytes, chunks: list[bytes], optional: bool) -> None:
    """Bytes behind the end of what is compressed, and a member that is cut off, are an error, not half a body."""
    body = Body(1 << 20, encoding, optional=optional)
    if optional:
        for chunk in chunks:
            body.feed(chunk)
        assert body.finish() == b""
        return
    with pytest.raises(httpx.DecodingError):  # noqa: PT012  # either step may notice
        for chunk in chunks:
            body.feed(chunk)
        body.finish()


def test_members_that_hold_nothing_have_a_limit() -> None:
    """A gzip of empty members never grows, so what is received is limited, too; reading them is not slow."""
    empty, body, fed = gzip.compress(b"") * 5000, Body(1000, b"gzip"), 0
    with pytest.raises(httpx.RemoteProtocolError, match="over the limit"):  # noqa: PT012
        while True:
            body.feed(empty)
            fed += 1
    assert fed == 0


def test_a_bomb_behind_a_member_is_never_unpacked() -> None:
    """The limit holds over all members together."""
    body = Body(1000, b"gzip")
    with pytest.raises(httpx.RemoteProtocolError, match="over the limit"):
        body.feed(gzip.compress(bytes(999)) + gzip.compress(bytes(50_000_000)))
    assert sum(map(len, body._chunks)) <= 1000


def test_an_empty_packed_body_is_empty() -> None:
    """A response without a body may name a Content-Encoding."""
    assert Body(10, b"gzip").finish() == b""


def test_what_was_unpacked_does_not_outlive_the_error():
    """The error of a body over the limit does not keep the body in memory."""
    body = Body(1 << 20, b"gzip")
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        body.feed(gzip.compress(bytes(8 << 20)))
    assert body._chunks == []
    trace = caught.value.__traceback__
    while trace is not None:
        values = trace.tb_frame.f_locals.values()
        if trace.tb_frame.f_code is Body.feed.__code__:
            assert not [value for value in values if isinstance(value, bytes) and len(value) > 1 << 19]
        trace = trace.tb_next
