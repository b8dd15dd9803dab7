"""Commands of consumer groups: create, read, claim what is overdue, move to the dead letters."""

import asyncio
import operator
from typing import Any, Final

from bridge.adapters.redis.connection import Connection
from bridge.adapters.redis.replies import parses_reply
from bridge.adapters.redis.streams.entries import Fields
from bridge.core.errors import BridgeError, RejectedError

#: Trims a stream (KEYS[1]) to ARGV[1] entries, but removes nothing that any group has not yet read and acknowledged.
#: One script, so that no group changes between looking and trimming. Redis has an option for that since 8.2 only.
TRIM: Final = """
local excess = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[1])
if excess <= 0 then return 0 end
local function key(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #seq) .. seq
end
local floor, spared
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local name, last
  for i = 1, #group, 2 do
    if group[i] == 'name' then name = group[i + 1] end
    if group[i] == 'last-delivered-id' then last = group[i + 1] end
  end
  local pending = redis.call('XPENDING', KEYS[1], name)
  local id, open = last, false
  if pending[1] > 0 then id, open = pending[2], true end
  if not floor or key(id) < key(floor) or (open and id == floor) then floor, spared = id, open end
end
if not floor then return redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1]) end
local stop = spared and '(' .. floor or floor
local done = redis.call('XRANGE', KEYS[1], '-', stop, 'COUNT', math.min(excess, 2000))
if #done == 0 then return 0 end
local last = done[#done][1]
return redis.call('XTRIM', KEYS[1], 'MINID', last) + redis.call('XDEL', KEYS[1], last)
"""

Entry = tuple[str, Fields]


async def make_group(connection: Connection, queue: str, group: str) -> None:
    """Create a group unless it exists; a new one begins at the stream's beginning. Raises BridgeError."""
    try:
        await connection.call("XGROUP", "CREATE", queue, group, "0", "MKSTREAM")
    except RejectedError as error:
        if error.code != "BUSYGROUP":
            raise


@parses_reply("XREADGROUP")
def parse_read(reply: Any) -> list[tuple[str, Fields | None]]:
    """Return the entries of an XREADGROUP reply for one stream; fields are None where the entry was deleted meanwhile.

    Raises ProtocolError where it is no such reply.
    """
    if not reply:
        return []
    ((_, entries),) = reply.items() if isinstance(reply, dict) else reply
    return parse_entries(entries)


@parses_reply("XCLAIM")
def parse_entries(entries: Any) -> list[tuple[str, Fields | None]]:
    """Return the entries of an XCLAIM reply. Raises ProtocolError where it is no such reply."""
    return [(entry[0].decode(), entry[1]) for entry in entries if entry is not None]


@parses_reply("XCLAIM")
def _check_fields(fields: Fields) -> None:
    if not all(isinstance(field, bytes) for field in fields):
        raise TypeError


@parses_reply("XAUTOCLAIM")
def _parse_claim(reply: Any) -> tuple[str, list[tuple[str, Fields | None]]]:
    return reply[0].decode(), parse_entries(reply[1])


@parses_reply("XPENDING")
def _parse_pending(reply: Any) -> list[tuple[str, int]]:
    """Return names and deliveries of pending entries."""
    return [(row[0].decode(), operator.index(row[3])) for row in reply]


class Consumer:
    """One consumer in one group of one stream.

    Attributes:
        queue: The stream.
        group: The consumer group.
        name: The consumer's name in it.
    """

    def __init__(
        self,
        queue: str,
        group: str,
        name: str,
        *,
        claim_after: float,
        max_deliveries: int | None,
        in_cluster: bool = False,
    ) -> None:
        """`claim_after` is in seconds; with `max_deliveries` None an entry is delivered without end."""
        self.queue = queue
        self.group = group
        self.name = name
        self._idle = round(claim_after * 1000)
        self._max_deliveries = max_deliveries
        # In a cluster both must lie on one node: what stands in braces decides where (a queue's own braces do).
        self._dead = f"{{{queue}}}:dead" if in_cluster and "{" not in queue else f"{queue}:dead"

    def read(
        self, connection: Connection, after: str, count: int, *, block: float | None = None
    ) -> asyncio.Future[Any]:
        """Send XREADGROUP, for new entries (`after` = ">") or own pending ones; `block` is in seconds."""
        waiting = () if block is None else ("BLOCK", max(1, round(block * 1000)))
        return connection.call(
            "XREADGROUP", "GROUP", self.group, self.name, "COUNT", count, *waiting, "STREAMS", self.queue, after
        )

    async def deliveries(self, connection: Connection, ids: list[str]) -> dict[str, int]:
        """Return how often pending entries were delivered, this delivery included; `ids` are in rising order."""
        if not ids:
            return {}
        pending = await connection.call(
            "XPENDING", self.queue, self.group, ids[0], ids[-1], len(ids) + _SPARE, self.name
        )
        counts = dict(_parse_pending(pending))
        missing = [one for one in ids if one not in counts]
        for one in missing:  # more than `_SPARE` other entries of this consumer lie between them
            rows = _parse_pending(await connection.call("XPENDING", self.queue, self.group, one, one, 1))
            counts[one] = rows[0][1] if rows else 1
        return counts

    async def claim(
        self, connection: Connection, cursor: str, count: int
    ) -> tuple[str, list[tuple[str, Fields | None]]]:
        """Claim entries that nobody has acknowledged for `claim_after`; return the next cursor ("0-0": done) too."""
        reply = await connection.call(
            "XAUTOCLAIM", self.queue, self.group, self.name, self._idle, cursor, "COUNT", count
        )
        return _parse_claim(reply)

    async def overdue(self, connection: Connection) -> tuple[str, Fields | None, int] | None:
        """Claim one entry that nobody has acknowledged for `claim_after`; return it, and how often it was delivered."""
        while True:
            reply = await connection.call("XPENDING", self.queue, self.group, "IDLE", self._idle, "-", "+", 1)
            if not reply:
                return None
            entry, deliveries = _parse_pending(reply)[0]
            taken = parse_entries(await connection.call("XCLAIM", self.queue, self.group, self.name, self._idle, entry))
            if taken:
                return entry, taken[0][1], deliveries + 1
            # Somebody was faster; or it was deleted, and then Redis has taken it off the list.

    def make_overdue(self, connection: Connection, entry: str, delay: float) -> asyncio.Future[Any]:
        """Make a pending entry overdue after `delay` seconds; the count of its deliveries does not change."""
        idle = max(0, self._idle - round(delay * 1000))
        return connection.call("XCLAIM", self.queue, self.group, self.name, 0, entry, "IDLE", idle, "JUSTID")

    def is_exhausted(self, attempts: int) -> bool:
        """Return whether an entry was delivered more than `max_deliveries` times."""
        return self._max_deliveries is not None and attempts > self._max_deliveries

    async def move_to_dead_letters(self, connection: Connection, entry: str, fields: Fields, attempts: int) -> None:
        """Move an entry to the stream of dead letters, with its origin, in one transaction. Raises BridgeError."""
        _check_fields(fields)
        origin = ("dead_letter_id", entry, "dead_letter_group", self.group, "dead_letter_attempts", attempts - 1)
        replies = [
            connection.call("MULTI"),
            connection.call("XADD", self._dead, "*", *fields, *origin),
            connection.call("XACK", self.queue, self.group, entry),
            connection.call("EXEC"),
        ]
        errors = [one for one in await asyncio.gather(*replies, return_exceptions=True) if isinstance(one, BridgeError)]
        if errors:
            raise errors[0]


#: How many other entries of this consumer may lie between those asked for, and one XPENDING still be enough.
_SPARE: Final = 100
