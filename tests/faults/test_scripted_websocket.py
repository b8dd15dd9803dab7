"""WebSocket, and JSON-RPC over it: servers that misbehave. See `tests/support/servers/scripted/suite.py`."""

import pytest

from tests.support.servers.scripted.protocols import Protocol
from tests.support.servers.scripted.server import Fault
from tests.support.servers.scripted.suite import cases, check_faults


@pytest.mark.timeout(90)
@pytest.mark.parametrize(("protocol", "faults"), cases("websocket", "json-rpc-websocket"))
async def test_whatever_a_server_does(protocol: Protocol, faults: list[Fault]) -> None:
    """No fault ends the process, makes it spin, disturbs another integration, or is lost in silence."""
    await check_faults(protocol, faults)
