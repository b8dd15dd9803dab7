"""Remotes that misbehave beside the nine: one server of each protocol, with a fault that the seed chooses."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tests.support.servers.scripted.protocols import PROTOCOLS, Protocol
from tests.support.servers.scripted.server import ScriptedServer, scripted_server

#: Seconds in which the connections are counted.
SECONDS: Final = 10.0


Servers = dict[str, tuple[ScriptedServer, Protocol]]
"""The servers by their integrations' labels, with what they speak."""


@asynccontextmanager
async def misbehaving_servers(seed: int) -> AsyncIterator[tuple[Servers, str]]:
    """Run the servers; yield them, and the configuration of their integrations."""
    rng = random.Random(seed)
    text = ""
    servers: Servers = {}
    async with AsyncExitStack() as stack:
        for name, protocol in PROTOCOLS.items():
            fault = rng.choice(protocol.faults)
            label = f"bad-{name}-{fault.label}"
            server = await stack.enter_async_context(scripted_server(protocol.conversation, fault))
            servers[label] = server, protocol
            text += protocol.block(label, server.port)
        yield servers, text


def broken_by(servers: Servers) -> Sequence[str]:
    """Return one line for each server that got too many connections."""
    return [
        f"{label}: {most} connections in {SECONDS:g} s"
        for label, (server, protocol) in servers.items()
        if (most := server.most_connections(SECONDS)) > protocol.most_connections
    ]
