"""Sessions with a Redis Cluster, queues by where they lie, and a slot on its way from one node to another."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.crc import key_slot

from bridge.core.errors import BridgeError
from tests.support.adapters.direct import Direct
from tests.support.servers.redis_server import RedisServer, redis_session

#: The slots of each of three masters.
THIRDS = ((0, 5461), (5461, 10922), (10922, 16384))


@asynccontextmanager
async def cluster_session(
    node: RedisServer, lost: list[BridgeError] | None = None, **settings: Any
) -> AsyncIterator[Direct]:
    """A connected session; the settings are those of `redis_session`."""
    async with redis_session(node, lost=lost, **{"cluster": True, **settings}) as session:
        yield session


def queue_between(name: str, low: int, high: int) -> str:
    """A queue whose slot lies between these."""
    return next(queue for queue in (f"{name}{n}" for n in range(10_000)) if low <= key_slot(queue.encode()) < high)


class Migration:
    """One slot on its way from one master to another, as `redis-cli --cluster reshard` moves it; made, it has begun."""

    def __init__(self, masters: list[RedisServer], key: str, source: RedisServer, target: RedisServer) -> None:
        """The slot is that of `key`."""
        self._masters = masters
        self._slot = key_slot(key.encode())
        self._source = source
        self._target = target
        self._set(target, "IMPORTING", _id(source))
        self._set(source, "MIGRATING", _id(target))

    def move(self, key: str) -> None:
        """Take one key to the target."""
        with self._source.client() as client:
            client.execute_command("MIGRATE", "127.0.0.1", self._target.port, key, 0, 5000)

    def forget(self, node: RedisServer) -> None:
        """One node does not know any more that the slot is on its way."""
        self._set(node, "STABLE")

    def finish(self) -> None:
        """The slot is the target's, as every master knows."""
        for node in (self._target, *(one for one in self._masters if one is not self._target)):
            self._set(node, "NODE", _id(self._target))

    def at_target(self, queue: str) -> int:
        """How many entries a queue has at the target."""
        with self._target.client(single_connection_client=True) as client:
            client.execute_command("ASKING")
            return int(client.execute_command("XLEN", queue))

    def _set(self, node: RedisServer, *words: str) -> None:
        with node.client() as client:
            client.execute_command("CLUSTER", "SETSLOT", self._slot, *words)


def _id(node: RedisServer) -> str:
    with node.client() as client:
        return str(client.execute_command("CLUSTER", "MYID"))
