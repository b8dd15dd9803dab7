"""Waiting for a condition."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

#: Seconds that a test waits for what must come about, where it is not about the time: enough for a busy machine.
PATIENCE: Final = 30.0


async def until(condition: Callable[[], object], what: str = "the condition", seconds: float = PATIENCE) -> None:
    """Return as soon as `condition()` is true; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come about within {seconds:g} s"
        await asyncio.sleep(0.005)
