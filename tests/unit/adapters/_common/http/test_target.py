"""Where HTTP requests go, and with which headers, by `endpoint`, `auth`, `tls` and `allow_headers`."""

import base64
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.adapters._common.http.client import HttpClient
from bridge.adapters._common.http.target import authorization, resolve
from bridge.adapters.jsonrpc.adapter import SPEC
from bridge.adapters.jsonrpc.config import JsonRpcConfig
from bridge.core.endpoint import NO_AUTH, AuthBasic, AuthBearer, AuthCertificate, Endpoint, Tls
from bridge.core.errors import InvalidError
from bridge.core.ports import AdapterSetup, Context
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.tls import make_certificates


def setup(auth: Any = NO_AUTH, trust: Tls | None = None, **endpoint: Any) -> AdapterSetup:
    """Make the setup of an integration."""
    return adapter_setup(integration="api", endpoint=Endpoint(**endpoint), auth=auth, tls=trust or Tls())


@pytest.mark.parametrize(
    ("endpoint", "origin", "port", "path"),
    [
        ({"address": "api.example.com"}, "https://api.example.com", 443, b"/"),
        ({"address": "api.localhost"}, "http://api.localhost", 80, b"/"),
        ({"address": "api.example.com", "tls": True}, "https://api.example.com", 443, b"/"),
        ({"address": "api.example.com", "port": 443}, "https://api.example.com", 443, b"/"),
        ({"address": "api.example.com", "port": 443, "tls": False}, "http://api.example.com:443", 443, b"/"),
        ({"address": "api.example.com:8080"}, "https://api.example.com:8080", 8080, b"/"),
        ({"address": "api.example.com:80"}, "http://api.example.com", 80, b"/"),
        ({"url": "HTTPS://api.example.com/RPC"}, "https://api.example.com", 443, b"/RPC"),
        ({"url": "https://api.example.com?a=b"}, "https://api.example.com", 443, b"/?a=b"),
        ({"address": "https://api.example.com", "path": "//rpc"}, "https://api.example.com", 443, b"//rpc"),
        ({"address": "https://api.example.com", "path": "/rpc"}, "https://api.example.com", 443, b"/rpc"),
        ({"address": "https://api.example.com/", "path": "rpc"}, "https://api.example.com", 443, b"/rpc"),
        ({"address": "https://api.example.com", "port": 8443}, "https://api.example.com:8443", 8443, b"/"),
        ({"url": "http://127.0.0.1:9000/a b?key=1"}, "http://127.0.0.1:9000", 9000, b"/a%20b?key=1"),
        ({"address": "::1", "port": 9000}, "http://[::1]:9000", 9000, b"/"),
        ({"address": "http://[::1]:9000"}, "http://[::1]:9000", 9000, b"/"),
        ({"url": "https://bücher.example/"}, "https://xn--bcher-kva.example", 443, b"/"),
    ],
)
def test_each_way_to_say_where(endpoint: dict[str, Any], origin: str, port: int, path: bytes) -> None:
    """A host or a URL gives host, port and TLS, also for IPv6 with and without brackets."""
    target = resolve(setup(**endpoint))
    assert (target.origin, target.server.port, target.raw_path) == (origin, port, path)
    assert (target.ssl_context() is not None) == origin.startswith("https")


@pytest.mark.parametrize(
    ("endpoint", "complaint"),
    [
        ({"url": "ftp://host/"}, "scheme"),
        ({"address": "host", "path": "/a#part"}, "endpoint.path: a fragment"),
        ({"address": "https://host/a", "path": "/b"}, "path"),
    ],
)
def test_contradictions_are_told_in_words(endpoint: dict[str, Any], complaint: str) -> None:
    """Blocks that contradict each other raise ValueError with words for a person."""
    with pytest.raises(ValueError, match=complaint):
        SPEC.create(setup(**endpoint))


@pytest.mark.parametrize(
    ("auth", "line"),
    [
        (AuthBasic(type="basic", username="u", password="p:ä"), "Basic " + base64.b64encode("u:p:ä".encode()).decode()),
        (AuthBasic(type="basic", password="p"), "Basic " + base64.b64encode(b":p").decode()),
        (AuthBearer(type="bearer", token="t0ken"), "Bearer t0ken"),
    ],
)
def test_credentials_become_a_header(auth: Any, line: str) -> None:
    """User and password become Basic (RFC 7617), a token becomes Bearer (RFC 6750)."""
    assert authorization(setup(auth, address="host")) == f"authorization: {line}\r\n".encode()


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "ä"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    """A token that a header cannot carry is refused, and the message does not show it."""
    with pytest.raises(ValueError, match=r"auth\.token") as caught:
        authorization(setup(AuthBearer(type="bearer", token=token), address="host"))
    assert token.strip() == "" or token not in str(caught.value)


def test_a_client_certificate_needs_tls(tmp_path: Path) -> None:
    """A client certificate without TLS is refused."""
    cert, key = make_certificates(tmp_path).client_files()
    auth = AuthCertificate(type="certificate", cert=cert, key=key)
    with pytest.raises(ValueError, match="needs TLS"):
        resolve(setup(auth, url="http://host"))
    assert resolve(setup(auth, url="https://host")).ssl_context() is not None


def test_files_that_do_not_serve_are_named(tmp_path: Path) -> None:
    """A missing authority, and a key without its certificate, are named in the message."""
    with pytest.raises(ValueError, match=r"none\.pem"):
        resolve(setup(trust=Tls(ca=tmp_path / "none.pem"), url="https://host"))
    _, key = make_certificates(tmp_path).client_files()
    with pytest.raises(ValueError, match=r"client\.key"):
        resolve(setup(AuthCertificate(type="certificate", cert=key), url="https://host"))


def test_a_tls_block_without_tls_is_a_mistake(tmp_path: Path) -> None:
    """An authority or a server name for an endpoint without TLS is refused."""
    with pytest.raises(ValueError, match="endpoint is without TLS"):
        resolve(setup(trust=Tls(ca=tmp_path / "ca.pem"), url="http://host"))


def test_headers_that_travel() -> None:
    """The trace's headers, `hop`, the idempotency key and allowed headers are sent; no others of the event are."""
    client = HttpClient(setup(url="http://host"), max_response=1, allow_headers=("x-tenant",))
    trace = {"traceparent": "00-1-2-01", "tracestate": "v=1,w=2", "baggage": "user=7;p, b=2"}
    headers = trace | {"hop": "3", "x-tenant": "a", "seq": "9", "authorization": "stolen"}
    assert client.header_lines(Context(headers=headers, idempotency_key="k1")) == (
        b"Idempotency-Key: k1\r\ntraceparent: 00-1-2-01\r\ntracestate: v=1,w=2\r\nbaggage: user=7;p, b=2\r\n"
        b"Nemo-Hop: 3\r\nx-tenant: a\r\n"
    )
    assert client.header_lines(Context()) == b""


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0", "ä", "\x7f"])
def test_no_header_smuggles_another(value: str) -> None:
    """A value with line breaks, control characters or non-ASCII text is `invalid`."""
    client = HttpClient(setup(url="http://host"), max_response=1)
    with pytest.raises(InvalidError, match=r"headers\.traceparent"):
        client.header_lines(Context(headers={"traceparent": value}))
    with pytest.raises(InvalidError, match="idempotency_key"):
        client.header_lines(Context(idempotency_key=value))


@pytest.mark.parametrize("name", ["Host", "content-length", "Authorization", "a b", "", "a:b", "x\r\ny"])
def test_headers_that_nobody_may_allow(name: str) -> None:
    """Headers that the bridge writes itself, and texts that are not header names, cannot be allowed."""
    with pytest.raises(ValidationError):
        JsonRpcConfig(allow_headers=(name,))
