"""Samples the sums of the integrations every five seconds, so that one can tell what happens now and did lately.

Nothing is counted here while operations run: a sample reads sums that are there anyway, and adds the differences. An
integration with which nothing happens costs a look, and no memory.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Final

from bridge.bus.stats import BusStats
from bridge.connection import Connection
from bridge.core.payloads import Rates, Series
from bridge.core.ports import Clock
from bridge.observe.episodes import Episodes
from bridge.outbox import Outbox
from bridge.resilience.measurements import BUCKETS, Measurements

#: Seconds between two samples.
EVERY: Final = 5.0
#: Seconds of a step, and how many steps are kept.
STEP: Final = 15.0
STEPS: Final = 60
#: Durations are kept by slots of so many steps, for so many slots: five minutes, of which the last slot is not over.
_STEPS_IN_SLOT: Final = 2
_SLOTS: Final = 10
_WIDTH: Final = len(BUCKETS) + 1
_STEP_MS: Final = round(STEP * 1000)

_IDLE: Final = Rates(succeeded=0.0, failed=0.0, messages=0.0, p50_ms=None, p95_ms=None)


class Activity:
    """What an integration, or all of them together, did in the last 15 minutes.

    `array` needs a tenth of the memory of a list of numbers. Steps are numbered from the start of the samples.
    """

    __slots__ = ("_durations", "_recent", "_steps", "active", "step")

    def __init__(self, step: int) -> None:
        """Create it; nothing has happened before this step."""
        self.step = self.active = step
        self._steps = array("I", bytes(4 * 3 * STEPS))
        self._durations = array("I", bytes(4 * _WIDTH * _SLOTS))
        self._recent = array("Q", bytes(8 * _WIDTH))

    def go_to(self, step: int) -> None:
        """Begin the steps up to this one; what is older than 15 minutes is forgotten."""
        for number in range(max(self.step, step - STEPS) + 1, step + 1):
            place = number % STEPS
            for kind in range(3):
                self._steps[kind * STEPS + place] = 0
        before, slot = self.step // _STEPS_IN_SLOT, step // _STEPS_IN_SLOT
        for number in range(max(before, slot - _SLOTS) + 1, slot + 1):
            first = number % _SLOTS * _WIDTH
            for bucket in range(_WIDTH):
                self._recent[bucket] -= self._durations[first + bucket]
                self._durations[first + bucket] = 0
        self.step = max(self.step, step)

    def add(self, succeeded: int, failed: int, messages: int) -> None:
        """Count in the current step."""
        place = self.step % STEPS
        self._steps[place] += succeeded
        self._steps[STEPS + place] += failed
        self._steps[2 * STEPS + place] += messages
        self.active = self.step

    def add_duration(self, bucket: int, count: int) -> None:
        """Count durations of one bucket in the current slot."""
        self._durations[self.step // _STEPS_IN_SLOT % _SLOTS * _WIDTH + bucket] += count
        self._recent[bucket] += count
        self.active = self.step

    def series(self, at: int) -> Series:
        """Return what happened in each step; `at` is when the current one began, Unix time in milliseconds."""
        steps, place = self._steps, (self.step + 1) % STEPS
        succeeded, failed, messages = (
            (steps[first + place : first + STEPS] + steps[first : first + place]).tolist()
            for first in (0, STEPS, 2 * STEPS)
        )
        return Series(at=at, step_ms=_STEP_MS, succeeded=succeeded, failed=failed, messages=messages)

    def rates(self, window: "Window") -> Rates:
        """Return how much happens now."""
        steps, now, before = self._steps, self.step % STEPS, (self.step - 1) % STEPS
        recent = self._recent.tolist()
        return Rates(
            succeeded=window.rate(steps[now], steps[before]),
            failed=window.rate(steps[STEPS + now], steps[STEPS + before]),
            messages=window.rate(steps[2 * STEPS + now], steps[2 * STEPS + before]),
            p50_ms=quantile(recent, 0.5),
            p95_ms=quantile(recent, 0.95),
        )


class Window:
    """The last 15 seconds, as far as they were sampled: the current step, and the end of the one before.

    Attributes:
        share: The part of the step before that lies in it.
        seconds: How long it is.
    """

    __slots__ = ("seconds", "share")

    def __init__(self, elapsed: float, lived: float) -> None:
        """Create it.

        Args:
            elapsed: Seconds of the current step that were sampled.
            lived: Seconds since the samples began.
        """
        self.share = max(0.0, 1 - elapsed / STEP)
        self.seconds = max(1.0, min(STEP, lived))

    def rate(self, now: int, before: int) -> float:
        """Return how often in a second what happened so often in the current step and in the one before."""
        return round((now + before * self.share) / self.seconds, 2) if now or before else 0.0


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the milliseconds within which a share of the durations lies; None where there is none.

    Within a bucket they are taken to be spread evenly. What took longer than the last limit counts as that limit.

    Args:
        counts: How many durations each bucket has, as `Histogram.counts`.
        share: From 0 to 1.
    """
    sums = list(accumulate(counts))
    wanted = share * sums[-1]
    if not wanted:
        return None
    bucket = bisect_left(sums, wanted)
    if bucket == len(BUCKETS):
        return BUCKETS[-1] * 1000
    low, high = BUCKETS[bucket - 1] if bucket else 0.0, BUCKETS[bucket]
    return round((high - (high - low) * (sums[bucket] - wanted) / counts[bucket]) * 1000, 3)


class _Count:
    """A sum that rises, and by how much it rose in the current step and in the one before."""

    __slots__ = ("_before", "_now", "_step", "_sum")

    def __init__(self) -> None:
        self._sum = self._step = self._now = self._before = 0

    def note(self, total: int, step: int) -> None:
        """Note what the sum is now; one that is lower than before has begun anew."""
        if total == self._sum:
            return
        if step != self._step:
            self._before = self._now if step == self._step + 1 else 0
            self._now, self._step = 0, step
        self._now += total - self._sum if total > self._sum else total
        self._sum = total

    def rate(self, step: int, window: Window) -> float:
        """Return how much it rises in a second, now that this is the current step."""
        if step == self._step:
            return window.rate(self._now, self._before)
        return window.rate(0, self._now if step == self._step + 1 else 0)


class _Track:
    """What was read of a connection at the last sample, and its activity while it has any."""

    __slots__ = ("activity", "counts", "failed", "measured", "messages", "routes", "subscriptions", "succeeded", "took")

    def __init__(self) -> None:
        self.activity: Activity | None = None
        self.routes: dict[str, _Count] = {}
        self.subscriptions: dict[str, _Count] = {}
        self.begin(None)

    def begin(self, measured: Measurements | None) -> None:
        """Begin with the sums of another connection of the same label, which are all 0 at first."""
        self.measured = measured
        self.succeeded = self.failed = self.messages = 0
        self.took = 0.0
        self.counts = [0] * _WIDTH


class Samples:
    """What all integrations, routes and subscriptions did lately.

    Attributes:
        episodes: Since when something is not as it should be.
    """

    def __init__(
        self, connections: Callable[[], Iterable[Connection]], *, bus: BusStats, outbox: Outbox, clock: Clock
    ) -> None:
        """Create it; the time begins now.

        Args:
            connections: Returns the connections that there are.
            bus: The counts of the bus.
            outbox: The outbox.
            clock: For all times.
        """
        self.episodes = Episodes(clock)
        self._outbox = outbox
        self._unheard: set[str] = set()
        self._connections = connections
        self._bus = bus
        self._clock = clock
        self._began = clock.monotonic()
        self._step = 0
        self._step_at = clock.wall_ms()
        self._window = Window(0.0, 0.0)
        self._tracks: dict[str, _Track] = {}
        self._all = Activity(0)
        self._asked: dict[str, tuple[Rates, Series]] = {}
        self._received = _Count()
        self._published = _Count()

    async def run(self) -> None:
        """Take samples until cancelled, at the same times of each step."""
        while True:
            await self._clock.sleep(EVERY - (self._clock.monotonic() - self._began) % EVERY)
            self.take()

    def take(self) -> None:
        """Take a sample.

        What happened since the last one counts for the step of half a sample ago: the sample at the end of a step finds
        what happened in that step.
        """
        now = self._clock.monotonic()
        step = int((now - EVERY / 2 - self._began) // STEP)
        if step > self._step:
            self._step = step
            self._step_at = self._clock.wall_ms() - round((now - self._began - step * STEP) * 1000)
        self._window = Window(now - self._began - self._step * STEP, now - self._began)
        self._all.go_to(self._step)
        self._asked.clear()
        labels = set()
        self._unheard.clear()
        for connection in self._connections():
            labels.add(connection.id)
            self._look_at(connection)
        for label in self._tracks.keys() - labels:
            del self._tracks[label]
        bus = self._bus
        self._received.note(bus.received, self._step)
        self._published.note(bus.published, self._step)
        for what, total in (("lost", bus.dropped), ("missing", bus.missing), ("rejected", bus.rejected)):
            self.episodes.note_sum((what, None), total)
        self.episodes.note_states("unheard", self._unheard)
        self.episodes.note_states("orphans", self._outbox.orphans)
        self.episodes.note_states("outbox", () if self._outbox.problem is None else (None,))
        self.episodes.end(labels)

    def _look_at(self, connection: Connection) -> None:
        measured, subscriptions = connection.guard.measured, connection.subscriptions
        succeeded, failed = connection.guard.accounting.ended()
        messages = subscriptions.messages
        if connection.dropped:
            self.episodes.note_sum(("dropped", connection.id), connection.dropped)
        if subscriptions.unheard():
            self._unheard.add(connection.id)
        track = self._tracks.get(connection.id)
        if track is None:
            if not (succeeded or failed or messages or measured.durations):
                return
            track = self._tracks[connection.id] = _Track()
        if track.measured is not measured:
            track.begin(measured)
        took = sum(one.total for one in measured.durations.values())
        more = (succeeded - track.succeeded, failed - track.failed, messages - track.messages)
        took_more = took != track.took
        if not any(more) and not took_more:
            if track.activity is not None and self._step - track.activity.active >= STEPS:
                track.activity = None
            return
        track.succeeded, track.failed, track.messages = succeeded, failed, messages
        if track.activity is None:
            track.activity = Activity(self._step)
        track.activity.go_to(self._step)
        track.activity.add(*more)
        self._all.add(*more)
        if took_more:
            track.took = took
            self._add_durations(track, track.activity, measured)
        if more[0] or more[1] or took_more:
            for name, sums in measured.routes.items():
                count = track.routes.get(name)
                if count is None:
                    count = track.routes[name] = _Count()
                count.note(sums.succeeded + sums.failed, self._step)
        if more[2]:
            before, track.subscriptions = track.subscriptions, {}
            for name, messages in subscriptions.counts():
                count = track.subscriptions[name] = before.get(name) or _Count()
                count.note(messages, self._step)

    def _add_durations(self, track: _Track, activity: Activity, measured: Measurements) -> None:
        counts, *others = (one.counts.copy() for one in measured.durations.values())
        for other in others:
            counts = list(map(int.__add__, counts, other))
        before = track.counts
        for bucket, count in enumerate(counts):
            if count != before[bucket]:
                activity.add_duration(bucket, count - before[bucket])
                self._all.add_duration(bucket, count - before[bucket])
        track.counts = counts

    # --- what happens

    def of(self, integration: str) -> tuple[Rates, Series | None]:
        """Return how much happens at an integration, and what did in the last 15 minutes; no series where nothing did.

        Until the next sample it returns the same objects.
        """
        found = self._asked.get(integration)
        if found is None:
            track = self._tracks.get(integration)
            if track is None or track.activity is None or self._step - track.activity.active >= STEPS:
                return _IDLE, None
            track.activity.go_to(self._step)
            found = track.activity.rates(self._window), track.activity.series(self._step_at)
            self._asked[integration] = found
        return found

    def rates_of_all(self) -> Rates:
        """Return how much happens at all integrations together."""
        return self._all.rates(self._window)

    def series_of_all(self) -> Series:
        """Return what happened at all integrations together in the last 15 minutes."""
        return self._all.series(self._step_at)

    def route_rate(self, integration: str, route: str) -> float:
        """Return how many operations of a route end in a second."""
        track = self._tracks.get(integration)
        return 0.0 if track is None else self._rate(track.routes.get(route))

    def subscription_rate(self, integration: str, subscription: str) -> float:
        """Return how many messages of a subscription come in a second."""
        track = self._tracks.get(integration)
        return 0.0 if track is None else self._rate(track.subscriptions.get(subscription))

    def bus_rates(self) -> tuple[float, float]:
        """Return how many events of the bus are received, and published, in a second."""
        return self._rate(self._received), self._rate(self._published)

    def _rate(self, count: _Count | None) -> float:
        return 0.0 if count is None else count.rate(self._step, self._window)
