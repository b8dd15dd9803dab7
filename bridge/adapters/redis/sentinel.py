"""Ask Sentinels where a master is."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final

from bridge.adapters.redis.connection import Connection, ignore_outcome
from bridge.adapters.redis.discovery import first_answer
from bridge.adapters.redis.replies import parses_reply
from bridge.adapters.redis.slots import Node
from bridge.adapters.redis.target import Target
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, ProtocolError, RejectedError
from bridge.core.ports import Clock

Start = Callable[[Coroutine[Any, Any, None]], object]
"""Runs a task for as long as the session lives."""

#: How many Sentinels are remembered that other Sentinels have named.
_MOST_KNOWN: Final = 32


class Sentinels:
    """The Sentinels of one integration: those of the configuration, and those that they have named.

    Every Sentinel may be away, or wrong about the master while the others elect another one. So each session may ask
    another one first.
    """

    def __init__(self, configured: Sequence[Target], name: str, session_state: dict[str, Any]) -> None:
        """Ask nothing yet.

        Args:
            configured: The Sentinels of the configuration.
            name: The master's name.
            session_state: See `AdapterSetup.session_state`.
        """
        self._configured = configured
        self._name = name
        self._state = session_state

    def doubt(self) -> None:
        """Ask another Sentinel first the next time, because what was named is no master, or cannot be reached."""
        self._state["sentinel"] = self._state.get("sentinel", 0) + 1

    async def master(self, start: Start, clock: Clock) -> Target:
        """Return the master.

        Raises:
            ProtocolError: The answer is none of a Sentinel.
            NotConnectedError: None can be asked, or none knows; with `permanent` where that will not change.
        """
        known = [node for node in self._state.get("sentinels", ()) if node not in map(_node_of, self._configured)]
        sentinels = [*self._configured, *(self._configured[0].at(*node) for node in known)]
        first = self._state.get("sentinel", 0) % len(sentinels)
        asked = [*sentinels[first:], *sentinels[:first]]
        sentinel, master, others = await first_answer((partial(self._ask, one, start, clock) for one in asked), clock)
        named = dict.fromkeys((*others, *known))
        self._state["sentinels"] = tuple(named)[:_MOST_KNOWN]
        return sentinel.at(*master)

    async def _ask(self, sentinel: Target, start: Start, clock: Clock) -> tuple[Target, Node, tuple[Node, ...]]:
        connection = Connection(sentinel.anonymous(), clock)
        await connection.open()
        try:
            start(connection.run())
            others = connection.call("SENTINEL", "SENTINELS", self._name)
            others.add_done_callback(ignore_outcome)
            found = await connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
            if found is None:
                raise NotConnectedError(f"{sentinel.name} knows no master {self._name!r}", permanent=True)
            return sentinel, _address(found), await _others(others, sentinel)
        except RejectedError as error:
            raise NotConnectedError(f"{sentinel.name} is no Sentinel: {error.message}", permanent=True) from None
        except ConnectionLostError as error:
            raise NotConnectedError(f"{sentinel.name}: {error.message}") from None
        finally:
            await connection.close()


def _node_of(target: Target) -> Node:
    return target.server.host, target.server.port


@parses_reply("SENTINEL GET-MASTER-ADDR-BY-NAME")
def _address(found: Any) -> Node:
    host, port = found
    return host.decode(), int(port)


async def _others(reply: asyncio.Future[Any], sentinel: Target) -> tuple[Node, ...]:
    """Return the Sentinels that one names; none where it does not tell, since the master is known."""
    try:
        return tuple(node for node in _parse_others(await reply) if _can_be(sentinel, node))
    except BridgeError:
        return ()


@parses_reply("SENTINEL SENTINELS")
def _parse_others(reply: Iterable[Any]) -> list[Node]:
    rows = (row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True)) for row in reply)
    return [(row[b"ip"].decode(), int(row[b"port"])) for row in rows]


def _can_be(sentinel: Target, node: Node) -> bool:
    try:
        sentinel.at(*node)
    except ProtocolError:
        return False
    return True
