"""The demo's JSON-RPC methods over WebSocket, as a process of its own, so that tests can kill and freeze it.

`tell` (params `method`, `params`, `times`) makes the server send notifications to everybody, before it answers.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from bridge.cli.demo_service import Service
from tests.support.servers.demo import DemoProcess, service_process


class _Server:
    def __init__(self) -> None:
        self.service = Service()
        self.connections: set[ServerConnection] = set()

    async def serve(self, connection: ServerConnection) -> None:
        self.connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                async for message in connection:
                    text = message if isinstance(message, str) else message.decode()
                    group.create_task(self.answer(connection, text))
        except* ConnectionClosed:
            pass
        finally:
            self.connections.discard(connection)

    async def answer(self, connection: ServerConnection, text: str) -> None:
        asked = json.loads(text)
        if isinstance(asked, dict) and asked.get("method") == "tell":
            told = asked["params"]
            for _ in range(told.get("times", 1)):
                broadcast(
                    self.connections, json.dumps({"jsonrpc": "2.0", **{k: told[k] for k in told if k != "times"}})
                )
            asked["method"] = "echo"
            text = json.dumps(asked)
        reply, delay, _ = self.service.reply(text.encode())
        await asyncio.sleep(delay)
        if reply is not None:
            await connection.send(json.dumps(reply))


async def _main(port: int) -> None:
    async with serve(_Server().serve, "127.0.0.1", port) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/rpc", flush=True)
        await asyncio.Event().wait()


@contextmanager
def jsonrpc_websocket_service(port: int = 0) -> Iterator[DemoProcess]:
    """Start the service, wait until it listens, and kill it at the end."""
    with service_process("tests.support.servers.jsonrpc_websocket_service", str(port)) as service:
        yield service


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
