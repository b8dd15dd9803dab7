"""A WebSocket service as a process of its own: it sends back each message as it came. Tests kill and freeze it."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.demo import DemoProcess

_ROOT = Path(__file__).parents[2]


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
    """Start it, wait until it listens, kill it in the end."""
    command = [sys.executable, "-m", "tests.support.websocket_service", str(port)]
    with Popen(command, cwd=_ROOT, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("ws://"), f"the service printed {url!r}"
            yield DemoProcess(url, process)
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
