"""What fabrics use of the bridge that they belong to."""

import random
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bridge.connection import Connection
from bridge.core.model import ConnectionStatus
from bridge.core.ports import Clock
from bridge.core.responder import Responder
from bridge.fabric.context import FabricBus
from bridge.outbox import Outbox

if TYPE_CHECKING:
    from bridge.fabric.offers import Execute


class Surroundings(msgspec.Struct, frozen=True, dict=True):
    """What fabrics use of the bridge.

    Attributes:
        bus: Its bus.
        connection: Returns the connection of an integration by its label; None where there is none.
        statuses: Returns the status of its own integrations, without those that it uses of others.
        listens: Returns whether a program on the bus subscribes to a type, or a route takes it.
        outbox: Returns its outbox.
        responder: Emits what belongs to the end of an operation.
        execute: Executes commands of other nodes.
        stop_with: The type of the event that stops the bridge; empty: none does.
        name: Its name.
        source: The source of its own events.
        version: Its version.
        pid: Its process.
        heartbeat: Seconds between two heartbeats.
        state_dir: A folder for what the next process needs; None: nothing is kept.
        clock: All time.
        rng: For jitter and ids.
    """

    bus: FabricBus
    connection: Callable[[str], Connection | None]
    statuses: Callable[[], Mapping[str, ConnectionStatus]]
    listens: Callable[[str], bool]
    outbox: Callable[[], Outbox]
    responder: Callable[[], Responder]
    execute: "Execute"
    stop_with: str
    name: str
    source: str
    version: str
    pid: int
    heartbeat: float
    state_dir: Path | None
    clock: Clock
    rng: random.Random

    @cached_property
    def run_id(self) -> str:
        """Tells this process from all others."""
        return f"{self.rng.getrandbits(64):016x}"
