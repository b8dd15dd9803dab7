"""The command line: many nodes in one process on a real nats-server, and what they cost."""

import argparse
import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.fabric.nats import NatsMember, members_of
from tests.support.servers.nats_cluster import free_ports
from tests.support.servers.nats_server import NatsServer, nats_server
from tests.support.wait import until

#: Seconds between two starts, so that heartbeats do not come all at once.
_SPREAD: Final = 5.0
#: Integrations that each node has.
_INTEGRATIONS: Final = 10


@dataclass(frozen=True)
class _Reading:
    """What was used so far.

    Attributes:
        at: When, in seconds.
        process: Seconds of the processor for all nodes.
        server: The same for the server.
        sent: Messages that the server has got.
        delivered: Messages that it has sent.
    """

    at: float
    process: float
    server: float
    sent: int
    delivered: int


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load.nodes", description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long is measured")
    options = parser.parse_args(arguments)
    if options.nodes < 2 or options.seconds <= 0:
        parser.error("--nodes is 2 at least, --seconds is more than 0")
    return options


def _read(server: NatsServer, status: int) -> _Reading:
    assert server.process is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{status}/varz", timeout=5) as answer:
        found = json.load(answer)
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    used = ticks / os.sysconf("SC_CLK_TCK")
    return _Reading(time.monotonic(), time.process_time(), used, found["in_msgs"], found["out_msgs"])


def _show(what: str, begin: _Reading, end: _Reading, nodes: int) -> None:
    seconds = end.at - begin.at
    process, server = (end.process - begin.process) / seconds, (end.server - begin.server) / seconds
    print(
        f"{what}: {process:.1%} of a processor for all nodes, {process / nodes:.3%} for one; {server:.1%} for the "
        f"server; {(end.sent - begin.sent) / seconds:.1f} messages/s to the server, "
        f"{(end.delivered - begin.delivered) / seconds:.1f} from it"
    )


def _connected(member: NatsMember) -> int:
    return sum(status == "connected" for status in member.member.sees().values())


async def _measure(options: argparse.Namespace) -> None:
    (status,) = free_ports(1)
    with nats_server(f"http: 127.0.0.1:{status}") as server:
        async with members_of() as members:
            url, began = f"nats://127.0.0.1:{server.port}", time.monotonic()
            for number in range(options.nodes):
                name = f"n{number}"
                one = NatsMember(url, name, run=name)
                one.member.set(**{f"integration-{index}": "connected" for index in range(_INTEGRATIONS)})
                one.start()
                members.append(one)
                await asyncio.sleep(_SPREAD / options.nodes)
            await until(lambda: all(_connected(one) == options.nodes for one in members), "that all see each other")
            print(f"{options.nodes} nodes see each other {time.monotonic() - began - _SPREAD:.2f} s after the last one")

            await asyncio.sleep(1)
            begin = _read(server, status)
            await asyncio.sleep(options.seconds)
            _show("nothing changes", begin, _read(server, status), options.nodes)

            begin = _read(server, status)
            end = time.monotonic() + options.seconds
            while time.monotonic() < end:
                for number, one in enumerate(members):
                    state = "degraded" if (int(time.monotonic()) + number) % 2 else "connected"
                    one.member.set(erp=state)
                await asyncio.sleep(1)
            _show("each node changes once a second", begin, _read(server, status), options.nodes)

            gone, others, began = members[0], members[1:], time.monotonic()
            await gone.kill()
            await until(lambda: all(one.member.sees()[gone.member.node] == "lost" for one in others), "that it is lost")
            print(f"a node that was killed is lost for all others after {time.monotonic() - began:.1f} s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print what was found."""
    asyncio.run(_measure(_options(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
