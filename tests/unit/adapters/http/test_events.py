"""The event stream format (WHATWG HTML, section 9.2.6), byte by byte."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.http.events import MAX_ID, EventParser, ServerEvent

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
    ServerEvent("message", None, "8"),
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


def test_a_line_end_cut_in_two_before_an_empty_line() -> None:
    """The second half of one line end takes nothing from the empty line after it, which ends the event."""
    parser = EventParser(1000)
    found = [event for piece in (b"data: x\r", b"\n", b"\n") for event in parser.feed(piece)]
    assert found == [ServerEvent("message", "x", "")]


def test_an_id_stays_until_there_is_another() -> None:
    """The last id is kept until there is another; an empty one clears it."""
    parser = EventParser(1000, "3")
    assert parser.feed(b"data: a\n\n") == [ServerEvent("message", "a", "3")]
    assert parser.feed(b"id\ndata: b\n\n") == [ServerEvent("message", "b", "")]


def test_an_id_without_data_is_remembered() -> None:
    """An id without data moves the position on, and is no event; without its empty line it is nothing."""
    parser = EventParser(1000, "3")
    assert parser.feed(b"id: 4\n\nid: 5\n") == [ServerEvent("message", None, "4")]


def cut(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into pieces."""
    return [data[start : start + size] for start in range(0, len(data), size)]


TOO_LARGE = "an event is larger than the limit of 100 bytes"


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
@pytest.mark.parametrize(
    ("large", "lost"),
    [
        (b"data: " + b"x" * 3000, True),
        (b"data: 3456789\n" * 10, True),
        (b"event: " + b"x" * 3000, True),
        (b"event: a\ndata: 1\ndata" + b": x" * 3000 + b"\nevent: b\ndata: 2", True),
        (b": " + b"x" * 3000, False),
        (b"x" * 3000, False),
        (b"x" * 3000 + b": 1", False),
        (b"dat" + b"a" * 3000 + b": 1", False),
        (b"retry: " + b"9" * 3000, False),
    ],
    ids=["data", "lines", "type", "between", "comment", "name", "unknown", "nearly", "retry"],
)
def test_what_is_too_large_is_left_out_and_the_stream_goes_on(large: bytes, lost: bool, size: int) -> None:
    """An event over the limit is left out and told, with its id; what is ignored may have any length."""
    stream = b"id: 1\ndata: one\n\nid: 2\n" + large + b"\n\nevent: add\ndata: three\n\n"
    parser = EventParser(100)
    found = []
    for piece in cut(stream, size):
        found += parser.feed(piece)
        assert len(parser._rest) <= 100 + len(piece)
    middle = ServerEvent(found[1].kind, None, "2", TOO_LARGE if lost else None)
    assert found == [ServerEvent("message", "one", "1"), middle, ServerEvent("add", "three", "2")]


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("length", [MAX_ID + 1, 100_000])
def test_an_id_that_no_request_can_carry(length: int, size: int) -> None:
    """An id that is too long for a header is told and not remembered; its event is delivered."""
    parser = EventParser(50_000, "7")
    found = [event for piece in cut(b"id: " + b"1" * length + b"\ndata: a\n\n", size) for event in parser.feed(piece)]
    assert [(event.data, event.last_id) for event in found] == [(None, "7"), ("a", "7")]
    assert "more than 1024 bytes" in (found[0].fault or "")


def test_bytes_that_are_no_text() -> None:
    """Data that is not UTF-8 is delivered with replacements, and says so; an id is only replaced."""
    parser = EventParser(1000)
    [event] = parser.feed(b"id: \xff\ndata: a\xff\n\n")
    assert (event.data, event.last_id) == ("a\ufffd", "\ufffd")
    assert "not UTF-8" in (event.fault or "")
    assert parser.feed(b"data: a\n\n") == [ServerEvent("message", "a", "\ufffd")]


def test_the_limit_is_for_each_event() -> None:
    """The limit is for each event, not for all together."""
    parser = EventParser(100)
    found = [event for _ in range(10) for event in parser.feed(b"data: " + b"x" * 80 + b"\n\n")]
    assert [event.data for event in found] == ["x" * 80] * 10
