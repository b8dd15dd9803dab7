"""The event stream format (WHATWG HTML, section 9.2.6), byte by byte."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.http.events import EventParser, ServerEvent
from bridge.core.errors import ProtocolError

STREAM = (
    b"\xef\xbb\xbf: a comment\n"
    b"data: one\n\n"
    b"event: add\r\ndata:two\r\ndata:  lines\r\nid: 7\r\n\r\n"
    b"data\rretry: 10\rwhatever: x\r\r"
    b"id: 8\n\n"
    b"event: nothing\n\n"
    b'id: bad\0id\ndata: {"a": "\xc3\xa4"}\n\n'
    b"data: never finished\n"
)
EVENTS = [
    ServerEvent("message", "one", ""),
    ServerEvent("add", "two\n lines", "7"),
    ServerEvent("message", "", "7"),
    ServerEvent("message", '{"a": "ä"}', "8"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_it_does_not_matter_where_the_pieces_are_cut(cuts: list[int]) -> None:
    """The events are the same for every line end, and wherever the stream is cut in two."""
    parser, places = EventParser(1000), [0, *sorted(cuts), len(STREAM)]
    found = [event for start, end in itertools.pairwise(places) for event in parser.feed(STREAM[start:end])]
    assert found == EVENTS


def test_byte_by_byte() -> None:
    """The events are the same when the stream comes byte by byte."""
    parser = EventParser(1000)
    assert [event for byte in STREAM for event in parser.feed(bytes([byte]))] == EVENTS


def test_an_id_stays_until_there_is_another() -> None:
    """The last id is kept until there is another; an empty one clears it."""
    parser = EventParser(1000, "3")
    assert parser.feed(b"data: a\n\n") == [ServerEvent("message", "a", "3")]
    assert parser.feed(b"id\ndata: b\n\n") == [ServerEvent("message", "b", "")]


@pytest.mark.parametrize(
    "pieces",
    [[b"data: " + b"x" * 200], [b"data: 3456789\n"] * 10, [b"x" * 60, b"x" * 60], [b"event: " + b"x" * 200 + b"\n"]],
)
def test_no_event_grows_without_end(pieces: list[bytes]) -> None:
    """An event over the limit is an error, in one line or in many, in one piece or in several."""
    parser = EventParser(100)
    with pytest.raises(ProtocolError, match="100 bytes"):
        [parser.feed(piece) for piece in pieces]


def test_the_limit_is_for_each_event() -> None:
    """The limit is for each event, not for all together."""
    parser = EventParser(100)
    assert sum(len(parser.feed(b"data: " + b"x" * 80 + b"\n\n")) for _ in range(10)) == 10
