"""The HTTP request that a command means."""

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from bridge.adapters._common.content import Codec
from bridge.adapters.http.request import HttpRequest
from bridge.core.errors import InvalidError


def call(method: str, params: Any = UNSET, base: bytes = b"/api", codec: Any = "auto") -> HttpRequest:
    """Make the request of a command; `Accept-Language` is allowed."""
    return HttpRequest.make(method, params, base, Codec(codec), {"accept-language"})


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
    """A request goes below the endpoint's own path, with every value percent-encoded."""
    assert call(method, params, base).target == target


@pytest.mark.parametrize(
    ("method", "params", "words"),
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
        ("GET /", {"body": 1}, "a GET request has no body"),
        ("GET /", {"params": {}}, "params"),
        ("GET /", [1], "params"),
        ("POST /", {"body": b"\x00"}, "params.body"),
        ("POST /", {"body": {"a": float("nan")}}, r"params.body.a"),
    ],
)
def test_a_mistake_in_method_or_params(method: str, params: Any, words: str) -> None:
    """Each mistake in method or params is `invalid`, and the message names the place."""
    with pytest.raises(InvalidError, match=words):
        call(method, params)


@pytest.mark.parametrize("value", ["..", ".", "../x", "a/../b", "..\\x", "%2e%2e", "%2E./x", "..;x", "..;x/y"])
def test_no_value_leaves_the_path(value: str) -> None:
    """A path with `.` or `..` is refused, in whatever way the server may decode it."""
    with pytest.raises(InvalidError, match="not allowed as segments"):
        call("GET /items/{id}/parts", {"path": {"id": value}})
    with pytest.raises(InvalidError, match="path"):
        call(f"GET /items/{value}/parts")


@given(st.text(min_size=1))
def test_a_value_is_one_segment_and_comes_back(value: str) -> None:
    """Any text in a path is one segment that decodes to the same text, or it is refused."""
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
    """A body is encoded by the codec, and has its content type."""
    made = call("POST /", {"body": body}, codec=codec)
    assert (made.body, made.content_type) == (data, content_type)


def test_a_missing_body() -> None:
    """Without a body POST, PUT and PATCH send an empty one (RFC 9110, 8.6), the others none."""
    assert [call(f"{name} /").body for name in ("POST", "PUT", "PATCH", "DELETE", "GET")] == [b"", b"", b"", None, None]
