"""The real clock. Tests pass a fake one in."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any


class RealClock:
    """`ports.Clock` on asyncio and the system's clocks."""

    def monotonic(self) -> float:
        """See `ports.Clock.monotonic`."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """See `ports.Clock.wall_ms`."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> contextlib.AbstractAsyncContextManager[Any]:
        """See `ports.Clock.timeout`."""
        return asyncio.timeout(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """See `ports.Clock.call_later`."""
        return asyncio.get_running_loop().call_later(seconds, callback).cancel
