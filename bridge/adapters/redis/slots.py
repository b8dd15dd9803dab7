"""Find the node of a Redis Cluster that has a key, by the cluster's own table (CLUSTER SLOTS)."""

from bisect import bisect_right
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import msgspec
from redis.crc import key_slot

from bridge.adapters.redis.connection import Connection
from bridge.adapters.redis.replies import parses_reply
from bridge.adapters.redis.target import Target
from bridge.core.errors import ConnectionLostError, NotConnectedError, RejectedError
from bridge.core.ports import Clock

#: How many slots a cluster has (Redis Cluster specification).
SLOTS: Final = 16_384

#: Host and port.
Node = tuple[str, int]


class SlotMap(msgspec.Struct, frozen=True):
    """The table of a cluster: ranges of slots, and the master of each.

    Attributes:
        starts: The first slot of each range, rising.
        ends: The last slot of each.
        nodes: The master of each.
        known: All nodes that the table names, masters and replicas.
    """

    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    nodes: tuple[Node, ...] = ()
    known: tuple[Node, ...] = ()

    @property
    def uncovered(self) -> int:
        """How many slots no node serves."""
        return SLOTS - sum(end - start + 1 for start, end in zip(self.starts, self.ends, strict=True))

    def node_of(self, key: str) -> Node:
        """Return the master that has a key. Raises NotConnectedError where no node serves its slot."""
        slot = key_slot(key.encode(errors="surrogatepass"))
        index = bisect_right(self.starts, slot) - 1
        if index < 0 or slot > self.ends[index]:
            raise NotConnectedError(f"no node of the cluster serves slot {slot}")
        return self.nodes[index]


@parses_reply("CLUSTER SLOTS")
def parse_slots(reply: Iterable[Any], asked: str) -> SlotMap:
    """Return the map in a reply to CLUSTER SLOTS; a node without an address is the one that was `asked`.

    Raises ProtocolError where it is no such reply.
    """
    ranges = sorted((int(start), int(end), [_node(node, asked) for node in nodes]) for start, end, *nodes in reply)
    return SlotMap(
        tuple(start for start, *_ in ranges),
        tuple(end for _, end, _ in ranges),
        tuple(nodes[0] for *_, nodes in ranges),
        tuple(dict.fromkeys(node for *_, nodes in ranges for node in nodes)),
    )


def _node(node: Sequence[Any], asked: str) -> Node:
    return (node[0] or b"").decode() or asked, int(node[1])


async def ask_slots(target: Target, start: Callable[[Coroutine[Any, Any, None]], object], clock: Clock) -> SlotMap:
    """Return the table of a cluster, from one node, over a connection that is opened for that.

    Args:
        target: The node.
        start: Runs a coroutine as a task.
        clock: For the end of the connection.

    Raises:
        NotConnectedError: It does not answer; with `permanent` where it is no cluster.
        ProtocolError: Its answer is no table of slots.
        AuthError: It refuses the credentials.
    """
    connection = Connection(target, clock)
    await connection.open()
    try:
        start(connection.run())
        return await read_slots(connection, target)
    except ConnectionLostError as error:
        raise NotConnectedError(error.message) from None
    finally:
        await connection.close()


async def read_slots(connection: Connection, target: Target) -> SlotMap:
    """Return the table of a cluster, from the node at the other end of a connection. Raises as `ask_slots` does."""
    try:
        found = parse_slots(await connection.call("CLUSTER", "SLOTS"), target.server.host)
    except RejectedError as error:
        raise NotConnectedError(f"{target.name} is no node of a cluster: {error.message}", permanent=True) from None
    if not found.nodes:
        raise NotConnectedError(f"the cluster of {target.name} has assigned no slots yet")
    return found
