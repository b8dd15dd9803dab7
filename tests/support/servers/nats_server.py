"""A real nats-server as a process of its own, and a responder on it, so that tests can kill and freeze it."""

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.support.servers.programs import freeze, on_path

PROGRAM = on_path("nats-server")
_RELOADED = "Reloaded server configuration"


class NatsServer:
    """A running server; `restart` brings it back on the same port with the same store."""

    def __init__(
        self, folder: Path, settings: str = "", program: str | None = PROGRAM, *, jetstream: bool = True
    ) -> None:
        """Nothing runs before `start`; `settings` goes into the configuration file."""
        self.folder = folder
        self.settings = settings
        self.program = program
        self.jetstream = jetstream
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, on a free port the first time, and wait until it greets."""
        file = self._configure()
        ports = self.folder / "ports"
        ports.mkdir(exist_ok=True)
        arguments = ["--addr", "127.0.0.1", "--port", str(self.port or -1), "--config", str(file)]
        arguments += ["--ports_file_dir", str(ports)]
        assert self.program is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self.program, *arguments], stdout=log, stderr=log)
        self.port = self.port or self._wait_for_port(ports)
        self._wait_for_greeting()

    def _configure(self) -> Path:
        """Write the configuration file. JetStream is in it, as a reload turns off what is an argument alone."""
        file = self.folder / "nats.conf"
        jetstream = f'jetstream {{ store_dir: "{self.folder / "store"}" }}\n' if self.jetstream else ""
        file.write_text(jetstream + self.settings)
        return file

    def _wait_for_port(self, folder: Path) -> int:
        assert self.process is not None
        file = folder / f"nats-server_{self.process.pid}.ports"
        while True:
            self._check()
            if file.exists() and (text := file.read_text()).endswith("}"):
                return int(json.loads(text)["nats"][0].rpartition(":")[2])
            time.sleep(0.005)

    def _wait_for_greeting(self) -> None:
        while True:
            self._check()
            try:
                if self.greeting():
                    return
            except ConnectionError:
                time.sleep(0.005)

    def greeting(self) -> dict[str, Any]:
        """Return what it says about itself to a new client; nothing where it ends the connection before."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe, probe.makefile("rb") as lines:
            line = lines.readline()
        return dict(json.loads(line[5:])) if line.startswith(b"INFO ") else {}

    def _check(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Kill -9, and start again."""
        self.kill()
        self.start()

    def reload(self, settings: str) -> None:
        """Change the configuration file while it runs, and wait until the server has read it."""
        assert self.process is not None
        log = self.folder / "log"
        before = log.read_text().count(_RELOADED)
        self.settings = settings
        self._configure()
        self.process.send_signal(signal.SIGHUP)
        while log.read_text().count(_RELOADED) == before:
            self._check()
            time.sleep(0.005)

    def lame_duck(self) -> None:
        """Let it enter lame duck mode: it takes no new connections, and ends the others little by little."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR2)

    def freeze(self) -> None:
        """SIGSTOP, and wait until it really stands still."""
        assert self.process is not None
        freeze(self.process)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def nats_server(settings: str = "", *, program: str | None = PROGRAM, jetstream: bool = True) -> Iterator[NatsServer]:
    """A server on a free port of loopback; skipped where there is none, but never in CI."""
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nats-server is missing")
        pytest.skip("nats-server is not installed (Debian: nats-server)")
    folder = Path(tempfile.mkdtemp(prefix="nb-nats"))
    server = NatsServer(folder, settings, program, jetstream=jetstream)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.kill()
        shutil.rmtree(folder)


@asynccontextmanager
async def nats_client(port: int, **options: Any) -> AsyncIterator[Client]:
    """A plain client of the library, for what the other side does; it bears the server's death."""
    client = Client()

    async def quiet(_: Exception) -> None:
        pass

    await client.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False, error_cb=quiet, **options)
    try:
        yield client
    finally:
        await client.close()


async def subscribed(client: Client) -> None:
    """Wait until the server knows all subscriptions of a client.

    `Client.flush` of nats-py sends its PING before commands that wait to be written; a second one comes after them.
    """
    await client.flush()
    await client.flush()


class NatsResponder:
    """The methods of the contract suite as NATS services answer them (ADR-32)."""

    def __init__(self, client: Client) -> None:
        """Nothing is answered before `start`."""
        self._client = client
        self.calls: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []

    async def start(self) -> None:
        """Listen."""
        for method in ("echo", "sleep", "fail", "orders.create"):
            await self._client.subscribe(method, cb=functools.partial(self._answer, method))
        await subscribed(self._client)

    async def _answer(self, method: str, message: Msg) -> None:
        number = self.calls[method]
        self.calls[method] += 1
        self.headers.append(dict(message.headers or {}))
        params = json.loads(message.data or b"null")
        headers: dict[str, str] | None = None
        result: Any = params
        if method == "sleep" or not message.reply:
            return
        if method == "orders.create":
            result = {**params, "number": number}
        elif method == "fail":
            headers = {"Nats-Service-Error": params["message"], "Nats-Service-Error-Code": str(params["code"])}
            result = params["data"]
        await self._client.publish(message.reply, json.dumps(result).encode(), headers=headers)


@asynccontextmanager
async def nats_responder(port: int) -> AsyncIterator[NatsResponder]:
    """A responder on a running server."""
    async with nats_client(port) as client:
        running = NatsResponder(client)
        await running.start()
        yield running
