"""Faults of a simulation: what they do, and random ones from a seed."""

import random
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final, Literal

import msgspec

from bridge.core.errors import AuthError
from bridge.simulation.remote import Answer, ScriptedRemote
from bridge.simulation.simulation import Simulation

RemoteFault = Literal[
    "down",
    "slow",
    "frozen",
    "half_open",
    "cut",
    "dies_opening",
    "loses_answers",
    "answers_wrongly",
    "unavailable",
    "throttles",
    "drops_connections",
    "refuses_credentials",
    "refuses_topics",
]
"""What can be wrong with a remote."""
ProcessFault = Literal[
    "killed",
    "restarted",
    "stands_still",
    "disk_full",
    "disk_broken",
    "disk_slow",
    "clock_set",
    "bus_full",
]
"""What can be wrong with the bridge's process and its machine."""

#: What a person reads of each fault.
TEXTS: Final[Mapping[str, str]] = {
    "down": "refuses connections",
    "slow": "takes {value:g} s longer for each answer",
    "frozen": "answers nothing",
    "half_open": "forgets its connections without a word",
    "cut": "ends its connections",
    "dies_opening": "ends the next {value:.0f} connections as soon as they are open",
    "loses_answers": "does what is asked and its answers are lost",
    "answers_wrongly": "answers what makes no sense",
    "unavailable": "says that it cannot now",
    "throttles": "says that it gets too much, for {value:g} s",
    "drops_connections": "ends the connection in place of an answer",
    "refuses_credentials": "refuses the credentials",
    "refuses_topics": "refuses to subscribe to anything",
    "killed": "the bridge is killed",
    "restarted": "the bridge is stopped in order and started again",
    "stands_still": "the bridge stands still for {value:g} s",
    "disk_full": "the disk is full",
    "disk_broken": "the disk takes nothing",
    "disk_slow": "each commit takes {value:g} s",
    "clock_set": "the wall clock is set by {value:+g} s",
    "bus_full": "the pipe to the bus is full",
}
_REMOTE: Final[tuple[RemoteFault, ...]] = (
    "down",
    "slow",
    "frozen",
    "half_open",
    "cut",
    "dies_opening",
    "loses_answers",
    "answers_wrongly",
    "unavailable",
    "throttles",
    "drops_connections",
    "refuses_credentials",
    "refuses_topics",
)
_PROCESS: Final[tuple[ProcessFault, ...]] = (
    "killed",
    "restarted",
    "stands_still",
    "disk_full",
    "disk_broken",
    "disk_slow",
    "clock_set",
    "bus_full",
)
#: Faults that are over as soon as they have begun.
_MOMENTS: Final = frozenset({"restarted", "half_open", "cut", "dies_opening", "stands_still", "clock_set"})


class Fault(msgspec.Struct, frozen=True):
    """Something that is wrong for a while.

    Attributes:
        at: When it begins, in seconds since the beginning.
        lasts: For how many seconds; 0 for what is over at once.
        what: What is wrong.
        remote: The integration whose remote it is about; None: the bridge's own process.
        value: How much, where that matters; in the fault's own unit.
    """

    at: float
    lasts: float
    what: str
    remote: str | None = None
    value: float = 0.0

    @property
    def until(self) -> float:
        """When it is over."""
        return self.at + self.lasts

    def __str__(self) -> str:
        """Return it as one line for a person."""
        who = "" if self.remote is None else f"the remote of {self.remote} "
        long = f", for {self.lasts:g} s" if self.lasts else ""
        return f"at {self.at:g} s: {who}{TEXTS[self.what].format(value=self.value)}{long}"


def random_faults(
    rng: random.Random, remotes: Collection[str], *, until: float, most: int, process: bool = True
) -> list[Fault]:
    """Return faults in the order in which they begin.

    Args:
        rng: The source of all that is random.
        remotes: Integrations that have a stand-in, in an order that is always the same.
        until: Seconds in which all of them begin.
        most: How many there are at most.
        process: Whether there are faults of the process and its machine, too.
    """
    names = list(remotes)
    found = []
    for _ in range(rng.randint(0, most)):
        of_process = process and (not names or rng.random() < 0.3)
        what: str = rng.choice(_PROCESS if of_process else _REMOTE)
        lasts = rng.choice([0.05, 1.0, 10.0, 60.0]) * rng.uniform(0.5, 1.5)
        found.append(
            Fault(
                at=round(rng.uniform(0, until), 3),
                lasts=0.0 if what in _MOMENTS else round(lasts, 3),
                what=what,
                remote=None if of_process else rng.choice(names),
                value=_value(what, rng),
            )
        )
    return sorted(found, key=lambda one: one.at)


def _value(what: str, rng: random.Random) -> float:
    match what:
        case "slow":
            return round(rng.choice([0.05, 1.0, 5.0]) * rng.uniform(0.5, 1.5), 3)
        case "dies_opening":
            return rng.randint(1, 6)
        case "throttles":
            return rng.choice([0.0, 0.5, 3.0])
        case "stands_still":
            return round(rng.uniform(0.3, 120), 3)
        case "disk_slow":
            return rng.choice([0.005, 0.2, 3.0])
        case "clock_set":
            return rng.choice([-3600.0, -5.0, 5.0, 86400.0])
    return 0.0


def plan(world: Simulation, faults: Collection[Fault]) -> None:
    """Let these faults happen in a simulation."""
    for one in faults:
        begin, end = _acts(world, one)
        world.at(one.at, partial(_begin, world, one, begin))
        if one.lasts:
            world.at(one.until, partial(_end, world, one, end))


def _begin(world: Simulation, fault: Fault, begin: Callable[[], object]) -> None:
    if fault.what != "killed":  # it is noted as such
        who = "" if fault.remote is None else f"{fault.remote} "
        world.note(f"{who}{TEXTS[fault.what].format(value=fault.value)}")
    begin()


def _end(world: Simulation, fault: Fault, end: Callable[[], object]) -> None:
    if fault.what != "killed":
        who = "" if fault.remote is None else f"{fault.remote} "
        world.note(f"over: {who}{TEXTS[fault.what].format(value=fault.value)}")
    end()


def _acts(world: Simulation, fault: Fault) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what begins a fault, and what ends it."""
    if fault.remote is None:
        return _of_process(world, fault)
    return _of_remote(world.remotes[fault.remote], fault)


def _of_process(world: Simulation, fault: Fault) -> tuple[Callable[[], object], Callable[[], object]]:
    def disk(state: Literal["good", "full", "broken"]) -> Callable[[], object]:
        return partial(setattr, world.disk, "state", state)

    match fault.what:
        case "killed":
            return world.kill, world.start_soon
        case "restarted":
            return world.restart, _nothing
        case "stands_still":
            return partial(world.loop.jump, fault.value), _nothing
        case "disk_full":
            return disk("full"), disk("good")
        case "disk_broken":
            return disk("broken"), disk("good")
        case "disk_slow":
            return partial(setattr, world.disk, "commit_seconds", fault.value), partial(
                setattr, world.disk, "commit_seconds", 0.0
            )
        case "clock_set":
            return partial(world.set_wall_clock, fault.value), _nothing
        case "bus_full":
            return partial(setattr, world.broker, "has_room", False), partial(setattr, world.broker, "has_room", True)
    raise ValueError(f"there is no fault {fault.what!r}")


def _of_remote(remote: ScriptedRemote, fault: Fault) -> tuple[Callable[[], object], Callable[[], object]]:
    def instead(answer: Answer) -> tuple[Callable[[], object], Callable[[], object]]:
        return partial(setattr, remote, "instead", answer), partial(setattr, remote, "instead", None)

    match fault.what:
        case "down":
            return partial(remote.down, True), partial(remote.down, False)
        case "slow":
            return partial(setattr, remote, "latency", fault.value), partial(setattr, remote, "latency", 0.0)
        case "frozen":
            return partial(setattr, remote, "frozen", True), remote.thaw
        case "half_open":
            return remote.half_open, _nothing
        case "cut":
            return partial(remote.end_sessions, "the remote ended it"), _nothing
        case "dies_opening":

            def dies() -> None:
                remote.dies_opening = int(fault.value)
                remote.end_sessions("the remote ended it")

            return dies, _nothing
        case "loses_answers":
            return instead(Answer(error="timeout", executed=True))
        case "answers_wrongly":
            return instead(Answer(error="protocol", executed=True))
        case "unavailable":
            return instead(Answer(error="unavailable"))
        case "throttles":
            return instead(Answer(error="throttled", retry_after_ms=int(fault.value * 1000)))
        case "drops_connections":
            return instead(Answer(error="connection_lost", executed=True))
        case "refuses_credentials":

            def refuse() -> None:
                remote.refuses = AuthError("the credentials are refused", permanent=True)
                remote.end_sessions("the remote ended it")

            return refuse, partial(remote.down, False)
        case "refuses_topics":
            return partial(setattr, remote, "refuses_topics", True), partial(setattr, remote, "refuses_topics", False)
    raise ValueError(f"there is no fault {fault.what!r}")


def _nothing() -> None:
    pass
