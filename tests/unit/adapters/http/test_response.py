"""Headers, body and error of an HTTP response."""

from typing import Any

import pytest

from bridge.adapters._common.content import Codec
from bridge.adapters._common.http.message import Response
from bridge.adapters.http.response import body_of, check_status, headers_of
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ProtocolError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)


@pytest.mark.parametrize(
    ("body", "content_type", "value"),
    [
        (b'{"a": 1}', "application/json; charset=utf-8", {"a": 1}),
        (b'{"a": 1}', "application/problem+json", {"a": 1}),
        (b'{"a": 1}', "text/plain", '{"a": 1}'),
        (b"\x81\xa1a\x01", "application/msgpack", {"a": 1}),
        (b"<a/>", "application/xml", "<a/>"),
        (b"abc", None, "abc"),
        (b"\xff\xfe\xfd", None, b"\xff\xfe\xfd"),
        (b"abc", "application/octet-stream", b"abc"),
        (b"abc", "image/png", b"abc"),
        (b"\xe4", "text/plain; charset=iso-8859-1", "ä"),
        (b"\xe4", 'text/plain; charset="windows-1252"', "ä"),
        (b"\xe4", "text/plain; charset=unicode_escape", b"\xe4"),
        (b"\x83e", "text/plain; charset='Shift_JIS'", "テ"),
        (b"a\x1b$B%F\x1b(B", "text/plain;charset=iso-2022-jp", "aテ"),
        (b"+AGE-", "text/plain; charset=utf-7", b"+AGE-"),
        (b"\xc3\xa4", "text/plain; charset=\xff\x00no-such", "ä"),
        (b"\xc3\xa4", 'text/plain; charset="', "ä"),
        (b"\xef\xbb\xbfabc", "text/plain", "abc"),
        (b"\xff\xfea\0", "text/plain; charset=utf-16", "a"),
        (b"\xff\xfea\0", "text/plain; charset=utf-16le", "a"),
        (b"\xef\xbb\xbf[1]", "application/json", [1]),
        (b"\xef\xbb\xbfabc", "application/octet-stream", b"\xef\xbb\xbfabc"),
        (b"\xe4", "text/plain", b"\xe4"),
        (b"", "application/json", None),
    ],
)
def test_bodies_come_in_by_content_type(body: bytes, content_type: str | None, value: Any) -> None:
    """A body is decoded as JSON where its type says so, else as text, else it stays bytes."""
    headers = [] if content_type is None else [(b"content-type", content_type.encode("latin-1"))]
    assert body_of(Response(200, headers, body, 0), Codec()) == value


def test_broken_json_is_not_taken_for_text() -> None:
    """A body of the type JSON that is not JSON is an error, and does not become text."""
    with pytest.raises(ProtocolError, match="body"):
        body_of(Response(200, [(b"content-type", b"application/json")], b"{", 0), Codec())


def test_headers_of_a_response() -> None:
    """Headers have lower-case names; repeated ones are joined; cookies and those of the encoding are left out."""
    headers = [(b"vary", b"a"), (b"vary", b"b"), (b"set-cookie", b"s"), (b"content-length", b"1"), (b"nemo-hop", b"3")]
    assert headers_of(Response(200, headers, b"", 0)) == {"vary": "a, b", "hop": "3"}


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (301, [(b"location", b"http://elsewhere/")], RejectedError),
        (304, [], RejectedError),
        (400, [], RejectedError),
        (404, [], RejectedError),
        (401, [], AuthError),
        (403, [], RejectedError),
        (421, [], UnavailableError),
        (408, [], UnavailableError),
        (429, [], ThrottledError),
        (500, [], UnavailableError),
        (503, [], UnavailableError),
        (503, [(b"retry-after", b"2")], ThrottledError),
    ],
)
def test_every_status_has_its_error(status: int, headers: Any, kind: type[BridgeError]) -> None:
    """Each status has the error of the contract's table, and is its `code`."""
    with pytest.raises(kind) as caught:
        check_status(Response(status, headers, b"", 0), Codec())
    assert caught.value.code == status


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'{"why": "sold out"}', {"why": "sold out"}),
        (b"{broken", None),
        (b'"' + b"x" * 20_000 + b'"', None),
    ],
)
def test_a_refusal_has_the_body_as_data(body: bytes, data: Any) -> None:
    """A refusal has the decoded body as `data`, unless it cannot be read or is long."""
    with pytest.raises(RejectedError) as caught:
        check_status(Response(400, [(b"content-type", b"application/json")], body, 0), Codec())
    assert caught.value.data == data
