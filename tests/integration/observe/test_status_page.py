"""Show the paths of the status page of a running sidecar, and that hostile clients cannot harm it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import httpx
import pytest

from bridge.contract import examples
from bridge.core.clock import RealClock
from bridge.core.errors import ConfigError
from bridge.core.settings import Listen
from bridge.observe.metrics import Metrics
from bridge.observe.server import StatusServer
from tests.support.details import details_of
from tests.support.servers.remote import refusing_port, remote
from tests.support.sidecar.sidecar import json_rpc, sidecar
from tests.support.wait import until

ANSWER: dict[str, Any] = {"bridge": examples.BRIDGE, "backend_api": examples.INTEGRATION}
TYPES = {"html": "text/html;", "js": "text/javascript;", "css": "text/css;", "svg": "image/svg+xml"}
PAGE = 'status = "127.0.0.1:0"'


def no_console() -> Any:
    """Nobody opens one here."""
    raise AssertionError


class ServedPage:
    """A server without a sidecar, and the answer that it shows."""

    def __init__(self) -> None:
        self.answer = ANSWER
        self.alive = True
        report = lambda: self.answer  # noqa: E731
        metrics = Metrics(report, lambda: details_of(ANSWER), lambda: 0.0).text
        self.server = StatusServer(
            report,
            lambda: self.alive,
            metrics,
            no_console,
            listen=Listen("127.0.0.1", 0),
            hosts=("bridge.example",),
            clock=RealClock(),
        )


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[ServedPage, httpx.AsyncClient]]:
    """Run the server on a free port, with a client of it."""
    page = ServedPage()
    assert await page.server.start(must=True)
    try:
        async with httpx.AsyncClient(base_url=page.server.url, trust_env=False) as client:
            yield page, client
    finally:
        await page.server.stop()


async def test_the_sidecar_shows_itself():
    """The sidecar is ready although a remote is down; metrics and page agree with the bus."""
    blocks = json_rpc("gone", f"http://127.0.0.1:{refusing_port()}/rpc")
    with remote() as shop, sidecar(json_rpc("shop", shop.url) + blocks, more=PAGE) as running:
        with running.program() as program:
            await program.wait("health.gone", lambda event: event["payload"]["status"] == "disconnected")
            await program.wait("health.shop", lambda event: event["payload"]["status"] == "connected")
            for number in range(3):
                await program.request("shop", "echo", [number])
        async with httpx.AsyncClient(base_url=running.page, trust_env=False) as client:
            assert (await client.get("/livez")).text == "alive\n"
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.text.splitlines()[0]) == (
                200,
                "ready; 1 of 2 integrations connected; gone: disconnected",
            )
            assert ready.text.splitlines()[1].startswith("gone: disconnected, not_connected: ")
            metrics = (await client.get("/metrics")).text
            assert 'nemo_bridge_operations_ended_total{integration="shop",outcome="succeeded"} 3\n' in metrics
            assert re.search(r"^process_resident_memory_bytes [1-9]", metrics, re.MULTILINE)
            assert re.search(r"^nemo_bridge_event_loop_lag_seconds \d", metrics, re.MULTILINE)
            assert "nemo-bridge" in (await client.get("/")).text


async def test_draining_is_not_ready():
    """From SIGTERM until the last answer `/readyz` is 503."""
    block = json_rpc("shop", "URL", timeout="20s")
    with (
        remote() as shop,
        sidecar(block.replace("URL", shop.url), more=PAGE) as running,
        running.program() as program,
    ):
        program.emit("integration.shop.request", {"method": "wait", "params": [1]}, "one")
        await until(lambda: shop.calls["wait"])
        running.term()
        await program.wait("health.bridge", lambda event: event["payload"]["status"] == "draining")
        async with httpx.AsyncClient(base_url=running.page, trust_env=False) as client:
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.text.split(";")[0]) == (503, "draining")
        shop.hold.set()
        assert running.wait() == 0


async def test_a_probe_is_read_on_a_terminal():
    """What a remote has written does nothing to it, and is no line of its own."""
    async with serving() as (page, client):
        error = {"kind": "auth", "message": "no\n\x1b]52;c;x\x07\u202e", "retryable": False}
        page.answer = ANSWER | {"backend_api": examples.INTEGRATION | {"status": "failed", "error": error}}
        lines = (await client.get("/readyz")).text.splitlines()
        assert lines[1:] == ["backend_api: failed, auth: no \\x1b]52;c;x\\x07\\u202e"]


async def test_headers_and_methods():
    """HEAD is GET without a body; other methods are refused; each answer restricts what a browser may do."""
    async with serving() as (_, client):
        for path in ("/", "/livez", "/readyz", "/metrics", "/nothing"):
            got, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert got.headers["content-length"] == str(len(got.content))
            assert int(head.headers["content-length"]) > 0
            assert got.headers["cache-control"] == ("no-cache" if path == "/" else "no-store")
            assert got.headers["x-content-type-options"] == "nosniff"
            assert got.headers["content-security-policy"].startswith("default-src 'none'")
            assert "server" not in got.headers
        assert (await client.get("/nothing")).status_code == 404
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = await client.request(method, "/livez")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        assert (await client.get("/", headers=upgrade | {"Sec-WebSocket-Key": "x" * 22 + "=="})).status_code == 200


async def test_the_files_of_the_console():
    """Each file of the console is served with a policy that allows nothing of elsewhere, and once only; no other is."""
    folder = files("bridge.observe").joinpath("console")
    names = sorted(one.name for one in folder.iterdir() if one.name != "index.html")
    async with serving() as (_, client):
        for path, name in [("/", "index.html"), *((f"/console/{name}", name) for name in names)]:
            got = await client.get(path)
            assert (got.status_code, got.content) == (200, folder.joinpath(name).read_bytes())
            assert got.headers["content-type"].startswith(TYPES[name.rpartition(".")[2]])
            policy = got.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
            assert "unsafe" not in policy
            for tag in (got.headers["etag"], f'"x", W/{got.headers["etag"]}'):
                again = await client.get(path, headers={"If-None-Match": tag})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", got.headers["etag"])
        for path in ("/console/", "/console/index.html", "/console/../server.py", "/console/%2e%2e/server.py"):
            assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost:9464", 200),
        ("127.0.0.1", 200),
        ("[::1]:1", 200),
        ("BRIDGE.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
async def test_only_known_names(host, code):
    """A request with another host name, as in DNS rebinding, gets nothing."""
    async with serving() as (_, client):
        assert (await client.get("/metrics", headers={"Host": host})).status_code == code


async def test_not_alive_and_not_ready():
    """503 where the bus is not read or the bridge is not ready; a bug in the view is only a 500."""
    async with serving() as (page, client):
        page.alive = False
        assert (await client.get("/livez")).status_code == 503
        page.answer = ANSWER | {"bridge": examples.BRIDGE | {"status": "starting"}}
        assert (await client.get("/readyz")).status_code == 503
        page.answer = ANSWER | {"bridge": examples.BRIDGE | {"status": "degraded"}}
        assert (await client.get("/readyz")).status_code == 200
        page.answer = {}
        assert (await client.get("/readyz")).status_code == 500
        assert (await client.get("/nothing")).status_code == 404


async def test_clients_that_mean_no_good():
    """Many idle clients, invalid data and endless headers do not stop the next request."""
    async with serving() as (page, client):
        host, port = "127.0.0.1", int(page.server.url.rsplit(":", 1)[1].strip("/"))
        crowd = [await asyncio.open_connection(host, port) for _ in range(40)]
        try:
            cut = [asyncio.ensure_future(reader.read()) for reader, _ in crowd]
            await asyncio.wait(cut, return_when=asyncio.FIRST_COMPLETED, timeout=10)
            assert any(one.done() for one in cut)
        finally:
            for _, writer in crowd:
                writer.close()
            await asyncio.wait(cut)
            for one in cut:
                one.exception()
        for rubbish in (
            b"\x16\x03\x01garbage\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500,
            b"GET /" + b"x" * 20_000,
        ):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(rubbish)
            writer.write_eof()
            assert b" 200 " not in await asyncio.wait_for(reader.read(), 10)
            writer.close()
        assert (await client.get("/livez")).status_code == 200


async def test_the_address_is_taken():
    """A taken address is an error where it was configured, and no page where it was the default."""
    async with serving() as (page, _):
        port = int(page.server.url.rsplit(":", 1)[1].strip("/"))
        report = lambda: ANSWER  # noqa: E731
        second = StatusServer(
            report,
            lambda: True,
            Metrics(report, lambda: details_of(ANSWER), lambda: 0.0).text,
            no_console,
            listen=Listen("127.0.0.1", port),
            hosts=(),
            clock=RealClock(),
        )
        assert not await second.start(must=False)
        with pytest.raises(ConfigError, match=f"bridge > status: 127.0.0.1:{port}: something else listens there"):
            await second.start(must=True)
