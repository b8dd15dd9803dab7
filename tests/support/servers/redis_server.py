"""A real Redis server as a process of its own, on a free port of loopback."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.adapters.redis import SPEC
from bridge.adapters.redis.config import RedisConfig
from bridge.core.endpoint import NO_AUTH, AuthBasic, AuthCertificate, AuthNone, Endpoint, Tls
from bridge.core.errors import BridgeError
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.programs import freeze

PROGRAM = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin")


@dataclass
class RedisServer:
    """A running server; `port` speaks TLS where it was started with certificates."""

    port: int
    process: subprocess.Popen[bytes]
    command: list[str]
    directory: Path

    @property
    def endpoint(self) -> Endpoint:
        """Where it is."""
        return Endpoint(address="127.0.0.1", port=self.port)

    def client(self, **more: object) -> redis.Redis:
        """An independent client; replies are text."""
        return redis.Redis(port=self.port, decode_responses=True, **more)  # type: ignore[arg-type]

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: the kernel still accepts connections, and nothing is answered."""
        freeze(self.process)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again on the same port, with what it had stored (append-only file)."""
        self.process = _start(self.command, self.port)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(command: list[str], port: int) -> subprocess.Popen[bytes]:
    """Start it, and wait until it listens and has loaded what it had stored: until then it answers LOADING."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 15
    while True:
        assert process.poll() is None, "redis-server has ended"
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                loaded = "--tls-port" in command or _has_loaded(probe)
        except OSError:
            loaded = False
        if loaded:
            return process
        if time.monotonic() > end:
            process.kill()
            process.wait()
            raise AssertionError("redis-server does not answer")
        time.sleep(0.01)


def _has_loaded(connection: socket.socket) -> bool:
    connection.sendall(b"PING\r\n")
    return not connection.recv(64).startswith(b"-LOADING")


@contextmanager
def redis_server(
    *options: str, tls: tuple[Path, Path, Path] | None = None, clients: str = "no", program: str | None = PROGRAM
) -> Iterator[RedisServer]:
    """Start a server with these options, wait until it listens, kill it in the end.

    Args:
        options: As on the command line.
        tls: Certificate, key and authority files; then it speaks TLS only.
        clients: `tls-auth-clients`: whether a client certificate is required.
        program: Another redis-server than the system's.
    """
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("redis-server is missing; scripts/test installs it")
        pytest.skip("redis-server is not installed")
    directory = Path(tempfile.mkdtemp(prefix="nbredis"))
    try:
        for _ in range(5):  # another process may take the port first
            port = _free_port()
            where = ["--port", str(port)]
            if tls is not None:
                cert, key, ca = map(str, tls)
                where = ["--port", "0", "--tls-port", str(port), "--tls-cert-file", cert, "--tls-key-file", key]
                where += ["--tls-ca-cert-file", ca, "--tls-auth-clients", clients]
            stored = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
            command = [program, *where, *stored, "--dir", str(directory), *options]
            try:
                process = _start(command, port)
            except AssertionError:
                continue
            break
        else:
            pytest.fail("redis-server does not start")
        server = RedisServer(port, process, command, directory)
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(directory)


@contextmanager
def redis_cluster(masters: int = 3) -> Iterator[list[RedisServer]]:
    """A cluster whose masters share all slots, and a replica of the first one as the last in the list."""
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port")
        buses = [_free_port() for _ in range(masters + 1)]
        nodes = [stack.enter_context(redis_server(*options, str(bus))) for bus in buses]
        clients = [stack.enter_context(node.client()) for node in nodes]
        bounds = [16384 * index // masters for index in range(masters + 1)]
        for index in range(masters):
            clients[index].execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        first = clients[0].execute_command("CLUSTER", "MYID")
        _until(lambda: first in str(clients[-1].execute_command("CLUSTER", "NODES")))
        clients[-1].execute_command("CLUSTER", "REPLICATE", first)
        _until(lambda: all("cluster_state:ok" in str(c.execute_command("CLUSTER", "INFO")) for c in clients))
        _until(lambda: clients[-1].info("replication")["master_link_status"] == "up")
        yield nodes


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "the cluster does not form"
        time.sleep(0.02)


@contextmanager
def redis_sentinel(name: str, master: RedisServer) -> Iterator[RedisServer]:
    """A Sentinel that watches one master."""
    assert PROGRAM is not None  # the master runs already
    with tempfile.TemporaryDirectory(prefix="nbredis") as directory:
        port = _free_port()
        file = Path(directory) / "sentinel.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {directory}\nsentinel monitor {name} 127.0.0.1 {master.port} 1\n"
        )
        command = [PROGRAM, str(file), "--sentinel"]
        sentinel = RedisServer(port, _start(command, port), command, Path(directory))
        try:
            yield sentinel
        finally:
            sentinel.kill()


@dataclass
class Told:
    """What a session has told its owner.

    Attributes:
        lost: Errors of `on_lost`.
        outdated: Errors of `on_outdated`.
        ended: Topics of `on_subscription_ended`, with their errors.
        dropped: Errors of `on_dropped`, with their topics.
        warnings: Texts of `on_warning` by name, as far as they stand.
    """

    lost: list[BridgeError] = field(default_factory=list)
    outdated: list[BridgeError] = field(default_factory=list)
    ended: list[tuple[str, BridgeError]] = field(default_factory=list)
    dropped: list[tuple[BridgeError, str]] = field(default_factory=list)
    warnings: dict[str, str] = field(default_factory=dict)

    def callbacks(self) -> dict[str, Any]:
        """The arguments of a setup."""

        def warn(name: str, text: str | None) -> None:
            self.warnings.pop(name, None)
            if text is not None:
                self.warnings[name] = text

        return {
            "on_lost": self.lost.append,
            "on_outdated": self.outdated.append,
            "on_subscription_ended": lambda subscription, error: self.ended.append((subscription.topic, error)),
            "on_dropped": lambda error, topic: self.dropped.append((error, topic)),
            "on_warning": warn,
        }


@asynccontextmanager
async def redis_session(
    server: RedisServer,
    *,
    auth: AuthNone | AuthBasic | AuthCertificate = NO_AUTH,
    tls: Tls | None = None,
    lost: list[BridgeError] | None = None,
    told: Told | None = None,
    state: dict[str, Any] | None = None,
    name: str = "test",
    **config: Any,
) -> AsyncIterator[Direct]:
    """A connected session.

    Args:
        server: Where to.
        auth: See `AdapterSetup`.
        tls: See `AdapterSetup`.
        lost: Collects what `on_lost` is told.
        told: Collects all that the owner is told.
        state: What an earlier session has left.
        name: The integration's.
        config: The `config` block.
    """
    told = told or Told()
    if lost is not None:
        told.lost = lost
    endpoint = server.endpoint if tls is None else server.endpoint.model_copy(update={"tls": True})
    setup = adapter_setup(
        name,
        endpoint,
        auth=auth,
        tls=tls or Tls(),
        config=RedisConfig(**config),
        session_state={} if state is None else state,
        **told.callbacks(),
    )
    adapter = SPEC.create(setup)
    try:
        await adapter.connect()
        yield Direct(adapter)
    finally:
        await adapter.disconnect()
