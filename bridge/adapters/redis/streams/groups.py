"""Consumer groups: made when first needed, what a dead consumer left, what was delivered too often."""

import asyncio
import operator
from typing import Any, Final

from bridge.adapters.redis.connection import Link
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


async def make_group(link: Link, queue: str, group: str) -> None:
    """See that the group is there; a new one begins at the stream's beginning. Raises what the server refuses."""
    try:
        await link.call("XGROUP", "CREATE", queue, group, "0", "MKSTREAM")
    except RejectedError as error:
        if error.code != "BUSYGROUP":
            raise


@parses_reply("XREADGROUP")
def entries_of(reply: Any) -> list[tuple[str, Fields | None]]:
    """Return the entries of an XREADGROUP reply for one stream; fields are None where the entry was deleted meanwhile.

    Raises ProtocolError where it is no such reply.
    """
    if not reply:
        return []
    ((_, entries),) = reply.items() if isinstance(reply, dict) else reply
    return claimed(entries)


@parses_reply("XCLAIM")
def claimed(entries: Any) -> list[tuple[str, Fields | None]]:
    """Return the entries of an XCLAIM reply. Raises ProtocolError where it is no such reply."""
    return [(entry[0].decode(), entry[1]) for entry in entries if entry is not None]


@parses_reply("XCLAIM")
def _check_fields(fields: Fields) -> None:
    if not all(isinstance(field, bytes) for field in fields):
        raise TypeError


@parses_reply("XAUTOCLAIM")
def _auto_claimed(reply: Any) -> tuple[str, list[tuple[str, Fields | None]]]:
    return reply[0].decode(), claimed(reply[1])


@parses_reply("XPENDING")
def _pending(reply: Any) -> list[tuple[str, int]]:
    """Return names and deliveries of pending entries."""
    return [(row[0].decode(), operator.index(row[3])) for row in reply]


class Consumer:
    """One name in one group of one stream.

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
        """`claim_after` in seconds; with `max_deliveries` None nothing is given up."""
        self.queue = queue
        self.group = group
        self.name = name
        self._idle = round(claim_after * 1000)
        self._max_deliveries = max_deliveries
        # In a cluster both must lie on one node: what stands in braces decides where (a queue's own braces do).
        self._dead = f"{{{queue}}}:dead" if in_cluster and "{" not in queue else f"{queue}:dead"

    def read(self, link: Link, after: str, count: int, *, block: float | None = None) -> asyncio.Future[Any]:
        """XREADGROUP: new entries (`after` = ">") or the own pending ones; `block` in seconds."""
        waiting = () if block is None else ("BLOCK", max(1, round(block * 1000)))
        return link.call(
            "XREADGROUP", "GROUP", self.group, self.name, "COUNT", count, *waiting, "STREAMS", self.queue, after
        )

    async def deliveries(self, link: Link, ids: list[str]) -> dict[str, int]:
        """How often pending entries were delivered, this delivery included. `ids` rise."""
        if not ids:
            return {}
        pending = await link.call("XPENDING", self.queue, self.group, ids[0], ids[-1], len(ids) + _SPARE, self.name)
        counts = dict(_pending(pending))
        missing = [one for one in ids if one not in counts]
        for one in missing:  # far apart, with others of ours between them
            rows = _pending(await link.call("XPENDING", self.queue, self.group, one, one, 1))
            counts[one] = rows[0][1] if rows else 1
        return counts

    async def claim(self, link: Link, cursor: str, count: int) -> tuple[str, list[tuple[str, Fields | None]]]:
        """XAUTOCLAIM what nobody has acknowledged for `claim_after`; returns the next cursor ("0-0": done)."""
        reply = await link.call("XAUTOCLAIM", self.queue, self.group, self.name, self._idle, cursor, "COUNT", count)
        return _auto_claimed(reply)

    async def overdue(self, link: Link) -> tuple[str, Fields | None, int] | None:
        """Take one entry that nobody has acknowledged for `claim_after`, with the number of its deliveries."""
        while True:
            reply = await link.call("XPENDING", self.queue, self.group, "IDLE", self._idle, "-", "+", 1)
            if not reply:
                return None
            entry, deliveries = _pending(reply)[0]
            taken = claimed(await link.call("XCLAIM", self.queue, self.group, self.name, self._idle, entry))
            if taken:
                return entry, taken[0][1], deliveries + 1
            # Somebody was faster; or it was deleted, and then Redis has taken it off the list.

    def come_again(self, link: Link, entry: str, delay: float) -> asyncio.Future[Any]:
        """Make a pending entry overdue after `delay` seconds; its count does not change."""
        idle = max(0, self._idle - round(delay * 1000))
        return link.call("XCLAIM", self.queue, self.group, self.name, 0, entry, "IDLE", idle, "JUSTID")

    def given_up(self, attempts: int) -> bool:
        """Whether it was delivered too often."""
        return self._max_deliveries is not None and attempts > self._max_deliveries

    async def bury(self, link: Link, entry: str, fields: Fields, attempts: int) -> None:
        """Move an entry to the stream of dead letters, with its origin, in one transaction."""
        _check_fields(fields)
        origin = ("dead_letter_id", entry, "dead_letter_group", self.group, "dead_letter_attempts", attempts - 1)
        replies = [
            link.call("MULTI"),
            link.call("XADD", self._dead, "*", *fields, *origin),
            link.call("XACK", self.queue, self.group, entry),
            link.call("EXEC"),
        ]
        errors = [one for one in await asyncio.gather(*replies, return_exceptions=True) if isinstance(one, BridgeError)]
        if errors:
            raise errors[0]


#: Entries of ours that may lie between those asked for and still be counted in one go.
_SPARE: Final = 100
