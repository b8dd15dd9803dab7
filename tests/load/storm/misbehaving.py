"""Remotes that misbehave beside the nine: one server of each protocol, with a fault that the seed chooses."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tests.support.servers.scripted.protocols import PROTOCOLS
from tests.support.servers.scripted.server import ScriptedServer, scripted_server

#: Connections that such a server may get in so many seconds.
MOST_CONNECTIONS: Final = 12
SECONDS: Final = 10.0


@asynccontextmanager
async def misbehaving_servers(seed: int) -> AsyncIterator[tuple[dict[str, ScriptedServer], str]]:
    """Run the servers; yield them by their integrations' labels, and the configuration of those."""
    rng = random.Random(seed)
    text = ""
    servers: dict[str, ScriptedServer] = {}
    async with AsyncExitStack() as stack:
        for name, protocol in PROTOCOLS.items():
            fault = rng.choice(protocol.faults)
            label = f"bad-{name}-{fault.label}"
            servers[label] = await stack.enter_async_context(scripted_server(protocol.conversation, fault))
            text += protocol.block(label, servers[label].port)
        yield servers, text


def broken_by(servers: dict[str, ScriptedServer]) -> Sequence[str]:
    """Return one line for each server that got too many connections."""
    return [
        f"{label}: {most} connections in {SECONDS:g} s"
        for label, server in servers.items()
        if (most := server.most_connections(SECONDS)) > MOST_CONNECTIONS
    ]
