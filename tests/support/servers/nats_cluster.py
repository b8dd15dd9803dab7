"""Three real nats-servers that are joined by routes, with JetStream: a test kills, freezes and restarts each."""

import json
import os
import random
import shutil
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.servers.nats_server import PROGRAM, NatsServer

#: Ports that the system gives to no outgoing connection: a server finds its own free when it comes back, and a client
#: that tries a dead server's port is not connected with itself.
_PORTS: Final = range(18_000, 32_000)
#: Seconds for the servers to agree on a leader, and for a stream to have one.
_LEADER: Final = 30.0
_STEP: Final = 0.05
#: Changes by which a replica may be behind, and count as up to date.
_NEAR: Final = 5


class NatsCluster:
    """Running servers that form one cluster.

    Attributes:
        servers: The servers, in the order of their names `n1`, `n2`, …
    """

    def __init__(
        self,
        folder: Path,
        size: int = 3,
        settings: str = "",
        program: str | None = PROGRAM,
        *,
        advertise: bool = True,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            folder: Where the servers keep their files.
            size: How many servers.
            settings: What is added to the configuration of each, such as accounts.
            program: The program `nats-server`.
            advertise: Whether the servers tell clients where the others are.
        """
        clients, routes, self._status = (free_ports(size) for _ in range(3))
        known = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        self.servers: list[NatsServer] = []
        for number in range(size):
            name = f"n{number + 1}"
            (folder / name).mkdir()
            text = (
                f"server_name: {name}\nhttp: 127.0.0.1:{self._status[number]}\n"
                f"cluster {{ name: test, listen: 127.0.0.1:{routes[number]}, routes: [{known}], "
                f"no_advertise: {str(not advertise).lower()} }}\n{settings}"
            )
            server = NatsServer(folder / name, text, program)
            server.port = clients[number]
            self.servers.append(server)

    @property
    def ports(self) -> list[int]:
        """Where the servers listen for clients on loopback, in their order."""
        return [server.port for server in self.servers]

    @property
    def urls(self) -> list[str]:
        """The URLs of all servers, in their order."""
        return [f"nats://127.0.0.1:{port}" for port in self.ports]

    def start(self) -> None:
        """Start all servers, and wait until they have a leader of JetStream."""
        for server in self.servers:
            server.start()
        self.wait_for_leader(range(len(self.servers)))

    def status(self, index: int, page: str) -> dict[str, Any]:
        """Return a page of a server's monitoring, such as `jsz?streams=true`. Raises OSError where it is dead."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._status[index]}/{page}", timeout=2) as answer:
            return dict(json.load(answer))

    def leader(self, asked: int) -> int | None:
        """Return the index of JetStream's leader as one server sees it; None where that one sees none, or is dead."""
        try:
            name = self.status(asked, "jsz").get("meta_cluster", {}).get("leader")
        except OSError:
            return None
        return next((index for index in range(len(self.servers)) if name == f"n{index + 1}"), None)

    def wait_for_leader(self, among: Sequence[int]) -> int:
        """Wait until these servers agree on one of them as the leader of JetStream; return its index."""
        began = time.monotonic()
        while time.monotonic() - began < _LEADER:
            seen = {self.leader(index) for index in among}
            if len(seen) == 1 and (one := seen.pop()) is not None and one in among:
                return one
            time.sleep(_STEP)
        raise AssertionError("the servers have no leader:\n" + "\n".join(self.log(index) for index in among))

    def wait_for_replicas(self, *, consumers: bool = True) -> None:
        """Wait until every stream, and consumer, has a leader, and all its replicas are there and have all of it.

        All servers run. Whoever kills a server after this takes away one copy, and not the second of three.

        Args:
            consumers: Whether to wait for consumers, too. In nats-server 2.9 a replica of one may stay behind under
                load until its leader changes.
        """
        began = time.monotonic()
        last = ""
        while time.monotonic() - began < _LEADER:
            try:
                last = self._behind(consumers=consumers)
            except OSError as error:
                last = str(error)
            if not last:
                return
            time.sleep(_STEP)
        raise AssertionError(f"not all replicas are up to date: {last}")

    def _behind(self, *, consumers: bool) -> str:
        """Return a stream or consumer that waits for a replica, as its leader says; empty where there is none."""
        led, seen = set(), set()
        for index in range(len(self.servers)):
            for name, group in _groups(self.status(index, "jsz?streams=true&consumers=true&accounts=true")):
                if not consumers and name.count("/") > 1:
                    continue
                seen.add(name)
                if group.get("leader") != f"n{index + 1}":
                    continue  # only the leader of a group knows how far the others are
                led.add(name)
                for replica in group.get("replicas") or ():
                    # nats-server 2.9 calls a replica that came back not current until the next change in its group.
                    if replica.get("offline") or (not replica.get("current") and replica.get("lag", 0) > _NEAR):
                        return f"{name}: {replica}"
        return f"without a leader: {seen - led}" if seen - led else ""

    def log(self, index: int) -> str:
        """Return the end of what a server has logged."""
        return (self.servers[index].folder / "log").read_text(errors="replace")[-2000:]

    def kill(self, index: int) -> None:
        """Kill -9 one server, and wait until it is gone."""
        self.servers[index].kill()

    def start_again(self, index: int) -> None:
        """Start a dead server on its ports with its store, and wait until it greets; it may not have caught up then."""
        self.servers[index].start()

    def restart(self, index: int) -> None:
        """Kill -9 one server, start it again, and wait until all agree on a leader."""
        self.kill(index)
        self.start_again(index)
        self.wait_for_leader(range(len(self.servers)))

    def freeze(self, index: int) -> None:
        """SIGSTOP one server."""
        self.servers[index].freeze()

    def thaw(self, index: int) -> None:
        """SIGCONT one server."""
        self.servers[index].thaw()

    def stop(self) -> None:
        """Kill all that run."""
        for server in self.servers:
            if server.process is not None:
                server.kill()


def _groups(page: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each stream and consumer on a server's page, and what it says of its replicas."""
    for account in page.get("account_details") or ():
        for stream in account.get("stream_detail") or ():
            name = f"{account['name']}/{stream['name']}"
            yield name, stream.get("cluster") or {}
            for consumer in stream.get("consumer_detail") or ():
                yield f"{name}/{consumer['name']}", consumer.get("cluster") or {}


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that are free now, and that no outgoing connection gets."""
    dice = random.SystemRandom()  # two tests that run beside each other must not try the same ones
    taken: list[socket.socket] = []
    try:
        while len(taken) < count:
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", dice.choice(_PORTS)))
            except OSError:
                one.close()
            else:
                taken.append(one)
        return [one.getsockname()[1] for one in taken]
    finally:
        for one in taken:
            one.close()


@contextmanager
def nats_cluster(
    size: int = 3, settings: str = "", *, program: str | None = PROGRAM, advertise: bool = True
) -> Iterator[NatsCluster]:
    """Run a cluster on free ports of loopback; skipped where there is no nats-server, but never in CI."""
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nats-server is missing")
        pytest.skip("nats-server is not installed (Debian: nats-server)")
    folder = Path(tempfile.mkdtemp(prefix="nb-nats-cluster"))
    cluster = NatsCluster(folder, size, settings, program, advertise=advertise)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)
