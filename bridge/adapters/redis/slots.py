"""Find the node of a Redis Cluster that has a key, by the cluster's own table (CLUSTER SLOTS)."""

from bisect import bisect_right
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from redis.crc import key_slot

from bridge.adapters.redis.connection import Connection
from bridge.adapters.redis.replies import parses_reply
from bridge.adapters.redis.target import Target
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, RejectedError
from bridge.core.ports import Clock

#: Host and port.
Node = tuple[str, int]


@dataclass(frozen=True, slots=True)
class SlotMap:
    """The table of a cluster: ranges of slots, and the master of each.

    Attributes:
        starts: The first slot of each range, rising.
        ends: The last slot of each.
        nodes: The master of each.
    """

    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    nodes: tuple[Node, ...] = ()

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
    ranges = sorted(
        (int(start), int(end), (master[0] or b"").decode(), int(master[1])) for start, end, master, *_ in reply
    )
    return SlotMap(
        tuple(start for start, *_ in ranges),
        tuple(end for _, end, *_ in ranges),
        tuple((host or asked, port) for _, _, host, port in ranges),
    )


async def read_slots(
    targets: Iterable[Target], start: Callable[[Coroutine[Any, Any, None]], object], clock: Clock
) -> SlotMap:
    """Return the table of a cluster, from the first node that answers.

    Args:
        targets: Nodes that the configuration names.
        start: Runs a coroutine as a task.
        clock: For the end of the connections.

    Raises:
        NotConnectedError: None answers; with `permanent` where it is no cluster.
        AuthError: They refuse the credentials.
    """
    failure: BridgeError = NotConnectedError("there is no node to ask")
    for target in targets:
        connection = Connection(target, clock, lambda _: None)
        try:
            await connection.open()
            start(connection.run())
            found = parse_slots(await connection.call("CLUSTER", "SLOTS"), target.server.host)
        except RejectedError as error:
            message = f"{target.name} is no node of a cluster: {error.message}"
            raise NotConnectedError(message, permanent=True) from None
        except ConnectionLostError as error:
            failure = NotConnectedError(error.message)
        except BridgeError as error:
            failure = failure if failure.permanent else error
        else:
            if found.nodes:
                return found
            failure = NotConnectedError(f"the cluster of {target.name} has assigned no slots yet")
        finally:
            await connection.close()
    raise failure
