"""Stream entries and message ids of the Redis adapter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.names import is_pattern
from bridge.adapters.redis.streams.entries import decode_fields, encode_headers, message_id, parse_message_id
from bridge.adapters.redis.streams.groups import parse_read
from bridge.core.errors import InvalidError, ProtocolError

ENTRIES = st.builds("{}-{}".format, st.integers(0, 2**63), st.integers(0, 2**63))
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)
GROUPS = st.none() | NAMES.filter(lambda text: "/" not in text)


@given(ENTRIES, NAMES, GROUPS)
def test_a_message_id_says_all_that_settling_needs(entry, queue, group):
    """Entry, stream and group come back, whatever the names hold."""
    assert parse_message_id(message_id(entry, queue, group)) == (entry, group, queue)


@pytest.mark.parametrize("text", ["", "1", "1-0", "1-0/", "x/queue", "/queue", "1-0@/queue", "-/q", "1-0/a\0"])
def test_what_is_no_message_id(text):
    """Nothing is guessed."""
    with pytest.raises(InvalidError):
        parse_message_id(text)


def test_an_entry_of_ours():
    """Its data by codec, its headers beside it, in any order."""
    fields = [b"headers", encode_headers({"hop": "1"}), b"data", b'{"n":1}']
    assert decode_fields(fields, Codec()) == ({"n": 1}, {"hop": "1"})
    assert decode_fields([b"data", b"text"], Codec()) == ("text", {})


def test_an_entry_of_others_is_a_map():
    """Also where one of its fields happens to be called data."""
    fields = [b"data", b"1", b"unit", b"kg", b"\xff", b"\xff"]
    assert decode_fields(fields, Codec()) == ({"data": 1, "unit": "kg", "\\xff": b"\xff"}, {})


@pytest.mark.parametrize("headers", [b"", b"[]", b'{"hop":1}', b"\xff", b"no json"])
def test_headers_that_are_not_ours_are_kept_as_text(headers):
    """They harm nothing, and nothing of them is lost."""
    message, found = decode_fields([b"data", b"1", b"headers", headers], Codec())
    assert message == 1
    assert found["headers"].encode() == headers.replace(b"\xff", b"\\xff")
    assert "not a JSON object" in found["codec_error"]


def test_content_that_is_not_what_the_codec_says():
    """It comes as bytes, with a header that says why; of other fields than ours, only the one that cannot be read."""
    message, headers = decode_fields([b"headers", b'{"a":"b"}', b"data", b"{"], Codec("json"))
    assert (message, headers["a"]) == (b"{", "b")
    assert "JSON" in headers["codec_error"]
    message, headers = decode_fields([b"good", b"1", b"bad", b"{"], Codec("json"))
    assert message == {"good": 1, "bad": b"{"}
    assert headers["codec_error"].startswith("bad: ")


@pytest.mark.parametrize(
    ("topic", "pattern"),
    [("news", False), ("news.*", True), ("h?llo", True), ("h[ae]llo", True), (r"h\*llo", True), ("a:b/c-d", False)],
)
def test_which_topics_are_patterns(topic, pattern):
    """What Redis matches specially, and nothing else."""
    assert is_pattern(topic) is pattern


@pytest.mark.parametrize("fields", [5, {b"a": b"b"}, [None, b"1"], [b"data", None], [b"data", []], [b"odd"], [b"a", 1]])
def test_an_entry_that_is_none(fields):
    """Whatever a server sends as the fields of an entry is read, or is a ProtocolError."""
    with pytest.raises(ProtocolError):
        decode_fields(fields, Codec("bytes"))


@pytest.mark.parametrize("reply", [5, True, 1.5, b"OK", [5], [[b"q", 5]], [[b"q", [[1, []]]]], {b"q": [[]]}, {b"q": 1}])
def test_a_reply_without_entries(reply):
    """Another shape than that of Redis' replies is a ProtocolError, too."""
    with pytest.raises(ProtocolError, match=r"XREADGROUP|XCLAIM"):
        parse_read(reply)
