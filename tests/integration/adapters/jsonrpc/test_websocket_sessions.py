"""JSON-RPC over WebSocket: how a session begins, and each way in which it ends."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from bridge.adapters.jsonrpc.adapter import SPEC
from bridge.adapters.jsonrpc.config import JsonRpcConfig
from bridge.core.endpoint import NO_AUTH, AuthBasic, AuthBearer, AuthCertificate, Endpoint, Tls
from bridge.core.errors import (
    AuthError,
    ConnectionLostError,
    NotConnectedError,
    RejectedError,
)
from tests.support.adapters.jsonrpc_sessions import Script, error_of, serving, session
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.jsonrpc_websocket_service import jsonrpc_websocket_service
from tests.support.servers.tls import make_certificates
from tests.support.servers.tls_server import tls_server
from tests.support.sidecar.sidecar import json_rpc, sidecar
from tests.support.wait import until

Handler = Callable[[ServerConnection], Awaitable[None]]


async def test_credentials_are_in_the_opening_handshake() -> None:
    """Bearer and Basic are sent in the opening handshake; their refusal is permanent."""
    right = {"Bearer t0ken", "Basic dTpw"}

    def guard(connection: ServerConnection, request: Any) -> Any:
        ok = request.headers.get("Authorization") in right
        return None if ok else connection.respond(HTTPStatus.UNAUTHORIZED, "no")

    async with serving(Script().serve, process_request=guard) as url:
        for auth in (AuthBearer(type="bearer", token="t0ken"), AuthBasic(type="basic", username="u", password="p")):
            async with session(url, auth=auth) as (adapter, _):
                await adapter.connect()
                await adapter.check()
        async with session(url, auth=AuthBearer(type="bearer", token="wr0ng")) as (adapter, _):
            error = await error_of(adapter.connect())
            assert isinstance(error, AuthError)
            assert error.permanent
            assert "wr0ng" not in str(error.to_wire())


@pytest.mark.parametrize("case", ["good", "expired", "wrong-host", "unknown-ca", "client", "no-client", "plaintext"])
async def test_tls(case: str, tmp_path: Path) -> None:
    """A bad certificate, and a missing client certificate, are permanent; nothing is sent without TLS."""
    made = make_certificates(tmp_path)
    context = {
        "good": made.server,
        "expired": lambda: made.server(expired=True),
        "wrong-host": lambda: made.server("elsewhere.example"),
        "unknown-ca": lambda: made.server(unknown_ca=True),
        "client": made.server_that_asks,
        "no-client": made.server_that_asks,
        "plaintext": lambda: None,
    }[case]()
    cert, key = made.client_files()
    auth = AuthCertificate(type="certificate", cert=cert, key=key) if case == "client" else NO_AUTH
    trust = Tls(ca=made.ca_file)
    if case == "no-client":
        with tls_server(context, b"") as server:
            async with session(server.url.replace("https", "wss"), tls=trust) as (adapter, _):
                error = await error_of(adapter.connect())
        assert isinstance(error, AuthError)
        assert error.permanent
        return
    async with (
        serving(Script().serve, ssl=context) as url,
        session(url.replace("ws:", "wss:"), tls=trust, auth=auth) as (adapter, _),
    ):
        error = await error_of(adapter.connect())
        if case in {"good", "client"}:
            assert error is None
            await adapter.check()
        else:
            assert isinstance(error, NotConnectedError)
            assert error.permanent is (case != "plaintext")


async def test_a_frozen_server_is_found_by_pings_alone() -> None:
    """A frozen server is found within two intervals of pings; the outcome of what was sent is unknown."""
    with jsonrpc_websocket_service() as service:
        async with session(service.url, ping=0.3) as (adapter, ear), asyncio.TaskGroup() as group:
            await adapter.connect()
            service.freeze()
            sent = group.create_task(error_of(adapter.request("echo", [1])))
            await until(lambda: ear.lost)
            assert isinstance(await sent, ConnectionLostError)
            assert isinstance(await error_of(adapter.request("echo", [2])), NotConnectedError)
            assert len(ear.lost) == 1


async def test_a_frozen_server_that_leaves_no_room_to_write() -> None:
    """A check of a frozen server ends by its limit; unsent calls were surely not sent; closing is quick."""
    with jsonrpc_websocket_service() as service:
        async with session(service.url) as (adapter, _), asyncio.TaskGroup() as group:
            await adapter.connect()
            service.freeze()
            sent = group.create_task(error_of(adapter.request("echo", [os.urandom(6_000_000).hex()])))
            await asyncio.sleep(0)
            unsent = group.create_task(error_of(adapter.request("echo", [2])))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await adapter.check()
            async with asyncio.timeout(5):
                await adapter.disconnect()
            assert isinstance(await sent, ConnectionLostError)
            assert isinstance(await unsent, NotConnectedError)


async def test_the_health_method_must_answer_well() -> None:
    """An error of the health method fails the check, and a session that begins with one does not open."""
    with jsonrpc_websocket_service() as service:
        async with session(service.url, health_method="count") as (adapter, _):
            await adapter.connect()
            await adapter.check()
            assert await adapter.request("count", {"method": "count"}) == 3
        async with session(service.url, health_method="no.such.method") as (adapter, _):
            assert isinstance(await error_of(adapter.connect()), RejectedError)


@pytest.mark.parametrize(
    ("url", "config"), [("ws://x/", {"allow_headers": ("X-A",)}), ("http://x/", {"ping": 1.0})], ids=["ws", "http"]
)
def test_what_means_nothing_over_a_transport_is_said(url: str, config: dict[str, Any]) -> None:
    """A key that has no meaning over a transport is an error that names it."""
    endpoint = Endpoint(url=url)
    with pytest.raises(ValueError, match=rf"config\.{next(iter(config))} has no meaning over"):
        SPEC.over(endpoint).create(adapter_setup("x", endpoint, config=JsonRpcConfig(**config)))


_MORE = """
subscription "prices" {
  integration = "quotes"
  topic       = "price"
  emit        = "data.price"
}
route "ask" {
  on          = ["price.wanted"]
  integration = "quotes"
  operation   = "request"
  method      = "tell"
  params = {
    method = "price"
    params = event.payload
  }
}
"""


async def test_through_the_sidecar_over_a_death() -> None:
    """Calls, routes and notifications work again, with the subscription, after the server was killed."""
    with (
        jsonrpc_websocket_service() as first,
        sidecar(json_rpc("quotes", first.url) + _MORE) as running,
        running.program() as program,
    ):
        await program.wait("health.quotes", lambda event: event["payload"]["status"] == "connected")
        assert (await program.request("quotes", "add", [1, 2]))["result"] == 3
        assert (await program.request("quotes", "fail", {"code": 9}))["error"]["code"] == 9
        program.emit("price.wanted", {"n": 1})
        came = await program.wait("data.price")
        assert came["payload"]["message"] == {"n": 1}
        assert came["payload"]["topic"] == "price"
        since = program.mark()
        first.kill()
        await program.wait("health.quotes", lambda event: event["payload"]["status"] == "disconnected", since=since)
        assert (await program.request("quotes", "add", [1, 2]))["error"]["kind"] == "not_connected"
        with jsonrpc_websocket_service(first.port):
            await program.wait("health.quotes", lambda event: event["payload"]["status"] == "connected", since=since)
            program.emit("price.wanted", {"n": 2})
            await program.wait("data.price", lambda event: event["payload"]["message"] == {"n": 2}, since=since)
