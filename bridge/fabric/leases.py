"""Which node of a fabric emits for a `singleton` subscription: one lease for each, in the fabric's bucket.

The value of a lease's key says who has it. Each write names the revision that it replaces, so of two nodes that write
at the same time one is refused. The revision with which a node took the lease is the number of its term.

Two things keep a node from emitting for a term that is over. It asks the broker before it emits: a write that succeeds
shows that nobody else has taken the lease. And its term is over in time: it ends six seconds after the beginning of the
last write that succeeded, on a clock that goes on while the process is suspended, and nobody else takes the lease
before it has seen no write for nine. A tick is written down (`through`) before it is emitted, so no other node emits
it, however late a suspended one wakes up.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec

from bridge.core.backoff import Backoff
from bridge.core.cluster import ClusterSession, ConflictError, KeyEntry, Stop
from bridge.core.errors import BridgeError
from bridge.core.log import structlog
from bridge.core.model import UInt
from bridge.core.payloads import LeaseChange
from bridge.core.timer import Timer
from bridge.fabric.context import FabricContext

#: Seconds between two writes of who has a lease, where no claim causes one.
RENEW: Final = 2.0
#: Seconds for which a write makes a node the holder, from its beginning.
VALID: Final = 6.0
#: Seconds without a write, as others see it, after which they may take the lease; and how much later at most, at
#: random. Three more than `VALID`, for clocks of different speed and for the way of the write.
TAKE_AFTER: Final = 9.0
_TAKE_JITTER: Final = 1.0
#: The same where it was given up.
_FREE_JITTER: Final = 0.25
#: Seconds that a claim waits at most until it is known who emits.
PATIENCE: Final = 30.0
#: Seconds after the beginning of a write in which it serves for further claims without a tick. Lines of a file come by
#: the hundred.
_FRESH: Final = 0.05
#: Milliseconds between two ticks below which ticks are claimed ahead, and how far.
_WINDOW: Final = 1000
#: Seconds that the broker has to answer a call. Less than others give it: after a write that was lost, the next one
#: must come before the term ends.
_ANSWER: Final = 2.0
#: Seconds that the broker has to confirm the end of the watch.
_UNWATCH: Final = 0.1
#: Seconds after which a lease looks at everything again, though nothing has happened.
_LOOK: Final = 1.0
#: Seconds that giving up may take at the end.
_LONGEST_LEAVE: Final = 2.0
#: Milliseconds that `through` may be ahead of the clock, and seconds without a holder, before health tells.
_AHEAD: Final = 5000
_VACANT: Final = 15.0
#: Bytes of a value that a bridge has written.
_MOST: Final = 2048

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


class LeaseRecord(msgspec.Struct, frozen=True):
    """The value of a lease's key, as JSON.

    Attributes:
        node: Who has it; None: it was given up.
        run: Tells the process that wrote it from all others.
        since_ms: When the term began, Unix time in milliseconds, by the clock of that node.
        through: The last tick that was claimed, Unix time in milliseconds; None where there was none.
        term: The number of the term; 0 in the write that has begun it, whose revision is the number.
    """

    node: str | None
    run: str
    since_ms: UInt
    through: UInt | None = None
    term: UInt = 0


class _Sight(msgspec.Struct, frozen=True):
    """What was seen of a lease last.

    Attributes:
        revision: Of the change; 0: the key was never written.
        record: The value; None where there is none, or no bridge has written it.
        at: When it was seen, on the clock's `elapsed`.
        age: How many seconds old it was then, as far as the broker tells; only to be told, as clocks may be wrong.
        wait: Seconds after `at` before somebody else than the holder may take the lease.
    """

    revision: int
    record: LeaseRecord | None
    at: float
    age: float = 0.0
    wait: float = 0.0

    @property
    def term(self) -> int | None:
        """The term that somebody has by it."""
        record = self.record
        return None if record is None or record.node is None else record.term or self.revision


class _Campaign(msgspec.Struct, eq=False):
    """A lease for which this node competes.

    Attributes:
        name: The subscription.
        timer: Tells the end of this node's term.
        handles: Those of this bridge that want it.
        sight: What was seen last; None: nothing yet.
        ever: Whether any node ever had it, as far as this one has seen.
        term: Of this node; None: it has none.
        renewed: When the last write began that succeeded, on the clock's `elapsed`.
        reserved: The last tick that such a write has claimed, in this term.
        spent: The last tick that was granted here, or claimed by another node; None: there was none.
        through: The last tick that was claimed, by the last value that could be read.
        waiting: The claims that wait: each has a tick or None, and what wakes it.
        last_tick: The tick that was asked for last.
        window: Milliseconds that are claimed ahead.
        holder: Who had it last, as it was told on the bus.
        told: The term that was told last; None: that nobody has it.
        vacant: When it was last seen that somebody had another term than the last one that was seen, on the clock's
            `elapsed`; None where nobody had.
        wake: Set when something has changed.
        error: Why the last call failed; None where it did not.
    """

    name: str
    timer: Timer
    handles: "set[_Handle]"
    sight: _Sight | None = None
    ever: bool = False
    term: int | None = None
    renewed: float = float("-inf")
    reserved: int = -1
    spent: int | None = None
    through: int | None = None
    waiting: "dict[asyncio.Future[None], int | None]" = msgspec.field(default_factory=dict)
    last_tick: int | None = None
    window: int = 0
    holder: str | None = None
    told: int | None = None
    vacant: float | None = None
    wake: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    error: BridgeError | None = None

    @property
    def needs_write(self) -> bool:
        """Whether a claim waits that only a write can decide."""
        return any(
            (tick is None or tick > self.reserved) and not future.done() for future, tick in self.waiting.items()
        )

    def notify(self) -> None:
        """Let the claims that wait, and the part that writes, look again."""
        self.wake.set()
        for future in self.waiting:
            if not future.done():
                future.set_result(None)


class Leases:
    """The leases of one fabric, for the `singleton` subscriptions of this bridge; see the module."""

    def __init__(self, context: FabricContext, joined: Callable[[], bool], run_id: str) -> None:
        """Hold none, and compete for none.

        Args:
            context: What all parts of the fabric share.
            joined: Whether this node is a member now. While it is not it has no lease.
            run_id: Tells this process from all others.
        """
        self._context = context
        self._clock = context.clock
        self._joined = joined
        self._run_id = run_id
        self._campaigns: dict[str, _Campaign] = {}
        self._by_key: dict[str, _Campaign] = {}
        self._start: Callable[[_Campaign], None] | None = None
        self._closed = False
        self._left = asyncio.Event()

    # --- for others

    def lease(self, subscription: str) -> "_Handle":
        """Return the lease of a subscription; see `core.fabric.Lease`. It may be asked for before `run`."""
        return _Handle(self, subscription)

    def held(self) -> list[str]:
        """Return the subscriptions for which this node has the lease now."""
        return sorted(name for name, campaign in self._campaigns.items() if self._term(campaign) is not None)

    def vacant(self) -> list[str]:
        """Return the subscriptions whose lease no node has had for 15 seconds, as far as this one has seen."""
        return sorted(name for name, campaign in self._campaigns.items() if self._since_write(campaign) > _VACANT)

    def problems(self) -> list[str]:
        """Return a line for each lease with which something is wrong that a person should know."""
        found, vacant = [], self.vacant()
        for name, campaign in sorted(self._campaigns.items()):
            if campaign.error is not None:
                found.append(f"the lease of {name!r} cannot be used: {campaign.error.message}")
            elif name in vacant:
                found.append(f"no node has the lease of {name!r}")
            ahead = 0 if campaign.through is None else campaign.through - campaign.window - self._clock.wall_ms()
            if ahead > _AHEAD:
                found.append(
                    f"ticks of {name!r} up to {ahead / 1000:.0f} s in the future were emitted already; none is emitted "
                    "until then: the clock of this machine or of another node is wrong"
                )
        return found

    async def leave(self) -> None:
        """Give up all leases that this node has, and compete for none any more.

        It returns when the broker has confirmed that, or after two seconds; at once where there is no session, or it
        ends, or another node has them.
        """
        self._closed = True
        self._notify_all()
        try:
            async with self._clock.timeout(_LONGEST_LEAVE):
                while self._start is not None and any(self._is_mine(one) for one in self._campaigns.values()):
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            log.warning("leases not given up in time", fabric=self._context.settings.name)

    async def run(self, session: ClusterSession) -> None:
        """Compete for all leases, and keep those that this node has, until this is cancelled.

        Raises:
            BridgeError: The bucket cannot be watched, or not any more.
        """
        ended: asyncio.Future[BridgeError] = asyncio.get_running_loop().create_future()

        def on_ended(error: BridgeError) -> None:
            if not ended.done():
                ended.set_result(error)

        end: Stop | None = None
        try:
            begun = session.watch(self._context.names.bucket, self._on_entry, on_ended)
            end = await self._call(begun, "watching the bucket")
            async with asyncio.TaskGroup() as group:
                running: set[asyncio.Task[None]] = set()

                def start(campaign: _Campaign) -> None:
                    task = group.create_task(self._compete(session, campaign))
                    running.add(task)
                    task.add_done_callback(running.discard)

                self._start = start
                for campaign in tuple(self._campaigns.values()):
                    start(campaign)
                error = await ended
                self._start = None
                for task in running:
                    task.cancel()
        finally:
            self._start = None
            self._left.set()
            if end is not None:
                with contextlib.suppress(BridgeError, TimeoutError):
                    async with self._clock.timeout(_UNWATCH):
                        await end()
        raise error

    # --- handles

    def enter(self, handle: "_Handle") -> None:
        """Compete for a lease for a handle; see `_Handle.campaign`."""
        campaign = self._campaigns.get(handle.name)
        if campaign is not None:
            campaign.handles.add(handle)
            campaign.notify()
            return
        campaign = self._campaigns[handle.name] = _Campaign(handle.name, Timer(self._clock), {handle})
        self._by_key[self._context.names.lease_key(handle.name)] = campaign
        if self._start is not None:
            self._start(campaign)

    def quit(self, handle: "_Handle") -> None:
        """Compete no longer for a handle; see `_Handle.resign`."""
        campaign = self._campaigns.get(handle.name)
        if campaign is None or handle not in campaign.handles:
            return
        campaign.handles.discard(handle)
        campaign.notify()
        if not campaign.handles and self._start is None:
            self._forget(campaign)

    def term(self, handle: "_Handle") -> int | None:
        """Return the term of a handle; see `core.fabric.Lease`."""
        campaign = self._campaigns.get(handle.name)
        return None if campaign is None or handle not in campaign.handles else self._term(campaign)

    async def claim(self, handle: "_Handle", tick: int | None) -> bool:
        """Claim for a handle; see `core.fabric.Lease`."""
        called = self._clock.elapsed()
        campaign = self._campaigns.get(handle.name)
        if campaign is None:
            return False
        if tick is not None:
            step = None if campaign.last_tick is None else tick - campaign.last_tick
            campaign.last_tick = tick
            if step != 0:
                campaign.window = _WINDOW if step is not None and 0 < step < _WINDOW else 0
        future: asyncio.Future[None] | None = None
        try:
            async with self._clock.timeout(PATIENCE):
                while handle in campaign.handles and not self._closed:
                    verdict = self._verdict(campaign, tick, called)
                    if verdict is not None:
                        return verdict
                    future = asyncio.get_running_loop().create_future()
                    campaign.waiting[future] = tick
                    campaign.wake.set()
                    try:
                        await future
                    finally:
                        del campaign.waiting[future]
        except TimeoutError:
            if campaign.sight is None or self._since_write(campaign) > VALID:
                log.warning(
                    "not emitted: no node of the fabric has the lease",
                    fabric=self._context.settings.name,
                    subscription=campaign.name,
                    tick=tick,
                )
        return False

    def _verdict(self, campaign: _Campaign, tick: int | None, called: float) -> bool | None:
        """Return whether a claim is granted; None where that is not known yet."""
        sight = campaign.sight
        if self._term(campaign) is not None:
            if tick is None:
                return True if campaign.renewed >= called - _FRESH else None
            if campaign.spent is not None and tick <= campaign.spent:
                return False
            if tick > campaign.reserved:
                return None
            campaign.spent = tick
            return True
        if sight is None or self._is_mine(campaign):
            return None
        if tick is None:
            return False if campaign.ever else None
        return False if campaign.through is not None and tick <= campaign.through else None

    # --- what is known

    def _term(self, campaign: _Campaign) -> int | None:
        """Return the term that this node has now, by its clock."""
        if campaign.term is None or not self._joined():
            return None
        return campaign.term if self._clock.elapsed() < campaign.renewed + VALID else None

    def _is_mine(self, campaign: _Campaign) -> bool:
        """Return whether the last value that was seen is of this process, and not given up."""
        record = None if campaign.sight is None else campaign.sight.record
        return record is not None and record.node is not None and record.run == self._run_id

    def _is_wanted(self, campaign: _Campaign) -> bool:
        return bool(campaign.handles) and not self._closed

    def _since_write(self, campaign: _Campaign) -> float:
        """Return the seconds since anybody is known to have written who has a lease."""
        return 0.0 if campaign.sight is None else self._clock.elapsed() - campaign.sight.at

    def _on_entry(self, entry: KeyEntry) -> None:
        campaign = self._by_key.get(entry.key)
        if campaign is None:
            if entry.key.startswith(self._context.names.lease_key("")):
                self._read(entry)
        elif campaign.sight is None or entry.revision > campaign.sight.revision:
            self._see(campaign, entry.revision, self._read(entry), entry.age)

    def _read(self, entry: KeyEntry | None) -> LeaseRecord | None:
        """Return the value of a key; None where it has none. What no bridge has written is reported, and no value."""
        if entry is None or entry.value is None:
            return None
        wrong = f"{len(entry.value)} bytes are too many" if len(entry.value) > _MOST else None
        if wrong is None:
            try:
                return msgspec.json.decode(entry.value, type=LeaseRecord)
            except ValueError as error:  # msgspec's errors, and those of UTF-8
                wrong = str(error)
        self._context.garbage(f"key {entry.key!r}: {wrong}")
        return None

    def _see(self, campaign: _Campaign, revision: int, record: LeaseRecord | None, age: float = 0.0) -> None:
        """Take note of a change that was not seen before, and tell where somebody else has the lease by it."""
        before = campaign.sight
        now = self._clock.elapsed()
        is_free = (record is not None and record.node is None) or (revision == 0 and not campaign.ever)
        rng = self._context.rng
        wait = rng.uniform(0.0, _FREE_JITTER) if is_free else TAKE_AFTER + rng.uniform(0.0, _TAKE_JITTER)
        sight = campaign.sight = _Sight(revision, record, now, age, wait)
        campaign.ever = campaign.ever or revision > 0
        self._see_ticks(campaign, record, first=before is None)
        if before is not None and before.revision > 0 and before.term != sight.term:
            campaign.vacant = before.at - before.age
        if not self._is_mine(campaign):
            self._left.set()
            had, campaign.term = campaign.term, None
            if before is None:  # no change, as nothing was known
                campaign.holder = None if record is None else record.node
                campaign.told = sight.term
            elif record is not None and sight.term is not None:
                if sight.term != campaign.told:
                    self._tell(campaign, sight.term, record.node)
            elif had is not None:
                self._tell(campaign, had, None)
        campaign.notify()

    def _see_ticks(self, campaign: _Campaign, record: LeaseRecord | None, *, first: bool) -> None:
        """Take note of the ticks that a value says were claimed."""
        if record is None:
            return
        through = record.through
        if through is not None:
            campaign.through = through
        if record.node is None or first:
            campaign.spent = through
        elif record.run != self._run_id and through is not None:
            campaign.spent = through if campaign.spent is None else max(campaign.spent, through)

    def _tell(self, campaign: _Campaign, term: int, node: str | None) -> None:
        """Tell that a node has the lease, or that this one has lost it or given it up (`node` None)."""
        names = self._context.names
        vacant = campaign.vacant
        change = LeaseChange(
            fabric=names.fabric,
            subscription=campaign.name,
            node=node,
            previous=names.node if node is None else campaign.holder,
            term=term,
            gap_ms=None if node is None or vacant is None else round((self._clock.elapsed() - vacant) * 1000),
        )
        campaign.told = None if node is None else term
        campaign.holder = node or names.node
        log.info("lease has another leader", **msgspec.to_builtins(change))
        self._context.bus.publish_or_report(f"resilience.fabric.{names.fabric}.lease", change)
        self._context.changed()

    def _notify_all(self) -> None:
        for campaign in tuple(self._campaigns.values()):
            campaign.notify()

    def _forget(self, campaign: _Campaign) -> None:
        """Forget a lease for which nobody here competes."""
        if self._campaigns.get(campaign.name) is campaign:
            del self._campaigns[campaign.name]
            del self._by_key[self._context.names.lease_key(campaign.name)]
            campaign.timer.cancel()

    # --- what is written

    async def _compete(self, session: ClusterSession, campaign: _Campaign) -> None:
        """Take a lease when it is free, keep it, and give it up when nobody here wants it any more."""
        backoff, works = Backoff(self._clock, self._context.rng, longest=_LOOK), False
        looked = False
        while True:
            began = self._clock.monotonic()
            campaign.wake.clear()
            self._notice_end(campaign)
            sight = campaign.sight
            try:
                if sight is None or not looked:
                    await self._look(session, campaign)
                    looked = True
                elif self._is_wanted(campaign) and self._joined():
                    wait = self._wait(campaign, sight)
                    if wait > 0:
                        await self._rest(campaign, min(wait, _LOOK))
                        continue
                    await self._take(session, campaign, sight)
                elif self._is_mine(campaign):
                    await self._give_up(session, campaign, sight)
                elif campaign.handles:
                    await self._rest(campaign, _LOOK)
                    continue
                else:
                    self._forget(campaign)
                    return
                if campaign.error is not None:
                    campaign.error = None
                    self._context.changed()
                if not works:  # once: what has failed is forgotten some time after the first call that succeeds
                    works = True
                    backoff.opened()
            except ConflictError:
                looked = False
            except BridgeError as error:
                looked = works = False  # the write may have succeeded
                if campaign.error is None:
                    log.warning(
                        "lease cannot be used",
                        subscription=campaign.name,
                        error=error.kind,
                        message=error.message,
                        action="try again",
                    )
                    campaign.error = error
                    self._context.changed()
                # A call that was not answered has taken longer than any pause: the lease may be free by now.
                pause = backoff.failed() - (self._clock.monotonic() - began)
                if pause > 0:
                    await self._clock.sleep(pause)

    async def _rest(self, campaign: _Campaign, seconds: float) -> None:
        """Wait until something changes, or for a time."""
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(seconds):
                await campaign.wake.wait()

    def _notice_end(self, campaign: _Campaign) -> None:
        """Tell that the term of this node has ended by time."""
        if campaign.term is not None and self._term(campaign) is None:
            term, campaign.term = campaign.term, None
            campaign.vacant = campaign.renewed
            self._tell(campaign, term, None)
            campaign.notify()

    def _wait(self, campaign: _Campaign, sight: _Sight) -> float:
        """Return the seconds until the lease is to be written; 0 or less: now."""
        now = self._clock.elapsed()
        if not self._is_mine(campaign):
            return sight.at + sight.wait - now
        if self._term(campaign) is None or campaign.needs_write:
            return 0.0
        return campaign.renewed + RENEW - now

    async def _look(self, session: ClusterSession, campaign: _Campaign) -> None:
        """Read who has the lease."""
        before = campaign.sight
        names = self._context.names
        key = names.lease_key(campaign.name)
        entry = await self._call(session.get(names.bucket, key), "reading a lease")
        if campaign.sight is not before:  # a change came meanwhile, which is newer
            return
        revision = 0 if entry is None else entry.revision
        if before is None or before.revision != revision:
            self._see(campaign, revision, self._read(entry), 0.0 if entry is None else entry.age)

    async def _take(self, session: ClusterSession, campaign: _Campaign, sight: _Sight) -> None:
        """Take the lease, or keep it; claim the ticks for which somebody waits."""
        ticks = [tick + campaign.window for tick in campaign.waiting.values() if tick is not None]
        through = max([*ticks, *([] if campaign.through is None else [campaign.through])], default=None)
        mine = sight.record if self._is_mine(campaign) else None
        since = self._clock.wall_ms() if mine is None else mine.since_ms
        term = None if mine is None else sight.term
        record = LeaseRecord(self._context.names.node, self._run_id, since, through, term or 0)
        began = self._clock.elapsed()
        revision = await self._write(session, campaign, sight, record)
        self._wrote(campaign, revision, record)
        if campaign.sight is None or campaign.sight.revision != revision:  # somebody has written it since
            raise ConflictError
        self._notice_end(campaign)  # it may have ended before the answer came
        if self._clock.elapsed() >= began + VALID:  # so has what this write has begun or kept; another one decides
            return
        campaign.renewed = began
        campaign.reserved = -1 if through is None else through
        campaign.term = term or revision
        campaign.timer.set(VALID, lambda: self._notice_end(campaign))
        if self._term(campaign) is not None and campaign.told != campaign.term:
            self._tell(campaign, campaign.term, record.node)
        campaign.notify()

    async def _give_up(self, session: ClusterSession, campaign: _Campaign, sight: _Sight) -> None:
        """Give the lease up, with the ticks that were claimed and not granted."""
        had, campaign.term = campaign.term, None
        if had is not None:
            self._tell(campaign, had, None)
        campaign.notify()
        record = LeaseRecord(None, self._run_id, self._clock.wall_ms(), campaign.spent, sight.term or 0)
        self._wrote(campaign, await self._write(session, campaign, sight, record), record)

    def _wrote(self, campaign: _Campaign, revision: int, record: LeaseRecord) -> None:
        """Take note of an own write, unless it was seen already, or a later one."""
        if campaign.sight is None or campaign.sight.revision < revision:
            self._see(campaign, revision, record)

    async def _write(self, session: ClusterSession, campaign: _Campaign, sight: _Sight, record: LeaseRecord) -> int:
        names = self._context.names
        key, value = names.lease_key(campaign.name), msgspec.json.encode(record)
        if sight.revision == 0:
            written = session.create(names.bucket, key, value)
        else:
            written = session.update(names.bucket, key, value, sight.revision)
        return await self._call(written, "writing a lease")

    async def _call(self, work: Coroutine[Any, Any, _T], what: str) -> _T:
        """See `FabricContext.call`."""
        return await self._context.call(work, what, limit=_ANSWER)


class _Handle:
    """The lease of one subscription; see `core.fabric.Lease`."""

    def __init__(self, leases: Leases, name: str) -> None:
        self.name = name
        self._leases = leases
        self._competes = False

    @property
    def term(self) -> int | None:
        """See `Lease.term`."""
        return self._leases.term(self)

    def campaign(self) -> None:
        """See `Lease.campaign`."""
        if not self._competes:
            self._competes = True
            self._leases.enter(self)

    def resign(self) -> None:
        """See `Lease.resign`."""
        if self._competes:
            self._competes = False
            self._leases.quit(self)

    async def claim(self, tick: int | None = None) -> bool:
        """See `Lease.claim`."""
        return await self._leases.claim(self, tick)
