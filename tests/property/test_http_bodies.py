"""Whatever a server sends as body, headers or stream of events becomes what it means, or one of our errors."""

import gzip
import zlib
from itertools import pairwise
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters._common.content import Codec
from bridge.adapters._common.http.message import Body, Response
from bridge.adapters.http.events import EventParser
from bridge.adapters.http.response import body_of, check_status, headers_of
from bridge.adapters.jsonrpc.wire import check_accepted, read_batch_response, read_response
from bridge.core.errors import BridgeError

LIMIT = 2000


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def deflated(text: bytes, wbits: int) -> bytes:
    """Compress bytes."""
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(text) + packer.flush()


PACKED = {
    b"identity": b"".join,
    b"gzip": lambda members: b"".join(map(gzip.compress, members)),
    b"deflate": lambda members: deflated(b"".join(members), zlib.MAX_WBITS),
    b" DEFLATE": lambda members: deflated(b"".join(members), -zlib.MAX_WBITS),
}


@given(
    encoding=st.sampled_from(sorted(PACKED)),
    members=st.lists(st.binary(max_size=600) | st.integers(0, 3000).map(bytes), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 5000), max_size=6),
    end=st.none() | st.integers(0, 5000),
    more=st.binary(max_size=4),
)
def test_the_body_that_was_sent_or_an_error(
    encoding: bytes, members: list[bytes], cuts: list[int], end: int | None, more: bytes
) -> None:
    """A body comes whole, or is an error: never a part of it, wherever it is cut off and whatever follows."""
    sent = PACKED[encoding](members)
    received = sent + more if end is None else sent[: end % len(sent) if sent else 0]
    body = Body(LIMIT, encoding)
    try:
        for piece in pieces(received, cuts):
            body.feed(piece)
        found = body.finish()
    except (httpx.DecodingError, httpx.RemoteProtocolError):
        assert received != sent or len(b"".join(members)) > LIMIT
        return
    whole = b"".join(members)
    if encoding == b"identity":
        assert found == received
    elif found != whole:
        # Only what is itself a whole body: nothing at all, or the first members of several.
        starts = [b"".join(members[:n]) for n in range(len(members))]
        assert encoding == b"gzip" or not received
        assert found in starts


TEXTS = (
    "Mon, | 31 | Feb | 2024 | 99999999999 | 23:59:60 | GMT | +99999999999999 | -1 | 0 | 17 | \xb2 | \xff | utf-8 |"
    ' charset= | utf-16 | " | ; | application/json | text/plain | gzip | chunked | */* | W/'
)
WORDS = st.lists(st.sampled_from(TEXTS.split(" | ")), max_size=7)
DATES = st.builds(
    "Mon, {} Jan {} {} {}".format,
    st.sampled_from(["01", "31", "99", "\xb2"]),
    st.sampled_from(["2024", "0000", "9999", "99999999999"]),
    st.sampled_from(["00:00:00", "23:59:60", "99:99:99"]),
    st.sampled_from(["GMT", "-0000", "+2359", "+9999", "+99999999999999"]),
).map(lambda date: date.encode("latin-1"))
VALUES = DATES | st.builds(
    lambda words, glue: glue.join(words).encode("latin-1"), WORDS, st.sampled_from([" ", "", ":"])
)
NAMES = st.sampled_from(
    [b"retry-after", b"date", b"content-type", b"location", b"etag", b"nemo-hop", b"x-\xff", b"vary"]
)
BODIES = st.binary(max_size=40) | st.sampled_from(
    [
        b"\xef\xbb\xbf[1]",
        b'{"jsonrpc":"2.0","id":1.0,"result":1,"error":null}',
        b'{"error":{"code":1e308,"message":""}}',
    ]
)


@given(
    status=st.sampled_from([503, 429, 408, 200, 204, 304, 308, 401, 403, 421, 500, 999, 0]),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=4),
    body=BODIES,
    codec=st.sampled_from(["auto", "json", "text", "msgpack", "bytes"]),
)
def test_every_answer_is_a_value_or_one_of_our_errors(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, codec: Any
) -> None:
    """Nothing in the headers or the body of a response raises anything but a BridgeError."""
    response = Response(status, headers, body, 1_700_000_000_000)
    for read in (
        lambda: check_status(response, Codec(codec)),
        lambda: headers_of(response),
        lambda: body_of(response, Codec(codec)),
        lambda: read_response(response, 1),
        lambda: check_accepted(response),
        lambda: read_batch_response(response, [1, 2]),
    ):
        try:
            read()
        except BridgeError as error:
            error.to_wire()


LINES = st.lists(
    st.sampled_from(
        [b"data: a", b"data:", b"data", b"id: 1", b"id", b"event: b", b": c", b"", b"", b"retry: 1", b"x: y"]
    )
    | st.binary(max_size=8).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b""))
    | st.integers(1, 60).map(lambda size: b"data: " + b"x" * size)
    | st.integers(1, 60).map(lambda size: b"x" * size),
    max_size=12,
)


@given(lines=LINES, end=st.sampled_from([b"\n", b"\r\n", b"\r"]), cuts=st.lists(st.integers(0, 500), max_size=8))
def test_events_wherever_the_stream_is_cut(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    """The events do not depend on the pieces; those over the limit are told, and all others come."""
    stream = b"".join(line + end for line in lines)
    whole, cut = EventParser(30), EventParser(30)
    expected = whole.feed(stream)
    assert [event for piece in pieces(stream, cuts) for event in cut.feed(piece)] == expected
    unlimited = EventParser(10_000).feed(stream)
    delivered_or_told = [event for event in expected if event.data is not None or event.fault is not None]
    assert len(delivered_or_told) == len([event for event in unlimited if event.data is not None])
