"""What request a command means, and what value is in a response."""

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from bridge.adapters._common.content import Codec
from bridge.adapters._common.http.message import Response
from bridge.adapters.http.adapter import HttpAdapter, HttpConfig
from bridge.adapters.http.call import Call, body_of, check_status, headers_of, make_call
from bridge.core.endpoint import Endpoint
from bridge.core.errors import (
    AuthError,
    BridgeError,
    InvalidError,
    ProtocolError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)
from bridge.core.model import Request
from tests.support.adapters.setup import adapter_setup


def call(method: str, params: Any = UNSET, base: bytes = b"/api", codec: Any = "auto") -> Call:
    """The request, with one header allowed."""
    return make_call(method, params, base, Codec(codec), {"accept-language"})


@pytest.mark.parametrize(
    ("method", "params", "base", "target"),
    [
        ("GET /", UNSET, b"/", b"/"),
        ("GET /items", UNSET, b"/", b"/items"),
        ("GET /items", {}, b"/api/", b"/api/items"),
        ("GET /items/{id}", {"path": {"id": 42}}, b"/api", b"/api/items/42"),
        ("GET /a/{x}-{y}/b", {"path": {"x": "ä b", "y": "1/2?#%"}}, b"", b"/a/%C3%A4%20b-1%2F2%3F%23%25/b"),
        ("GET /ä%20b", UNSET, b"", b"/%C3%A4%20b"),
        (
            "GET /s?v=1",
            {"query": {"q": "a&b=c d", "n": [1, 2.5], "t": True}},
            b"",
            b"/s?v=1&q=a%26b%3Dc%20d&n=1&n=2.5&t=true",
        ),
        ("GET /s", {"query": {"é": "", "none": []}}, b"", b"/s?%C3%A9="),
    ],
)
def test_where_a_request_goes(method: str, params: Any, base: bytes, target: bytes) -> None:
    """Below the endpoint's own path, with every value encoded."""
    assert call(method, params, base).target == target


@pytest.mark.parametrize(
    ("method", "params", "complaint"),
    [
        ("items", UNSET, "HTTP method and a path"),
        ("get /items", UNSET, "HTTP method and a path"),
        ("GET items", UNSET, "HTTP method and a path"),
        ("GET http://elsewhere/", UNSET, "HTTP method and a path"),
        ("GET /a b", UNSET, "HTTP method and a path"),
        ("GET /a\r\nX: y", UNSET, "HTTP method and a path"),
        ("GET /a\n", UNSET, "HTTP method and a path"),
        ("GET /a#b", UNSET, "HTTP method and a path"),
        ("CONNECT /", UNSET, "CONNECT"),
        ("TRACE /", UNSET, "TRACE"),
        ("GET /{id}", UNSET, "'id' is missing"),
        ("GET /", {"path": {"id": 1}}, "no {id}"),
        ("GET /{id}", {"path": {"id": ""}}, "empty"),
        ("GET /{id}", {"path": {"id": True}}, "params"),
        ("GET /{id}", {"path": {"id": "\ud800"}}, "surrogate"),
        ("GET /?a={id}", {"path": {}}, "params.query"),
        ("GET /", {"query": {"a": None}}, "params"),
        ("GET /", {"query": {"a": {"b": 1}}}, "params"),
        ("GET /", {"headers": {"Cookie": "x"}}, "'Cookie'"),
        ("GET /", {"body": 1}, "GET has none"),
        ("GET /", {"params": {}}, "params"),
        ("GET /", [1], "params"),
        ("POST /", {"body": b"\x00"}, "params.body"),
        ("POST /", {"body": {"a": float("nan")}}, r"params.body.a"),
    ],
)
def test_what_is_no_request(method: str, params: Any, complaint: str) -> None:
    """The complaint says where."""
    with pytest.raises(InvalidError, match=complaint):
        call(method, params)


@pytest.mark.parametrize("value", ["..", ".", "../x", "a/../b", "..\\x", "%2e%2e", "%2E./x", "..;x", "..;x/y"])
def test_no_value_leaves_its_place(value: str) -> None:
    """Whatever the server decodes."""
    with pytest.raises(InvalidError, match="leave"):
        call("GET /items/{id}/parts", {"path": {"id": value}})
    with pytest.raises(InvalidError, match=r"leave|path"):
        call(f"GET /items/{value}/parts")


@given(st.text(min_size=1))
def test_a_value_is_one_segment_and_comes_back(value: str) -> None:
    """Or it is refused; never anything else."""
    try:
        target = call("GET /a/{id}/b", {"path": {"id": value}}, b"").target.decode()
    except InvalidError:
        assert "." in unquote(value) or not value.isascii()
        return
    start, end = target.removeprefix("/a/"), "/b"
    assert start.endswith(end)
    segment = start.removesuffix(end)
    assert "/" not in segment
    assert segment.isascii()
    assert unquote(segment) == value


@pytest.mark.parametrize(
    ("body", "codec", "data", "content_type"),
    [
        ({"a": 1}, "auto", b'{"a":1}', "application/json"),
        (None, "auto", b"null", "application/json"),
        ("ä", "auto", "ä".encode(), "text/plain"),
        ("ä", "json", '"ä"'.encode(), "application/json"),
        (b"\x00", "bytes", b"\x00", "application/octet-stream"),
        ({"a": b"\x00"}, "msgpack", b"\x81\xa1a\xc4\x01\x00", "application/msgpack"),
    ],
)
def test_bodies_go_out_by_codec(body: Any, codec: Any, data: bytes, content_type: str) -> None:
    """With the content type that says so."""
    made = call("POST /", {"body": body}, codec=codec)
    assert (made.body, made.content_type) == (data, content_type)


def test_a_missing_body_is_said_where_one_was_to_be_expected() -> None:
    """An empty one (RFC 9110, 8.6); elsewhere there is none."""
    assert [call(f"{name} /").body for name in ("POST", "PUT", "PATCH", "DELETE", "GET")] == [b"", b"", b"", None, None]


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
        (b"\xe4", "text/plain", b"\xe4"),
        (b"", "application/json", None),
    ],
)
def test_bodies_come_in_by_content_type(body: bytes, content_type: str | None, value: Any) -> None:
    """JSON where the type says so, else text, else bytes."""
    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    assert body_of(Response(200, headers, body, 0), Codec()) == value


def test_json_that_is_none_is_not_taken_for_text() -> None:
    """Nothing is silently something else."""
    with pytest.raises(ProtocolError, match="body"):
        body_of(Response(200, [(b"content-type", b"application/json")], b"{", 0), Codec())


def test_headers_of_an_answer() -> None:
    """By lower-case names, repeated ones joined; no cookies, nothing of the wire; the hop count as on the bus."""
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
        (403, [], AuthError),
        (408, [], UnavailableError),
        (429, [], ThrottledError),
        (500, [], UnavailableError),
        (503, [], UnavailableError),
        (503, [(b"retry-after", b"2")], ThrottledError),
    ],
)
def test_every_status_has_its_error(status: int, headers: Any, kind: type[BridgeError]) -> None:
    """As the contract's table has it; `code` is the status."""
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
def test_a_refusal_tells_what_the_server_said(body: bytes, data: Any) -> None:
    """Unless it is unreadable or long."""
    with pytest.raises(RejectedError) as caught:
        check_status(Response(400, [(b"content-type", b"application/json")], body, 0), Codec())
    assert caught.value.data == data


@pytest.mark.parametrize(
    ("method", "idempotent"),
    [
        ("GET /", True),
        ("PUT /x", True),
        ("DELETE /x", True),
        ("POST /x", False),
        ("PATCH /x", False),
        ("POST /search", True),
    ],
)
def test_what_may_be_repeated(method: str, idempotent: bool) -> None:
    """By the HTTP method, or by name."""
    adapter = HttpAdapter(adapter_setup("x", Endpoint(url="http://x"), config=HttpConfig(idempotent=("POST /search",))))
    assert adapter.is_idempotent(Request(method=method)) is idempotent


@pytest.mark.parametrize(
    "config",
    [{"path": "/x"}, {"events": "x"}, {"events": "/a b"}, {"health_path": "//\n"}, {"allow_headers": ["Cookie"]}],
)
def test_settings_that_cannot_work(config: dict[str, Any]) -> None:
    """Are complaints of the configuration."""
    with pytest.raises(ValueError, match=r"path|Cookie"):
        HttpConfig(**config)


def test_an_endpoint_with_a_query() -> None:
    """Has no place for a command's path."""
    with pytest.raises(ValueError, match="query"):
        HttpAdapter(adapter_setup("x", Endpoint(url="http://x/?a=b")))
