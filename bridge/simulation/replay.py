"""Play a recording of the bus through a configuration on virtual time, with faults from a file or from a seed."""

import random
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from bridge.config import Configuration
from bridge.config.case_models import Case
from bridge.core.errors import InvalidError
from bridge.core.model import Event
from bridge.simulation.cases import answers_of, schedule
from bridge.simulation.faults import Fault, plan, random_faults
from bridge.simulation.invariants import finish, violations
from bridge.simulation.loop import START_MS
from bridge.simulation.record import Record
from bridge.simulation.simulation import Simulation

#: Seconds of virtual time that all may take to come to an end after the last event.
_PATIENCE: Final = 3600.0
#: Seconds from the start in which faults of a seed begin, at least, and how many there are at most.
_LEAST: Final = 60.0
_MOST_FAULTS: Final = 8


class Trace(msgspec.Struct, frozen=True):
    """The events of a recording that programs have emitted.

    Attributes:
        events: Each with its time in seconds since the first one.
        began_ms: The time stamp of the first one; 0 where there is none.
        left_out: How many events of a bridge were left out.
    """

    events: tuple[tuple[float, Event], ...]
    began_ms: int
    left_out: int

    @property
    def lasts(self) -> float:
        """Return the seconds from the first event to the last."""
        return self.events[-1][0] if self.events else 0.0


class Replay(msgspec.Struct, frozen=True):
    """What came of a recording.

    Attributes:
        record: All that happened.
        faults: The faults of the seed.
        broken: One line for each invariant that does not hold.
        notes: Events that the bus could not carry.
    """

    record: Record
    faults: tuple[Fault, ...]
    broken: tuple[str, ...]
    notes: tuple[str, ...]


def read_trace(events: Iterable[Event]) -> Trace:
    """Return the events of programs in the order of the recording; the bridge's own are left out, it says them anew."""
    found: list[tuple[float, Event]] = []
    began_ms = left_out = 0
    for event in events:
        if event.source == "bridge" or (event.source or "").startswith("bridge/"):
            left_out += 1
            continue
        if not found:
            began_ms = event.timestamp
        at = (event.timestamp - began_ms) / 1000
        found.append((max(at, found[-1][0] if found else 0.0), event))
    return Trace(tuple(found), began_ms, left_out)


def replay(configuration: Configuration, trace: Trace, *, seed: int | None = None) -> Replay:
    """Play a recording through a configuration.

    Args:
        configuration: What runs; its `faults` happen, too.
        trace: The recording.
        seed: Of faults of remotes, process and machine, and of all jitter; None: no such faults.

    Raises:
        BaseException: A bug has ended the bridge.
    """
    steps = configuration.faults or Case("")
    notes: list[str] = []
    faults = tuple(_faults(configuration, trace, seed))
    stands_still = any(one.what == "stands_still" for one in faults)
    with Simulation(configuration, seed=seed or 0, answers=answers_of(steps), steady=stands_still) as world:
        world.start()
        for at, event in trace.events:
            world.at(at, partial(_emit, world, event, START_MS - trace.began_ms, notes))
        schedule(world, steps.steps, notes)
        plan(world, faults)
        last = max([trace.lasts, *(step.at for step in steps.steps), *(one.until for one in faults)])
        world.run(last + _PATIENCE)
        run = finish(world, configuration)
    return Replay(run.record, faults, tuple(violations(run)), tuple(notes))


def first_broken(configuration: Configuration, trace: Trace, seeds: Sequence[int]) -> tuple[int, Replay] | None:
    """Return the first seed with which an invariant does not hold, and what came of it; None where all hold."""
    for seed in seeds:
        found = replay(configuration, trace, seed=seed)
        if found.broken:
            return seed, found
    return None


def _faults(configuration: Configuration, trace: Trace, seed: int | None) -> Iterator[Fault]:
    if seed is not None:
        with Simulation(configuration) as world:
            remotes = list(world.remotes)
        rng = random.Random(f"faults {seed}")  # noqa: S311 - must be the same each time
        yield from random_faults(rng, remotes, until=max(trace.lasts, _LEAST), most=_MOST_FAULTS)


def _emit(world: Simulation, event: Event, shift_ms: int, notes: list[str]) -> None:
    headers = dict(event.headers or {})
    deadline = headers.get("deadline_ms", "")
    if deadline.isdecimal():  # it is a time of day
        headers["deadline_ms"] = str(int(deadline) + shift_ms)
    try:
        world.emit(
            event.event_type,
            event.payload,
            source=event.source,
            correlation_id=event.correlation_id,
            headers=headers or None,
            event_id=event.id,
        )
    except InvalidError as error:
        notes.append(f"`{event.event_type}` was not emitted: {error.message}")
