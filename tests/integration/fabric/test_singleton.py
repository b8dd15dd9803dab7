"""One leader of all over real servers: sidecars with `singleton`, and servers, are killed, suspended and stopped."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Final

from tests.support.bus.program import Event, Program
from tests.support.servers.http_server import Received, http, scripted_server
from tests.support.servers.nats_cluster import NatsCluster, nats_cluster
from tests.support.servers.nats_server import nats_server
from tests.support.servers.programs import freeze
from tests.support.sidecar.sidecar import Sidecar, short_directory, sidecar
from tests.support.wait import until

_LEASE: Final = "resilience.fabric.plant.lease"
#: Seconds in which another node must go on.
_GAP: Final = 15.0
#: Seconds that servers may take to have another leader for a stream.
_ELECTION: Final = 10.0


def _node(urls: Sequence[str], node: str, replicas: int = 1) -> str:
    others = ", ".join(f'"{url.removeprefix("nats://")}"' for url in urls[1:])
    return f"""
integration "cluster" {{
  type = "nats"
  endpoint {{
    url = "{urls[0]}"
  }}
  config {{
    servers = [{others}]
  }}
}}
fabric "plant" {{
  integration = "cluster"
  node        = "{node}"
  replicas    = {replicas}
}}
"""


_TIMER: Final = """
integration "clock" {
  type = "timer"
  config {
    schedule "second" {
      every = "1s"
    }
    schedule "fast" {
      every = "100ms"
    }
  }
}
subscription "second" {
  integration = "clock"
  topic       = "second"
  emit        = "tick.second"
  singleton   = "plant"
}
subscription "fast" {
  integration = "clock"
  topic       = "fast"
  emit        = "tick.fast"
  singleton   = "plant"
}
"""


class _Nodes:
    """Sidecars that all have the same subscriptions, and a program on the bus of each."""

    def __init__(self, stack: ExitStack, urls: Sequence[str], more: str, replicas: int = 1) -> None:
        self._stack, self._urls, self._more, self._replicas = stack, urls, more, replicas
        self.sidecars: dict[str, Sidecar] = {}
        self.programs: dict[str, Program] = {}

    def start(self, *names: str) -> None:
        """Start sidecars, and listen on their buses."""
        for name in names:
            text = _node(self._urls, name, self._replicas) + self._more
            one = self.sidecars[name] = self._stack.enter_context(sidecar(text, heartbeat="500ms"))
            self.programs[name] = self._stack.enter_context(one.program("tick.", "seen.", _LEASE, "health.fabric."))

    async def joined(self) -> None:
        """Wait until all are members of the fabric."""
        for program in self.programs.values():
            await program.wait("health.fabric.plant", lambda event: event["payload"]["status"] == "connected")

    def changes(self, name: str, subscription: str) -> list[Event]:
        """Return what a node has said of a lease."""
        return [one for one in self.programs[name].seen(_LEASE) if one["payload"]["subscription"] == subscription]

    def leader(self, subscription: str, told: Sequence[str]) -> str | None:
        """Return who has the lease as all these nodes have told last; None where they do not agree on one."""
        known = {
            changes[-1]["payload"]["node"] if (changes := self.changes(name, subscription)) else None for name in told
        }
        return known.pop() if len(known) == 1 else None

    async def led_by_another(self, than: str, subscription: str, told: Sequence[str]) -> str:
        """Wait until all these nodes say that another one leads than this; return it."""
        await until(
            lambda: self.leader(subscription, told) not in {None, than}, f"another leader of {subscription}", _GAP + 5
        )
        found = self.leader(subscription, told)
        assert found is not None
        return found

    def events(self, event_type: str) -> list[tuple[str, Event]]:
        """Return the events of one type with the node on whose bus each was, in the order of their timestamps."""
        found = [(name, one) for name, program in self.programs.items() for one in program.seen(event_type)]
        return sorted(found, key=lambda one: one[1]["timestamp"])

    async def said_by(self, name: str, event_type: str) -> None:
        """Wait for the next event of a type on the bus of a node."""
        program = self.programs[name]
        await program.wait(event_type, since=program.mark(), seconds=_GAP)

    async def go_on(self, event_type: str, since: float, seconds: float = _GAP) -> None:
        """Wait for an event of a type after a moment (Unix ms), on any bus."""
        await until(
            lambda: any(event["timestamp"] > since for _, event in self.events(event_type)), event_type, seconds
        )

    def check_ticks(self, event_type: str, longest: float = _GAP) -> None:
        """Check that no tick was emitted twice, and that no gap was as long as that, in seconds."""
        events = self.events(event_type)
        ticks = Counter(event["payload"]["message"]["scheduled_at"] for _, event in events)
        assert [tick for tick, count in ticks.items() if count > 1] == []
        gaps = [after["timestamp"] - before["timestamp"] for (_, before), (_, after) in pairwise(events)]
        assert max(gaps) < longest * 1000


async def test_no_tick_is_emitted_twice():
    """The leader is killed, suspended and stopped, the server killed: each tick comes once, gaps are short and told."""
    with nats_server() as server, ExitStack() as stack:
        nodes = _Nodes(stack, [f"nats://127.0.0.1:{server.port}"], _TIMER)
        nodes.start("a")
        for event_type in ("tick.second", "tick.fast"):  # it has both leases before there is anybody else
            await nodes.said_by("a", event_type)
        nodes.start("b", "c", "d")
        await nodes.joined()

        nodes.sidecars["a"].kill()
        second = await nodes.led_by_another("a", "second", "bcd")
        await nodes.led_by_another("a", "fast", "bcd")
        told = [one for name in "bcd" for one in nodes.changes(name, "second")]
        assert {(one["payload"]["node"], one["payload"]["previous"]) for one in told} == {(second, "a")}
        assert all(6_000 < one["payload"]["gap_ms"] < _GAP * 1000 for one in told)

        # A leader that stands still for longer than its term.
        others = [name for name in "bcd" if name != second]
        freeze(nodes.sidecars[second].process)
        frozen = time.monotonic()
        third = await nodes.led_by_another(second, "second", others)
        await asyncio.sleep(max(0.0, frozen + 15 - time.monotonic()))
        woken = time.time() * 1000
        nodes.sidecars[second].process.send_signal(signal.SIGCONT)
        await until(lambda: nodes.leader("second", [second, *others]) == third, "one view of the leader")
        lost = next(one["payload"] for one in nodes.changes(second, "second") if one["timestamp"] >= woken)
        assert (lost["previous"], lost["node"]) in {(second, None), (second, third)}
        await nodes.said_by(third, "tick.second")
        late = [event for name, event in nodes.events("tick.second") if name == second and event["timestamp"] >= woken]
        assert late == []

        # One that ends in order, and a server that is away for some seconds.
        since = time.monotonic()
        nodes.sidecars[third].term()
        await nodes.led_by_another(third, "second", [name for name in "bcd" if name != third])
        assert time.monotonic() - since < 5
        assert nodes.sidecars[third].wait() == 0
        server.kill()
        await asyncio.sleep(2)
        server.restart()
        restarted = time.time() * 1000
        for event_type in ("tick.second", "tick.fast"):
            await nodes.go_on(event_type, restarted)
        nodes.check_ticks("tick.second")
        nodes.check_ticks("tick.fast")
        ran = Counter(name for name, _ in nodes.events("tick.second"))
        assert {"a", second, third} <= ran.keys()


async def test_a_change_is_said_by_one():
    """Two nodes watch one folder and poll one page: each change is one event, also after the leader has ended."""
    page = [0]

    def answer(request: Received) -> None:
        request.send(http(f'{{"value": {page[0]}}}', 200, "Content-Type: application/json"))

    async with scripted_server(answer) as remote:
        with nats_server() as server, short_directory() as folder, ExitStack() as stack:
            more = f"""
integration "page" {{
  type = "http"
  endpoint {{
    url = "{remote.url}"
  }}
  config {{
    poll = "100ms"
  }}
}}
subscription "page" {{
  integration = "page"
  topic       = "poll"
  emit        = "seen.page"
  singleton   = "plant"
}}
integration "folder" {{
  type = "file"
  config {{
    root     = "{folder}"
    interval = "100ms"
  }}
}}
subscription "folder" {{
  integration = "folder"
  topic       = "*.txt"
  emit        = "seen.file"
  singleton   = "plant"
}}
"""
            nodes = _Nodes(stack, [f"nats://127.0.0.1:{server.port}"], more)
            nodes.start("a")
            await until(lambda: nodes.leader("page", "a") == nodes.leader("folder", "a") == "a", "the leader")
            nodes.start("b")
            await nodes.joined()
            await asyncio.sleep(1)  # both have seen what was there before

            async def change(number: int) -> None:
                before = len(nodes.events("seen.page")), len(nodes.events("seen.file"))
                page[0] = number
                (folder / "new").write_text("whole")
                (folder / "new").rename(folder / f"{number}.txt")
                await until(
                    lambda: len(nodes.events("seen.page")) > before[0] and len(nodes.events("seen.file")) > before[1],
                    f"change {number}",
                )
                await asyncio.sleep(0.5)  # the other node has polled, too

            for number in (1, 2, 3):
                await change(number)
            assert {name for kind in ("seen.page", "seen.file") for name, _ in nodes.events(kind)} == {"a"}
            nodes.sidecars["a"].term()
            for lease in ("page", "folder"):
                assert await nodes.led_by_another("a", lease, ["b"]) == "b"
            for number in (4, 5):
                await change(number)
            said = [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5)]
            files = [(name, event["payload"]["topic"]) for name, event in nodes.events("seen.file")]
            assert files == [(name, f"{number}.txt") for name, number in said]
            pages = [(name, event["payload"]["message"]["value"]) for name, event in nodes.events("seen.page")]
            assert [one for one in pages if one[1] > 0] == said


async def test_the_server_that_leads_the_bucket_is_killed():
    """Three servers, three replicas: when the one that leads the bucket dies, ticks go on within seconds, each once."""
    with nats_cluster() as cluster, ExitStack() as stack:
        nodes = _Nodes(stack, cluster.urls, _TIMER, 3)
        nodes.start("a", "b")
        await nodes.joined()
        for event_type in ("tick.second", "tick.fast"):
            await nodes.go_on(event_type, 0)
        cluster.wait_for_replicas()
        cluster.kill(_leads_bucket(cluster))
        killed = time.time() * 1000
        for event_type in ("tick.second", "tick.fast"):
            await nodes.go_on(event_type, killed + 500, _ELECTION + _GAP)
        await asyncio.sleep(1)
        for event_type in ("tick.second", "tick.fast"):
            nodes.check_ticks(event_type, _ELECTION + _GAP)


def _leads_bucket(cluster: NatsCluster) -> int:
    """Return the index of the server that leads the stream of the bucket."""
    for index in range(3):
        for account in cluster.status(index, "jsz?streams=true&accounts=true").get("account_details") or ():
            for stream in account.get("stream_detail") or ():
                if stream["name"] == "KV_NEMO_plant" and (leader := stream["cluster"].get("leader")):
                    return int(leader.removeprefix("n")) - 1
    raise AssertionError("the bucket has no leader")
