"""Kills the remote and the sidecar at random times, which one seed decides."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.servers.remotes import Stand
from tests.support.sidecar.sidecar import Sidecar

#: Seconds that the remote stays away at most.
_AWAY = 1.0


class SidecarRuns:
    """Starts and kills sidecars, one after another, that use the same folder.

    Attributes:
        kills: How often it was killed.
    """

    def __init__(self, folder: Path, text: str) -> None:
        self._folder = folder
        self._text = text
        self._running: Sidecar | None = None
        self.kills = 0

    def start(self) -> Sidecar:
        """Start the next sidecar; it is not ready yet."""
        self._running = Sidecar(self._folder, self._text)
        return self._running

    def kill(self) -> None:
        """Kill the sidecar by SIGKILL, and wait until it has ended."""
        if self._running is not None:
            self._running.kill()

    def next(self) -> None:
        """Kill the sidecar and start it again.

        Raises:
            AssertionError: It had died by itself; its last words are in the message.
        """
        assert self._running is not None
        assert self._running.process.poll() is None, self._running.text[-2000:]
        self.kill()
        self.kills += 1
        self.start()

    def check(self) -> None:
        """Raise AssertionError where any sidecar has ended with a traceback."""
        assert self._running is not None
        assert "Traceback" not in self._running.text, self._running.text[-4000:]


class Killers:
    """Kills remote and sidecar at random until cancelled.

    Attributes:
        remote_kills: How often the remote was killed.
        recoveries: Seconds from each start until the next event reached its outcome.
    """

    def __init__(
        self, stand: Stand, sidecar: SidecarRuns, *, seed: int, every: float, most: int, last: Callable[[], float]
    ) -> None:
        """Create it; nothing is killed yet.

        Args:
            stand: The remote.
            sidecar: The sidecar.
            seed: Decides when.
            every: Mean seconds between two kills by one killer.
            most: Kills by each at most.
            last: Tells when an event has reached its outcome, on the monotonic clock.
        """
        self._stand = stand
        self._sidecar = sidecar
        self._every = every
        self._most = most
        self._last = last
        self._dice = [random.Random(f"{seed}-remote"), random.Random(f"{seed}-sidecar")]
        self._down = asyncio.Lock()
        self.remote_kills = 0
        self.recoveries: list[float] = []

    async def run(self) -> None:
        """Kill both, again and again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill_remotes(self._dice[0]))
            group.create_task(self._kill_sidecars(self._dice[1]))

    async def _kill_remotes(self, dice: random.Random) -> None:
        while self.remote_kills < self._most:
            await asyncio.sleep(dice.uniform(0.3, 1.7) * self._every)
            # Never cancelled between death and return.
            await asyncio.shield(self._kill_remote(dice.uniform(0, _AWAY)))
            await self._recovered()

    async def _kill_remote(self, away: float) -> None:
        async with self._down:
            self._stand.kill()
            self.remote_kills += 1
            await asyncio.sleep(away)
            await asyncio.to_thread(self._stand.start)

    async def _kill_sidecars(self, dice: random.Random) -> None:
        while self._sidecar.kills < self._most:
            await asyncio.sleep(dice.uniform(0.3, 1.7) * self._every)
            self._sidecar.next()
            await self._recovered()

    async def _recovered(self) -> None:
        """Wait until an event has an outcome again, or the other of the two was killed meanwhile."""
        began, kills = time.monotonic(), self.remote_kills + self._sidecar.kills
        while self._last() < began:
            if self.remote_kills + self._sidecar.kills != kills or self._down.locked():
                return
            await asyncio.sleep(0.02)
        self.recoveries.append(self._last() - began)

    async def end(self) -> None:
        """Wait until the remote runs again, where it is being killed."""
        async with self._down:
            pass
