"""Three NATS servers and the sidecars of one fabric, each with a program on its bus."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.load.fabric.ear import Ear, Event
from tests.support.servers.nats_cluster import NatsCluster, nats_cluster
from tests.support.servers.programs import freeze
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory

FABRIC: Final = "plant"
CARRIER: Final = "cluster"
#: What a program of a part always hears, beside what it asks for.
_HEARD: Final = ("receipt.", "response.", "health.", f"resilience.fabric.{FABRIC}.")
#: Seconds for a fabric to be joined.
_JOINED: Final = 60.0
#: Seconds in which what a dead bus has sent is read.
_DRAIN: Final = 0.1


def carrier(ports: Sequence[int]) -> str:
    """Return the integration that carries the fabric, whose first server is the first of these."""
    first, *others = ports
    more = ", ".join(f'"127.0.0.1:{port}"' for port in others)
    return f"""
integration "{CARRIER}" {{
  type = "nats"
  endpoint {{
    url = "nats://127.0.0.1:{first}"
  }}
  config {{
    servers = [{more}]
  }}
  health {{
    interval = "1s"
    timeout  = "1s"
  }}
  resilience {{
    timeout = "2s"
    circuit_breaker {{
      timeout = "1s"
    }}
  }}
}}
"""


class Node:
    """One sidecar with its bus, and a program on it.

    Attributes:
        name: Its name in the fabric.
        kills: How often it was killed.
        life: Which run of it this is; it changes when what the last run has sent is read.
        health: The last payload of each `health.*` of this bus.
    """

    def __init__(self, name: str, folder: Path, text: str, prefixes: Sequence[str]) -> None:
        """Start its first sidecar; it is not ready yet."""
        self.name = name
        self.kills = 0
        self.life = 0
        self.health: dict[str, Any] = {}
        self._folder = folder
        self._text = f'bridge {{\n  data_dir = "{folder}/data"\n  heartbeat = "1s"\n}}\n{bus_block(folder)}\n{text}'
        self._sidecar = Sidecar(folder, self._text)
        self.ear = Ear(self._sidecar.publish, self._sidecar.subscribe, (*prefixes, *_HEARD))

    def ready(self) -> None:
        """Wait until the first sidecar is ready."""
        self._sidecar.ready()

    @property
    def log(self) -> str:
        """Return what its sidecars have logged."""
        return self._sidecar.text

    @property
    def pid(self) -> int:
        """Return the process id of the sidecar."""
        return self._sidecar.process.pid

    def take(self) -> list[Event]:
        """Return what the program has heard since the last time; healths are noted in `health`, too."""
        events = self.ear.take()
        for event in events:
            if event["event_type"].startswith("health."):
                self.health[event["event_type"]] = event["payload"]
        return events

    async def kill(self, drain: Callable[[], None]) -> None:
        """Kill -9 the sidecar; `drain` takes what its bus had sent before, and then a new life begins."""
        self._check_alive()
        self._sidecar.kill()
        self.kills += 1
        await asyncio.sleep(_DRAIN)
        drain()
        self.life += 1
        self.health.clear()

    def start(self) -> None:
        """Start the next sidecar with the same folder."""
        self._sidecar = Sidecar(self._folder, self._text)

    def freeze(self) -> None:
        """SIGSTOP the sidecar."""
        freeze(self._sidecar.process)

    def thaw(self) -> None:
        """SIGCONT the sidecar."""
        self._sidecar.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End the sidecar."""
        self._sidecar.kill()

    def _check_alive(self) -> None:
        assert self._sidecar.process.poll() is None, f"{self.name} ended by itself: {self.log[-2000:]}"

    def check(self) -> None:
        """Raise AssertionError where the sidecar ended by itself, or logged a traceback."""
        self._check_alive()
        assert "Traceback" not in self.log, self.log[self.log.index("Traceback") - 500 :][:4000]


class Stand:
    """The servers and the nodes.

    Attributes:
        cluster: The servers.
        nodes: The nodes `n1`, `n2`, `n3`.
    """

    def __init__(self, cluster: NatsCluster, nodes: Sequence[Node]) -> None:
        self.cluster = cluster
        self.nodes = tuple(nodes)

    async def joined(self) -> None:
        """Wait until each node is joined and sees all others.

        Raises:
            AssertionError: That does not come about; the message has the healths and the logs.
        """
        end = time.monotonic() + _JOINED
        while not all(self._sees_all(node) for node in self.nodes):
            for node in self.nodes:
                node.take()
            if time.monotonic() > end:
                states = {node.name: node.health.get(f"health.fabric.{FABRIC}") for node in self.nodes}
                logs = "\n".join(f"--- {node.name}\n{node.log[-1500:]}" for node in self.nodes)
                raise AssertionError(f"not joined within {_JOINED:g} s: {states}\n{logs}")
            await asyncio.sleep(0.02)

    def _sees_all(self, node: Node) -> bool:
        health = node.health.get(f"health.fabric.{FABRIC}")
        others = {one.name for one in self.nodes if one is not node}
        return health is not None and others <= {
            name for name, status in health["nodes"].items() if status == "connected"
        }

    def check(self) -> None:
        """Raise AssertionError where a sidecar has ended by itself or logged a traceback."""
        for node in self.nodes:
            node.check()


@contextmanager
def stand(text: Callable[[str, int], str], prefixes: Sequence[str], *, names: Sequence[str]) -> Iterator[Stand]:
    """Run the servers and the sidecars; end them afterwards.

    Args:
        text: Makes a node's configuration beside its carrier, of the node's name and index.
        prefixes: The types that the programs hear.
        names: The nodes' names.
    """
    with nats_cluster() as cluster:
        ports = cluster.ports
        carriers = [carrier([*ports[index % 3 :], *ports[: index % 3]]) for index in range(len(names))]
        with nodes(
            cluster,
            [lines + text(name, index) for index, (name, lines) in enumerate(zip(names, carriers, strict=True))],
            prefixes,
            names=names,
        ) as running:
            yield running


@contextmanager
def nodes(
    cluster: NatsCluster, texts: Sequence[str], prefixes: Sequence[str], *, names: Sequence[str]
) -> Iterator[Stand]:
    """Run the sidecars of a cluster that runs; each configuration names its carrier itself."""
    with ExitStack() as stack:
        found: list[Node] = []
        for name, text in zip(names, texts, strict=True):
            folder = stack.enter_context(short_directory())
            node = Node(name, folder, text, prefixes)
            stack.callback(node.end)
            found.append(node)
        for node in found:
            node.ready()
            stack.enter_context(node.ear)
        running = Stand(cluster, found)
        yield running
