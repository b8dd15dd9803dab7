"""Ask a Sentinel where a master is."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bridge.adapters.redis.connection import Connection
from bridge.adapters.redis.replies import parses_reply
from bridge.adapters.redis.target import Target
from bridge.core.errors import ConnectionLostError, NotConnectedError, RejectedError
from bridge.core.ports import Clock

Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Runs a task for as long as the session lives."""


async def master_of(sentinel: Target, name: str, start: Start, clock: Clock) -> Target:
    """Ask a Sentinel for the address of a master, and return that master.

    Raises:
        ProtocolError: Its answer is none of a Sentinel.
        NotConnectedError: It cannot be asked, or does not know; with `permanent` where that will not change.
    """
    connection = Connection(sentinel.anonymous(), clock, lambda _: None)
    await connection.open()
    start(connection.run())
    try:
        found = await connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
    except RejectedError as error:
        raise NotConnectedError(f"no Sentinel answers there: {error.message}", permanent=True) from None
    except ConnectionLostError as error:
        raise NotConnectedError(error.message) from None
    finally:
        await connection.close()
    if found is None:
        raise NotConnectedError(f"the Sentinel knows no master {name!r}", permanent=True)
    return sentinel.at(*_address(found))


@parses_reply("SENTINEL GET-MASTER-ADDR-BY-NAME")
def _address(found: Any) -> tuple[str, int]:
    host, port = found
    return host.decode(), int(port)
