"""One HTTP connection that receives any bytes in any pieces."""

import asyncio
import gzip
from itertools import pairwise
from typing import Any, cast

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapters._common.http.connection import HttpConnection
from bridge.adapters._common.http.message import Response
from tests.support.clock import FakeClock

BODIES = st.binary(max_size=300)


class Wire(asyncio.Transport):
    """A transport that is connected to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self

    def fileno(self) -> int:
        return 0


async def exchange(pieces: list[bytes]) -> tuple[Response | Exception, int, bool]:
    """Return the end of one exchange, how often the connection was given back, and whether it was open until then."""
    free: list[HttpConnection] = []
    connection = HttpConnection(1000, FakeClock(), free.append, lambda _: None)
    wire = Wire()
    connection.connection_made(wire)
    waiter = connection.start(b"request")
    for piece in pieces:
        if not wire.closed:
            connection.data_received(piece)
    was_open = not wire.closed
    connection.connection_lost(None)
    error = waiter.exception()
    return (waiter.result() if error is None else cast("Exception", error)), len(free), was_open


def run(pieces: list[bytes]) -> tuple[Response | Exception, int, bool]:
    """Run `exchange` on a loop of its own, since Hypothesis calls plain functions."""
    return asyncio.run(exchange(pieces))


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return the same bytes in pieces."""
    marks = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(marks) if a < b]


def framed(body: bytes, how: str) -> bytes:
    """Return a response with this body."""
    if how == "length":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    if how == "gzip":
        packed = gzip.compress(body)
        return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    if how == "close":
        return b"HTTP/1.1 200 OK\r\n\r\n" + body
    chunks = b"".join(b"1\r\n%b\r\n" % body[n : n + 1] for n in range(len(body)))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@given(
    body=BODIES,
    how=st.sampled_from(["length", "gzip", "close", "chunked"]),
    cuts=st.lists(st.integers(min_value=0, max_value=5000), max_size=20),
)
@settings(deadline=None)
def test_pieces_do_not_matter(body: bytes, how: str, cuts: list[int]) -> None:
    """However a good response is cut into segments, it is the same response, and the connection is good again."""
    end, freed, was_open = run(split(framed(body, how), cuts))
    assert isinstance(end, Response)
    assert end.body == body
    assert freed == 1
    assert was_open


@given(st.lists(st.binary(max_size=200) | st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"\r\n", b"a: b\r\n"]), max_size=10))
@settings(deadline=None)
def test_any_bytes_end_in_a_response_or_in_a_known_error(pieces: list[bytes]) -> None:
    """Any bytes end in a response or a known error, and the connection is given back exactly once."""
    end, freed, _ = run(pieces)
    assert isinstance(end, Response | httpx.TransportError | httpx.DecodingError)
    assert freed == 1


@given(body=st.binary(min_size=1, max_size=300), how=st.sampled_from(["length", "gzip", "chunked"]), cut=st.integers(0))
@settings(deadline=None)
def test_a_response_cut_short_is_never_taken_for_whole(body: bytes, how: str, cut: int) -> None:
    """A connection that ends before the last byte of a response gives an error."""
    whole = framed(body, how)
    end, freed, _ = run([whole[: cut % len(whole)]])
    assert isinstance(end, httpx.TransportError | httpx.DecodingError)
    assert freed == 1
