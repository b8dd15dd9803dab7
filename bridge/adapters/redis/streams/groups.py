"""Commands of consumer groups: create, read, claim what is overdue, move to the dead letters."""

import asyncio
import operator
from collections.abc import Callable, Iterable
from typing import Any, Final

from redis.exceptions import RedisError

from bridge.adapters.redis.connection import Connection
from bridge.adapters.redis.errors import translate
from bridge.adapters.redis.replies import parses_reply
from bridge.adapters.redis.streams.entries import Fields
from bridge.adapters.redis.transport import Command
from bridge.core.errors import RejectedError, UnavailableError
from bridge.core.ports import Clock

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


@parses_reply("a read of the stream")
def position(entry: str) -> tuple[int, int]:
    """Return the place of an entry id in its stream, for comparing. Raises ProtocolError where it is no entry id."""
    milliseconds, number = entry.split("-")
    return int(milliseconds), int(number)


async def rest_of(block: float, asked: float, clock: Clock) -> None:
    """Wait for the rest of a blocking read, where a server has answered much too soon that there is nothing.

    A proxy that does not block would else be asked again and again without a pause.

    Args:
        block: Seconds that the read was to wait.
        asked: When it began, on the clock.
        clock: For waiting.
    """
    took = clock.monotonic() - asked
    if took < block / 2:
        await clock.sleep(block - took)


@parses_reply("XREADGROUP")
def parse_read(reply: Any) -> list[tuple[str, Fields | None]]:
    """Return the entries of an XREADGROUP reply for one stream; fields are None where the entry was deleted meanwhile.

    Raises ProtocolError where it is no such reply.
    """
    if not reply:
        return []
    ((_, entries),) = reply.items() if isinstance(reply, dict) else reply
    return _entries(entries)


@parses_reply("XCLAIM")
def _parse_claimed(reply: Any) -> list[tuple[str, Fields | None]]:
    """Return the entries of an XCLAIM reply. Raises ProtocolError where it is no such reply."""
    return _entries(reply)


def _entries(entries: Any) -> list[tuple[str, Fields | None]]:
    return [(entry[0].decode(), entry[1]) for entry in entries if entry is not None]


@parses_reply("XCLAIM")
def _check_fields(fields: Fields) -> None:
    if not all(isinstance(field, bytes) for field in fields):
        raise TypeError


@parses_reply("XAUTOCLAIM")
def _parse_claim(reply: Any) -> tuple[str, list[tuple[str, Fields | None]]]:
    return reply[0].decode(), _entries(reply[1])


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
        on_warning: Callable[[str, str | None], None] = lambda _, __: None,
    ) -> None:
        """Name a consumer.

        Args:
            queue: The stream.
            group: The consumer group.
            name: The consumer's name in it.
            claim_after: Seconds after which others may claim what is not acknowledged.
            max_deliveries: How often an entry is delivered at most; None: without end.
            in_cluster: Whether the stream of dead letters must lie on the node of the queue.
            on_warning: See `AdapterSetup.on_warning`; told while the server refuses dead letters.
        """
        self.queue = queue
        self.group = group
        self.name = name
        self._idle = round(claim_after * 1000)
        self._max_deliveries = max_deliveries
        self._on_warning = on_warning
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
            counts[one] = rows[0][1] if rows else 2  # settled meanwhile, but delivered before
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
        for _ in range(_MOST_TRIES):
            reply = await connection.call("XPENDING", self.queue, self.group, "IDLE", self._idle, "-", "+", 1)
            if not reply:
                return None
            entry, deliveries = _parse_pending(reply)[0]
            taken = _parse_claimed(
                await connection.call("XCLAIM", self.queue, self.group, self.name, self._idle, entry)
            )
            if taken:
                return entry, taken[0][1], deliveries + 1
            # Somebody was faster; or it was deleted, and then Redis has taken it off the list.
        return None

    def make_overdue(self, connection: Connection, entry: str, delay: float) -> asyncio.Future[Any]:
        """Make a pending entry overdue after `delay` seconds; the count of its deliveries does not change."""
        return connection.call(*self.overdue_command(entry, delay))

    def overdue_command(self, entry: str, delay: float) -> Command:
        """Return the command that makes a pending entry overdue after `delay` seconds."""
        return self._set_idle([entry], max(0, self._idle - round(delay * 1000)))

    def keep_command(self, entries: Iterable[str], *, deliveries: int | None = None) -> Command:
        """Return the command that resets the idle time of entries, so that nobody claims them.

        Args:
            entries: Pending entries.
            deliveries: How often the server then takes them for delivered; None: as often as before.
        """
        return self._set_idle(entries, 0, () if deliveries is None else ("RETRYCOUNT", deliveries))

    def _set_idle(self, entries: Iterable[str], milliseconds: int, more: Command = ()) -> Command:
        claim: Command = ("XCLAIM", self.queue, self.group, self.name, 0, *entries)
        return (*claim, "IDLE", milliseconds, *more, "JUSTID")

    def is_exhausted(self, attempts: int) -> bool:
        """Return whether an entry was delivered more than `max_deliveries` times."""
        return self._max_deliveries is not None and attempts > self._max_deliveries

    async def move_to_dead_letters(self, connection: Connection, entry: str, fields: Fields, attempts: int) -> bool:
        """Move an entry to the stream of dead letters, with its origin.

        It is acknowledged only after the server has confirmed the dead letter, so a failure between the two makes a
        second dead letter and loses none. Where the server refuses the dead letter the entry stays pending, so that
        it comes again after `claim_after` and the others go on; a warning says so.

        Returns:
            Whether the entry was moved.

        Raises:
            BridgeError: The connection has ended, or the reply makes no sense.
        """
        name = f"dead letters of {self.queue}"
        try:
            await self._add_dead_letter(connection, entry, fields, attempts)
        except (RejectedError, UnavailableError) as error:
            self._on_warning(name, f"{self._dead} takes no dead letters, they stay in {self.queue}: {error.message}")
            return False
        connection.send_and_forget("XACK", self.queue, self.group, entry)
        self._on_warning(name, None)
        return True

    async def _add_dead_letter(self, connection: Connection, entry: str, fields: Fields, attempts: int) -> None:
        _check_fields(fields)
        origin = ("dead_letter_id", entry, "dead_letter_group", self.group, "dead_letter_attempts", attempts - 1)
        # A transaction with both streams, which a cluster refuses (TRYAGAIN) while only one of them has moved.
        replies = [
            connection.call("MULTI"),
            connection.call("XADD", self._dead, "*", *fields, *origin),
            connection.call("XLEN", self.queue),
            connection.call("EXEC"),
        ]
        for outcome in await asyncio.gather(*replies, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        _check_stored(replies[-1].result())


@parses_reply("EXEC")
def _check_stored(reply: Any) -> None:
    """Raise the error with which XADD failed in a transaction, where it did."""
    stored = reply[0]
    if isinstance(stored, RedisError):
        raise translate(stored)
    if not isinstance(stored, bytes):
        raise TypeError


#: How many overdue entries are tried to be claimed, one after the other, that others claim first.
_MOST_TRIES: Final = 100
#: How many other entries of this consumer may lie between those asked for, and one XPENDING still be enough.
_SPARE: Final = 100
