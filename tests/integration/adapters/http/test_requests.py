"""HTTP requests over real sockets: what is sent, what comes back, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from bridge.adapters.http.adapter import HttpAdapter
from bridge.adapters.http.config import HttpConfig
from bridge.core.endpoint import NO_AUTH, AuthBasic, AuthBearer, AuthCertificate, Endpoint, Tls
from bridge.core.errors import AuthError, BridgeError, InvalidError, NotConnectedError, ProtocolError, RejectedError
from bridge.core.ports import Context
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.http_server import Received, http, scripted_server
from tests.support.servers.tls import make_certificates
from tests.support.servers.tls_server import tls_server

BEARER = AuthBearer(type="bearer", token="t0ken")


@asynccontextmanager
async def adapter_at(url: str, *, auth: Any = NO_AUTH, tls: Tls | None = None, **config: Any) -> AsyncIterator[Direct]:
    """Connect an adapter, and disconnect it at the end."""
    setup = adapter_setup("test", Endpoint(url=url), auth, tls or Tls(), HttpConfig(**config))
    adapter = HttpAdapter(setup)
    try:
        yield Direct(adapter)
    finally:
        await adapter.disconnect()


async def test_a_request_says_all_that_the_command_says() -> None:
    """Method, path, query, allowed headers, body, event headers and idempotency key reach the server."""
    async with (
        scripted_server(
            lambda request: request.send(http("[1]", 201, "Content-Type: application/json", "X-A: b"))
        ) as server,
        adapter_at(server.url, auth=BEARER, allow_headers=["X-Tenant", "Accept-Language"]) as adapter,
    ):
        result = await adapter.request(
            "PATCH /items/{id}",
            {"path": {"id": 1}, "query": {"q": "a b"}, "headers": {"x-tenant": "t"}, "body": {"n": 1}},
            context=Context({"hop": "2", "traceparent": "tp", "X-Tenant": "other", "X-Secret": "s"}, "key"),
        )
        assert result == {
            "status": 201,
            "headers": {"content-type": "application/json", "x-a": "b"},
            "body": [1],
        }
        [request] = server.requests
        assert request.head.split(b"\r\n")[0] == b"PATCH /rpc/items/1?q=a%20b HTTP/1.1"
        assert request.body == b'{"n":1}'
        named = ("Nemo-Hop", "traceparent", "X-Tenant", "Idempotency-Key", "Authorization", "Content-Type", "Accept")
        values = ["2", "tp", "t", "key", "Bearer t0ken", "application/json", "*/*"]
        assert [request.header(name) for name in named] == values
        assert request.header("X-Secret") is None
        assert request.head.lower().count(b"x-tenant") == 1


async def test_head_has_no_body_and_get_no_length() -> None:
    """HEAD reads no body although one is announced, and GET sends no length."""
    async with (
        scripted_server(lambda request: request.send(b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n")) as server,
        adapter_at(server.url) as adapter,
    ):
        assert await adapter.request("HEAD /x", UNSET) == {"status": 200, "headers": {}, "body": None}
        assert server.requests[0].header("Content-Length") is None
        assert server.requests[0].header("Content-Type") is None


async def test_a_header_that_is_not_allowed_is_refused() -> None:
    """A header that is not allowed, or has a line break, is refused; nothing is sent."""
    async with scripted_server(Received.result) as server, adapter_at(server.url, allow_headers=["X-A"]) as adapter:
        for headers in ({"X-B": "1"}, {"Authorization": "x"}, {"X-A": "1\r\nX-B: 2"}):
            with pytest.raises(InvalidError, match="header"):
                await adapter.request("GET /", {"headers": headers})
        assert server.requests == []


async def test_redirects_are_not_followed() -> None:
    """No redirect is followed, so credentials reach the configured server only."""
    async with (
        scripted_server(lambda request: request.send(http("", 302, "Location: /other"))) as server,
        adapter_at(server.url, auth=BEARER) as adapter,
    ):
        with pytest.raises(RejectedError, match="not followed") as caught:
            await adapter.request("GET /x", UNSET)
        assert caught.value.code == 302
        assert len(server.requests) == 1


async def test_a_body_over_the_limit_is_an_error() -> None:
    """A body over the limit is an error, and is not read to its end."""
    async with (
        scripted_server(lambda request: request.send(http("x" * 2000))) as server,
        adapter_at(server.url, max_response=1000) as adapter,
    ):
        with pytest.raises(ProtocolError, match="1000 bytes"):
            await adapter.request("GET /x", UNSET)


async def test_credentials_reach_the_server_and_their_refusal_us() -> None:
    """Bearer and Basic reach the server; 401 is permanent, for a check, too."""

    def respond(request: Received) -> None:
        right = request.header("Authorization") in {"Bearer t0ken", "Basic dTpw"}
        request.send(http("", 204 if right else 401))

    async with scripted_server(respond) as server:
        for auth in (BEARER, AuthBasic(type="basic", username="u", password="p")):
            async with adapter_at(server.url, auth=auth) as adapter:
                await adapter.check()
                assert (await adapter.request("GET /x", UNSET))["status"] == 204
        async with adapter_at(server.url) as adapter:
            for attempt in (adapter.check, lambda: adapter.request("GET /x", UNSET)):
                with pytest.raises(AuthError) as caught:
                    await attempt()
                assert caught.value.permanent


async def test_tls_and_client_certificates(tmp_path: Path) -> None:
    """The right client certificate is accepted, none is not, and an authority that is not named is not trusted."""
    certificates = make_certificates(tmp_path)
    cert, key = certificates.client_files()
    with tls_server(certificates.server_that_asks(), b"{}") as server:
        mine = AuthCertificate(type="certificate", cert=cert, key=key)
        async with adapter_at(server.url, tls=Tls(ca=certificates.ca_file), auth=mine) as adapter:
            assert (await adapter.request("GET /x", UNSET))["body"] == "{}"
        async with adapter_at(server.url, tls=Tls(ca=certificates.ca_file)) as adapter:
            with pytest.raises(AuthError):
                await adapter.request("GET /x", UNSET)
        async with adapter_at(server.url, auth=mine) as adapter:
            with pytest.raises(NotConnectedError) as caught:
                await adapter.request("GET /x", UNSET)
            assert caught.value.permanent


@pytest.mark.parametrize("case", ["good", "expired", "wrong-host", "unknown-ca"])
async def test_whom_it_trusts(case: str, tmp_path: Path) -> None:
    """With a certificate that does not verify, no token is sent and the error is permanent."""
    made = make_certificates(tmp_path)
    context = {
        "good": made.server,
        "expired": lambda: made.server(expired=True),
        "wrong-host": lambda: made.server("elsewhere.example"),
        "unknown-ca": lambda: made.server(unknown_ca=True),
    }[case]()
    async with (
        scripted_server(lambda request: request.send(http("{}")), context) as server,
        adapter_at(f"https://127.0.0.1:{server.port}/", auth=BEARER, tls=Tls(ca=made.ca_file)) as adapter,
    ):
        if case == "good":
            assert (await adapter.request("GET /x", UNSET))["status"] == 200
            return
        with pytest.raises(NotConnectedError) as caught:
            await adapter.request("GET /x", UNSET)
        assert not caught.value.maybe_sent
        assert caught.value.permanent
        assert not server.requests


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (404, False), (503, False)])
async def test_a_health_path_must_answer_with_a_success(status: int, healthy: bool) -> None:
    """With a health path the check needs a success; without one any answer but 401 will do."""
    async with scripted_server(lambda request: request.send(http("", status))) as server:
        async with adapter_at(server.url) as adapter:
            await adapter.check()
        async with adapter_at(server.url, health_path="/health") as adapter:
            try:
                await adapter.connect()
            except BridgeError:
                assert not healthy
            else:
                assert healthy
            assert server.requests[-1].head.startswith(b"GET /rpc/health ")


async def test_cancelling_a_request_ends_its_connection() -> None:
    """A cancelled request closes its connection, so that its late answer cannot reach the next one."""
    async with scripted_server(
        lambda request: None if b"/slow" in request.head else request.send(http("ok"))
    ) as server:
        async with adapter_at(server.url) as adapter:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await adapter.request("GET /slow", UNSET)
            assert (await adapter.request("GET /x", UNSET))["body"] == "ok"
        assert server.connections == 2
