"""Runs a real outbox on a small file system, and prints what happened: `python -m …small_disk FOLDER`.

The folder is on a file system of 2 MB that nothing else uses. The outbox is filled until it refuses, twice: once with
the rest of the disk free, and once when another program has taken all of it.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bridge.core.clock import RealClock
from bridge.core.errors import OverloadedError
from bridge.outbox.commit_queue import CommitQueue
from tests.support.guard.outbox import FakeConnection, OutboxHarness, numbers


async def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


class _SmallDisk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.box = OutboxHarness(folder / "data", commit_queue=CommitQueue)
        self.box.clock = RealClock()  # type: ignore[assignment]
        self.box.outbox = self.box._make()
        self.box.connections["api"] = self.api = FakeConnection()
        self.api.capacity = 1000
        self.count = 0

    async def fill(self) -> None:
        """Accept events, with and without a key, until they are refused."""
        self.api.usable = self.api.well = False
        self.box.outbox.wake()
        while self.box.outbox.problem is None:
            self.count += 1
            key = f"k{self.count % 50}" if self.count % 2 else None
            try:
                self.box.accept(self.count, key=key, payload="x" * 1500)
            except OverloadedError:
                break
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)

    async def deliver(self, most: float = 20.0) -> list[int]:
        """Let the remote work until nothing more is sent; return what was sent."""
        sent: list[int] = []
        self.api.usable = self.api.well = True
        self.box.outbox.wake()
        last = time.monotonic()
        while time.monotonic() < last + 1.5:
            for number in numbers(self.api):
                sent.append(number)
                self.api.end(number)
                last = time.monotonic()
            await asyncio.sleep(0.002)
        return sent

    @property
    def pending(self) -> int:
        return self.box.outbox.counts().pending

    @property
    def outcomes(self) -> int:
        return len(self.box.bus.of("receipt.api.delivered"))


async def main(folder: Path) -> None:
    """Fill and empty the outbox twice."""
    disk = _SmallDisk(folder)
    await disk.box.outbox.open()
    report: dict[str, object] = {}
    await disk.fill()
    first = disk.pending
    sent = await disk.deliver()
    await _until(lambda: disk.box.outbox.problem is None)
    report["alone"] = {"accepted": first, "sent": sorted(sent) == list(range(1, first + 1)), "pending": disk.pending}
    await disk.fill()
    second, told = disk.pending, disk.outcomes
    with (folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(512)):
            pass
    sent = await disk.deliver()
    report["beside a filler"] = {
        "accepted": second,
        "sent": len(sent),
        "once": len(set(sent)) == len(sent),
        "problem": disk.box.outbox.problem is not None,
    }
    (folder / "filler").unlink()
    await _until(lambda: disk.pending == 0 and disk.box.outbox.problem is None)
    report["freed"] = {"told": disk.outcomes - told}
    disk.api.usable = disk.api.well = True
    disk.count += 1
    disk.box.accept(disk.count)
    await _until(lambda: bool(numbers(disk.api)))
    disk.api.end(disk.count)
    await _until(lambda: disk.pending == 0)
    await disk.box.outbox.close()
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
