"""Show the console's WebSocket: of a running sidecar, and that clients of any kind cannot harm it."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bridge.core.clock import RealClock
from bridge.core.ports import Clock
from bridge.core.settings import Listen
from bridge.observe.server import StatusServer
from tests.support.clock import FakeClock
from tests.support.servers.remote import remote
from tests.support.sidecar.sidecar import json_rpc, sidecar
from tests.support.wait import PATIENCE, until
from tests.unit.observe.test_live import OVERVIEW, World

TOKEN = "correct-horse-battery"
CONSOLE = f"""
  status = "127.0.0.1:0"
  console {{
    actions = true
    token   = "{TOKEN}"
  }}
"""


class Console:
    """An open console."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def next(self, kind: str) -> dict[str, Any]:
        """The next frame of this type."""
        async with asyncio.timeout(PATIENCE):
            while True:
                frame: dict[str, Any] = json.loads(await self.socket.recv())
                if frame["type"] == kind:
                    return frame

    async def act(self, token: str | None = TOKEN, **action: Any) -> dict[str, Any]:
        await self.say(action={"id": 1, **action}, token=token)
        return await self.next("action")


@asynccontextmanager
async def console(url: str, **more: Any) -> AsyncIterator[Console]:
    """Open a console as the page of this address does."""
    host = url.removeprefix("http://").rstrip("/")
    given = {"origin": f"http://{host}", "max_size": None, "proxy": None, "compression": None} | more
    async with connect(f"ws://{host}/live", **given) as socket:
        yield Console(socket)


@asynccontextmanager
async def serving(hosts: tuple[str, ...] = (), clock: Clock | None = None) -> AsyncIterator[tuple[World, str]]:
    """Run the server on a free port without a sidecar."""
    world = World(clock or RealClock())
    server = StatusServer(
        dict,
        lambda: True,
        lambda _: (b"", ""),
        lambda: world.live,
        listen=Listen("127.0.0.1", 0),
        hosts=hosts,
        clock=world.clock,
    )
    assert await server.start(must=True)
    try:
        yield world, server.url
    finally:
        await server.stop()


async def test_a_person_looks_and_acts():
    """Overview, integration, tap and actions of a running sidecar; an action is an event, and its cause is named."""
    with (
        remote() as shop,
        sidecar(json_rpc("shop", shop.url), more=CONSOLE) as running,
        running.program() as program,
    ):
        await program.wait("health.shop", lambda event: event["payload"]["status"] == "connected")
        async with console(running.page) as viewer:
            assert (await viewer.next("hello"))["actions"] is True
            await viewer.say(view="overview")
            overview = await viewer.next("overview")
            assert [row["integration"] for row in overview["data"]["integrations"]] == ["shop"]
            await viewer.say(view="integration", integration="shp")
            assert (await viewer.next("error"))["message"] == "there is no integration 'shp'; did you mean 'shop'?"
            await viewer.say(view="tap", patterns=["integration.**", "response.**", "resilience.bridge.*"])
            assert (await viewer.next("tap"))["events"] == []
            await program.request("shop", "echo", [TOKEN])
            seen: list[dict[str, Any]] = []
            while len(seen) < 2:
                seen += (await viewer.next("tap"))["events"]
            assert [event["event_type"] for event in seen] == [
                "integration.shop.request",
                "response.integration.shop.request",
            ]
            assert (seen[0]["payload"]["params"], seen[1]["payload"]["result"]) == (["***"], ["***"])

            assert (await viewer.act(do="pause", integration="shop"))["ok"]
            await program.wait("health.shop", lambda event: event["payload"]["status"] == "paused")
            assert (await viewer.act(do="resume", integration="shop"))["ok"]
            opened = await viewer.act(do="circuit.force_open", integration="shop")
            assert opened["result"] == {"state": "open"}
            change = await program.wait("resilience.shop.circuit.opened", lambda _: True)
            cause = change["payload"]["cause"]
            assert (cause["source"], cause["event_type"]) == ("console", "integration.shop.circuit.force_open")
            plan = await viewer.act(do="reload", dry_run=True)
            assert plan["result"]["unchanged"] == ["shop"]
            assert (await viewer.act(do="replay", integration="shop"))["result"] == {"moved": 0}
            refused = await viewer.act("wrong-wrong-wrong", do="drain", integration="shop")
            assert refused["error"]["kind"] == "auth"
            told = await program.wait("resilience.bridge.console_action", lambda event: not event["payload"]["ok"])
            assert told["payload"]["action"] == "drain"
            assert told["payload"]["by"].startswith("127.0.0.1:")
            assert program.seen("response.integration.shop.pause") == []
        assert "console action" in running.text
        assert TOKEN not in running.text


async def test_only_for_its_own_page():
    """Pages of other hosts and ports, and programs that name no page, get no WebSocket."""
    async with serving(("bridge.example",)) as (_, url):
        host = url.removeprefix("http://").rstrip("/")
        port = host.rpartition(":")[2]
        for origin in (
            None,
            "null",
            "http://evil.example",
            f"http://localhost:{port}",
            "http://127.0.0.1",
            f"file://{host}",
        ):
            with pytest.raises(InvalidStatus) as caught:
                async with console(url, origin=origin):
                    pass
            assert caught.value.response.status_code == 403
        async with console(url, origin=f"https://{host.upper()}") as viewer:
            await viewer.next("hello")
        with pytest.raises(InvalidStatus) as caught:
            async with connect(
                "ws://evil.example/live", origin="http://evil.example", host="127.0.0.1", port=int(port), proxy=None
            ):
                pass
        assert caught.value.response.status_code == 421
        async with connect(
            "ws://bridge.example/live", origin="https://bridge.example", host="127.0.0.1", port=int(port), proxy=None
        ):
            pass


async def test_sixteen_at_a_time():
    """One more is refused with the reason; when one has gone, there is room again."""
    async with serving() as (_, url), AsyncExitStack() as stack:
        for _ in range(15):
            await stack.enter_async_context(console(url))
        async with console(url) as viewer:
            await viewer.next("hello")
            with pytest.raises(InvalidStatus) as caught:
                async with console(url):
                    pass
            assert caught.value.response.status_code == 503
        for _ in range(50):
            try:
                async with console(url) as viewer:
                    await viewer.next("hello")
                break
            except InvalidStatus:
                await asyncio.sleep(0.1)
        else:
            raise AssertionError("no room")


async def raw(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket without a library, of which nothing but the first answer is read."""
    host = url.removeprefix("http://").rstrip("/")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]), limit=1024)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /live HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return reader, writer


async def is_cut(writer: asyncio.StreamWriter, data: bytes) -> bool:
    """Send data again and again until the connection is cut."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                writer.write(data)
                await writer.drain()
    except ConnectionError:
        return True
    finally:
        writer.close()


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """A frame of a client, with the mask 0."""
    return bytes([opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(0x89) * 2000, id="pings"),
        pytest.param(frame(0x89, b"x" * 125) * 100, id="large pings"),
        pytest.param(frame(0x00) * 2000, id="continuations of nothing"),
        pytest.param(frame(0x01, b"x") + frame(0x00) * 2000, id="a message without an end"),
        pytest.param(b"\xff" * 4096, id="no frames"),
    ],
)
async def test_floods_are_cut(flood):
    """Whatever is sent without an end, the connection is cut, and others are served.

    No time passes, so that it is too much however busy the machine is.
    """
    async with serving(clock=FakeClock()) as (_, url):
        _, writer = await raw(url)
        assert await is_cut(writer, flood)
        async with console(url) as viewer:
            await viewer.next("hello")


async def test_a_frame_that_is_too_long():
    """It ends its connection only."""
    async with serving() as (_, url), console(url) as viewer:
        await viewer.socket.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            await viewer.next("never")
        async with console(url) as other:
            await other.next("hello")


async def test_frames_that_come_too_fast_wait():
    """The server does not read them, and serves others."""
    async with serving() as (_, url):
        _, writer = await raw(url)
        waiting = asyncio.ensure_future(is_cut(writer, frame(0x81, b"{}") * 2000))
        await asyncio.wait([waiting], timeout=1)
        assert not waiting.done()
        waiting.cancel()
        async with console(url) as viewer:
            await viewer.next("hello")
        writer.close()


async def test_one_who_does_not_read_is_cut(monkeypatch):
    """Its frames do not collect: the server waits with the next one, and cuts it when its time is over."""
    monkeypatch.setattr("bridge.observe.live._PATIENCE", 0.5)
    async with serving() as (world, url):
        row = OVERVIEW.integrations[0]
        many = [msgspec.structs.replace(row, integration=f"i{number}" * 50) for number in range(20_000)]
        world.overview = msgspec.structs.replace(OVERVIEW, integrations=many)
        _, writer = await raw(url)
        writer.write(frame(0x81, b'{"view":"overview"}'))
        await until(lambda: world.made > 0)
        async with console(url) as viewer:
            await viewer.next("hello")
            async with asyncio.timeout(PATIENCE):
                while not writer.transport.is_closing():
                    try:
                        writer.write(frame(0x8A))
                        await writer.drain()
                        await asyncio.sleep(0.2)
                    except ConnectionError:
                        break
        writer.close()


async def test_the_end_of_the_bridge_ends_consoles():
    """An open console is closed, also one that does not answer, and the server stops at once."""
    async with AsyncExitStack() as stack:
        _, url = await stack.enter_async_context(serving())
        _, writer = await raw(url)
        async with console(url) as viewer:
            await viewer.next("hello")
            async with asyncio.timeout(PATIENCE):
                await stack.aclose()
            with pytest.raises(ConnectionClosed):
                await viewer.next("never")
        writer.close()
