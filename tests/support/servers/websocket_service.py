"""A WebSocket service as a process of its own: it sends back each message as it came. Tests kill and freeze it."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.servers.demo import DemoProcess, service_process


async def _echo(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


async def _main(port: int) -> None:
    async with serve(_echo, "127.0.0.1", port) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
        await asyncio.Event().wait()


@contextmanager
def websocket_service(port: int = 0) -> Iterator[DemoProcess]:
    """Start the service, wait until it listens, and kill it at the end."""
    with service_process("tests.support.servers.websocket_service", str(port)) as service:
        yield service


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
