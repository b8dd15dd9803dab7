"""Code that goes on although it is cancelled, as client libraries do."""

import asyncio


class Stubborn:
    """Never answers, and swallows its first cancellations.

    Attributes:
        cancellations: How often it was cancelled.
        released: Set by a test that is over, so that nothing is left running.
    """

    def __init__(self, times: float) -> None:
        """`times` cancellations are swallowed; `math.inf`: all."""
        self._times = times
        self.cancellations = 0
        self.released = asyncio.Event()

    async def __call__(self) -> None:
        """Go on until it is cancelled often enough, or released."""
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                self.cancellations += 1
                if self.cancellations > self._times:
                    raise
