"""Subjects and headers are checked before they are sent."""

import pytest

from bridge.adapters.nats.subjects import check_subject, header_block, outgoing_headers
from bridge.core.errors import InvalidError
from bridge.core.ports import NO_CONTEXT, Context


@pytest.mark.parametrize(
    "subject",
    [
        *("", "a b", "a..b", ".a", "a.", "a\r\nPUB x 0", "a\0b", "*", "a.*", "a.>", "\ud800", "x" * 3000),
        *("$JS.API.STREAM.DELETE.x", "$SYS.REQ.SERVER.PING", "_INBOX.x"),
    ],
)
def test_what_is_no_subject_to_publish_to(subject: str) -> None:
    """Above all nothing that would end the line, or the connection."""
    with pytest.raises(InvalidError, match="topic"):
        check_subject(subject, "topic")


@pytest.mark.parametrize("subject", ["a", "a.b", "$KV.bucket.key", "ä.ö", "a*b"])
def test_subjects_to_publish_to(subject: str) -> None:
    """They come back as they are."""
    assert check_subject(subject, "topic") == subject


@pytest.mark.parametrize(
    ("subject", "good"), [("a.*", True), (">", True), ("a.>", True), ("a.>.b", False), ("a*", False)]
)
def test_subjects_to_subscribe_to(subject: str, good: bool) -> None:
    """Wildcards are whole parts, `>` the last."""
    if good:
        assert check_subject(subject, "topic", wildcards=True) == subject
    else:
        with pytest.raises(InvalidError):
            check_subject(subject, "topic", wildcards=True)


def test_headers_are_joined() -> None:
    """The context's win, the key becomes JetStream's, the content's type is the caller's if he names one."""
    context = Context({"hop": "1"}, idempotency_key="k")
    assert outgoing_headers({"hop": "9", "a": "b"}, context, "text/plain") == {
        "Content-Type": "text/plain",
        "hop": "1",
        "a": "b",
        "Nats-Msg-Id": "k",
    }
    assert outgoing_headers({"Content-Type": "x/y"}, NO_CONTEXT, "text/plain") == {"Content-Type": "x/y"}


@pytest.mark.parametrize(
    "headers",
    [
        *({"a b": "x"}, {"": "x"}, {"ä": "x"}, {"a": "x\r\ny: z"}, {"a": " x"}, {"a": "x\n"}, {"a": "\ud800"}),
        *({"a": "b\0"}, {"Nats-Rollup": "all"}, {"nats-msg-id": "x"}, {"Status": "503"}),
    ],
)
def test_headers_that_would_arrive_otherwise(headers: dict[str, str]) -> None:
    """Spaces at the ends would be lost, and line ends would begin another header."""
    with pytest.raises(InvalidError, match="headers"):
        outgoing_headers(headers, NO_CONTEXT, "text/plain")


def test_what_governs_does_not_travel() -> None:
    """Headers of an event that would tell a stream what to do stay behind, joined with the message's own or not."""
    context = Context({"hop": "1", "Nats-Rollup": "all"}, idempotency_key="k")
    expected = {"Content-Type": "a/b", "hop": "1", "Nats-Msg-Id": "k"}
    assert outgoing_headers(None, context, "a/b") == expected
    assert outgoing_headers(context.joined({"a": "b"}), context, "a/b") == expected | {"a": "b"}
    with pytest.raises(InvalidError, match="Nats-TTL: governs"):
        outgoing_headers(context.joined({"Nats-TTL": "1s"}), context, "a/b")


def test_headers_as_they_are_written() -> None:
    """Version line, one line each, empty line."""
    assert header_block({"a": "bc", "d": "ä"}) == "NATS/1.0\r\na: bc\r\nd: ä\r\n\r\n".encode()
