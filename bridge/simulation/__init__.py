"""Runs the whole gateway on virtual time, with a bus in memory and stand-ins for remotes; for tests.

`nemo-bridge run` does not import it.
"""

from bridge.simulation.loop import START_MS, EndlessLoopError
from bridge.simulation.record import (
    Attempt,
    Configured,
    Delivered,
    Discarded,
    Ended,
    Entry,
    Garbage,
    Listening,
    LogLine,
    Record,
    Said,
    SessionChange,
    Step,
    Stored,
)
from bridge.simulation.remote import Answer, ScriptedRemote
from bridge.simulation.simulation import Simulation

__all__ = [
    "START_MS",
    "Answer",
    "Attempt",
    "Configured",
    "Delivered",
    "Discarded",
    "Ended",
    "EndlessLoopError",
    "Entry",
    "Garbage",
    "Listening",
    "LogLine",
    "Record",
    "Said",
    "ScriptedRemote",
    "SessionChange",
    "Simulation",
    "Step",
    "Stored",
]
