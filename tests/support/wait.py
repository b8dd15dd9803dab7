"""Waiting for a condition."""

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], what: str = "the condition", seconds: float = 10.0) -> None:
    """Return as soon as `condition()` is true; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come about within {seconds:g} s"
        await asyncio.sleep(0.005)
