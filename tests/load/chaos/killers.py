"""Two killers, each with dice of its own from one seed: one for the remote, one for the sidecar."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.servers.remotes import Stand
from tests.support.sidecar.sidecar import Sidecar

#: Seconds that the remote stays away at most.
_AWAY = 1.0


class Lives:
    """The sidecar, one life after another, over one folder.

    Attributes:
        kills: How often it was killed.
    """

    def __init__(self, folder: Path, text: str) -> None:
        self._folder = folder
        self._text = text
        self._running: Sidecar | None = None
        self.kills = 0

    def start(self) -> Sidecar:
        """The next life; not yet ready."""
        self._running = Sidecar(self._folder, self._text)
        return self._running

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self._running is not None:
            self._running.kill()

    def next(self) -> None:
        """Kill it and start it again.

        Raises:
            AssertionError: It had died by itself; its last words are in the message.
        """
        assert self._running is not None
        assert self._running.process.poll() is None, self._running.text[-2000:]
        self.kill()
        self.kills += 1
        self.start()

    def check(self) -> None:
        """Raise AssertionError where any life has ended with a traceback."""
        assert self._running is not None
        assert "Traceback" not in self._running.text, self._running.text[-4000:]


class Killers:
    """Kill at random until cancelled.

    Attributes:
        remote_kills: How often the remote was killed.
        recoveries: Seconds from each start until the next event reached its outcome.
    """

    def __init__(
        self, stand: Stand, lives: Lives, *, seed: int, every: float, most: int, last: Callable[[], float]
    ) -> None:
        """Nothing is killed yet.

        Args:
            stand: The remote.
            lives: The sidecar.
            seed: Decides when.
            every: Mean seconds between two kills by one killer.
            most: Kills by each at most.
            last: Tells when an event has reached its outcome, on the monotonic clock.
        """
        self._stand = stand
        self._lives = lives
        self._every = every
        self._most = most
        self._last = last
        self._dice = [random.Random(f"{seed}-remote"), random.Random(f"{seed}-sidecar")]
        self._down = asyncio.Lock()
        self.remote_kills = 0
        self.recoveries: list[float] = []

    async def run(self) -> None:
        """Both of them."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill_remotes(self._dice[0]))
            group.create_task(self._kill_sidecars(self._dice[1]))

    async def _kill_remotes(self, dice: random.Random) -> None:
        while self.remote_kills < self._most:
            await asyncio.sleep(dice.uniform(0.3, 1.7) * self._every)
            async with self._down:  # never cancelled between death and return
                await asyncio.shield(self._kill_remote(dice.uniform(0, _AWAY)))
            await self._recovered()

    async def _kill_remote(self, away: float) -> None:
        self._stand.kill()
        self.remote_kills += 1
        await asyncio.sleep(away)
        await asyncio.to_thread(self._stand.start)

    async def _kill_sidecars(self, dice: random.Random) -> None:
        while self._lives.kills < self._most:
            await asyncio.sleep(dice.uniform(0.3, 1.7) * self._every)
            self._lives.next()
            await self._recovered()

    async def _recovered(self) -> None:
        """Wait until an event has reached its outcome again, or the other killer has been there meanwhile."""
        began, kills = time.monotonic(), self.remote_kills + self._lives.kills
        while self._last() < began:
            if self.remote_kills + self._lives.kills != kills or self._down.locked():
                return
            await asyncio.sleep(0.02)
        self.recoveries.append(self._last() - began)

    async def end(self) -> None:
        """Wait until the remote is back where it was being killed."""
        async with self._down:
            pass
