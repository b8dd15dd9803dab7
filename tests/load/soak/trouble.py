"""The faults of a soak, one at a time, seeded; each is over within a few seconds."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence

import zmq

from tests.support.bus.program import Program
from tests.support.servers.programs import freeze
from tests.support.servers.remotes import Stand
from tests.support.sidecar.sidecar import Sidecar


class Trouble:
    """Makes faults, one after another, in an order that the seed decides.

    Attributes:
        garbage: Messages sent that are no events.
        made: What was done, in order.
    """

    def __init__(self, process: Sidecar, bus: Program, stands: Sequence[Stand], seed: int) -> None:
        self._process = process
        self._bus = bus
        self._rng = random.Random(seed)
        self.garbage = 0
        self.made: list[str] = []
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "garbage": self._garbage,
            "subscribers": self._subscribers,
            "SIGSTOP of the sidecar": self._freeze_sidecar,
        }
        for one in stands:
            self._kinds[f"kill -9 of {one.kind}"] = lambda one=one: self._kill(one)
            self._kinds[f"SIGSTOP of {one.kind}"] = lambda one=one: self._freeze(one)
        self._waiting: list[str] = []

    async def next(self) -> None:
        """Make the next fault; each is made once before any is made again."""
        if not self._waiting:
            self._waiting = list(self._kinds)
            self._rng.shuffle(self._waiting)
        name = self._waiting.pop()
        self.made.append(name)
        await self._kinds[name]()

    async def _kill(self, one: Stand) -> None:
        one.kill()
        await asyncio.sleep(self._rng.uniform(0.1, 2))
        await asyncio.to_thread(one.start)

    async def _freeze(self, one: Stand) -> None:
        one.freeze()
        await asyncio.sleep(self._rng.uniform(0.5, 3))
        one.thaw()

    async def _freeze_sidecar(self) -> None:
        freeze(self._process.process)
        await asyncio.sleep(self._rng.uniform(0.5, 2))
        self._process.process.send_signal(signal.SIGCONT)

    async def _garbage(self) -> None:
        for _ in range(300):
            self._bus.raw(b"integration.redis.enqueue", self._rng.randbytes(self._rng.randrange(1, 60)))
            self.garbage += 1

    async def _subscribers(self) -> None:
        """Connect a hundred subscribers that never read, and disconnect them."""
        with zmq.Context() as context:
            sockets = [context.socket(zmq.SUB) for _ in range(100)]
            for number, socket in enumerate(sockets):
                socket.linger = 0
                socket.subscribe(f"nobody.{number}.")
                socket.subscribe("")
                socket.connect(self._process.subscribe)
            await asyncio.sleep(2)
            for socket in sockets:
                socket.close()
