"""Serve the console's files with a bridge that tells what a test wants it to tell."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bridge.core.payloads import Fleet
from bridge.core.payloads.views import Inspection, Overview
from bridge.observe.static_files import POLICY, read_console
from tests.support.console import scenario


def now_ms() -> int:
    """Return Unix time in milliseconds."""
    return round(time.time() * 1000)


class ScriptedConsole:
    """Stands in for the bridge behind the console.

    Attributes:
        url: Where the console is.
        overview: Returns the overview for a time.
        inspection: Returns what is known of an integration at a time; None for an unknown label.
        fleet: Returns the fabrics for a time.
        events: What the tap tells at once.
        name: The bridge's name.
        actions: Whether actions are on.
        tap: Whether events are shown.
        refuse: Whether new connections are closed at once.
        views: What the browser has asked for.
        acted: The actions that the browser has sent, with their token.
        results: The answer to each action, by its name.
    """

    def __init__(self) -> None:
        self.url = ""
        self.overview: Callable[[int], Overview] = scenario.overview
        self.inspection: Callable[[int, str], Inspection | None] = scenario.inspection
        self.fleet: Callable[[int], Fleet] = lambda _: Fleet(fabrics={})
        self.events: list[dict[str, Any]] = []
        self.name = "plant-7"
        self.actions = False
        self.tap = True
        self.refuse = False
        self.views: list[dict[str, Any]] = []
        self.acted: list[dict[str, Any]] = []
        self.results: dict[str, dict[str, Any]] = {}
        self._open: set[ServerConnection] = set()

    async def send(self, frame: dict[str, Any]) -> None:
        """Send a frame to every browser."""
        text = msgspec.json.encode(frame).decode()
        for connection in list(self._open):
            with contextlib.suppress(ConnectionClosed):
                await connection.send(text)

    async def cut(self) -> None:
        """End all connections, as a bridge that ends does."""
        for connection in list(self._open):
            await connection.close()

    async def serve(self, connection: ServerConnection) -> None:
        """Answer one browser until it goes."""
        self._open.add(connection)
        try:
            if self.refuse:
                return
            hello = {"type": "hello", "name": self.name, "version": "0.1.0", "now": now_ms()}
            await connection.send(
                json.dumps(hello | {"actions": self.actions, "tap": self.tap, "fabrics": bool(self.fleet(0).fabrics)})
            )
            async for text in connection:
                await self._take(json.loads(text))
        finally:
            self._open.discard(connection)

    async def _take(self, frame: dict[str, Any]) -> None:
        if "action" in frame:
            self.acted.append(frame)
            wanted = frame["action"]
            answer = self.results.get(wanted["do"], {"ok": True, "result": {}})
            await self.send({"type": "action", "id": wanted["id"]} | answer)
            return
        self.views.append(frame)
        if frame["view"] == "overview":
            await self.send({"type": "overview", "full": True, "data": self.overview(now_ms())})
        elif frame["view"] == "integration":
            data = self.inspection(now_ms(), frame["integration"])
            if data is None:
                await self.send({"type": "error", "message": f"there is no integration {frame['integration']!r}"})
            else:
                await self.send({"type": "integration", "data": data})
        elif frame["view"] == "fleet":
            await self.send({"type": "fleet", "at": now_ms(), "data": self.fleet(now_ms())})
        elif not self.tap:
            await self.send({"type": "error", "message": "events are not shown here"})
        else:
            wanted = frame["correlation_id"]
            events = [one for one in self.events if wanted in {None, one["correlation_id"]}]
            await self.send({"type": "tap", "events": events, "skipped": 0})


@asynccontextmanager
async def scripted_console(port: int = 0) -> AsyncIterator[ScriptedConsole]:
    """Run the scripted bridge at a port of this machine."""
    console = ScriptedConsole()
    files = read_console()

    def answer(_: ServerConnection, request: Request) -> Response | None:
        if request.path == "/live":
            return None
        file = files.get(request.path)
        if file is None:
            return Response(HTTPStatus.NOT_FOUND.value, "Not Found", Headers({"Connection": "close"}), b"")
        headers = {
            "Content-Type": file.content_type,
            "Content-Length": str(len(file.content)),
            "Content-Security-Policy": POLICY,
            "Connection": "close",
        }
        return Response(HTTPStatus.OK.value, "OK", Headers(headers), file.content)

    async with serve(console.serve, "127.0.0.1", port, process_request=answer) as server:
        console.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield console
        await console.cut()
        await asyncio.sleep(0)
