"""A JSON-RPC service as a process of its own that writes down each call before it answers; tests kill and freeze it.

What it wrote outlives it: `python -m tests.support.servers.ledger_service PORT FILE` goes on in the same file.
`note` appends
the idempotency key and `params.number`; `slow` does so and never answers; any other method returns its params.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from tests.support.servers.programs import freeze
from tests.support.servers.remote import free_port

_ROOT = Path(__file__).parents[3]
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"idempotency-key: *(\S+)", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    def __init__(self, file: int) -> None:
        self._file = file
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            if length:
                self._call(head, json.loads(rest[:length]))
            else:
                self._transport.write(b"HTTP/1.1 405 X\r\nContent-Length: 0\r\n\r\n")

    def _call(self, head: bytes, call: Any) -> None:
        params = call.get("params")
        if call["method"] in {"note", "slow"}:
            key = _KEY.search(head)
            line = f"{key[1].decode() if key else '-'} {params['number']}\n"
            os.write(self._file, line.encode())
        if call["method"] == "slow":
            return
        body = json.dumps({"jsonrpc": "2.0", "result": params, "id": call.get("id")}).encode()
        self._transport.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def _serve(port: int, file: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(file), "127.0.0.1", port, backlog=512)
    print("listening", flush=True)
    await server.serve_forever()


class LedgerService:
    """A service that can be started and killed several times, on the same port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / "ledger"
        self._file.touch()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [sys.executable, "-m", "tests.support.servers.ledger_service", str(self.port), str(self._file)]
        end = time.monotonic() + 10
        while True:
            self._process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
            assert self._process.stdout is not None
            if self._process.stdout.readline() == "listening\n":
                return
            self.kill()
            assert time.monotonic() < end, "the ledger does not listen"

    def kill(self) -> None:
        """Send SIGKILL, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def freeze(self) -> None:
        """Send SIGSTOP."""
        assert self._process is not None
        freeze(self._process)

    def thaw(self) -> None:
        """Send SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def entries(self) -> list[tuple[str, int]]:
        """Return the idempotency key (`-`: none) and number of each call, in order."""
        lines = self._file.read_text().split("\n")[:-1]
        return [(key, int(number)) for key, number in (line.split() for line in lines)]


@contextmanager
def ledger_service() -> Iterator[LedgerService]:
    """Start a service, and kill it at the end."""
    with TemporaryDirectory() as folder:
        service = LedgerService(Path(folder))
        try:
            service.start()
            yield service
        finally:
            service.kill()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)))
