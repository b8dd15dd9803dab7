"""The sums of one integration, which always balance."""

import msgspec


class Accounting(msgspec.Struct):
    """What became of the accepted operations. At every point where tasks switch, `balanced` is true.

    Attributes:
        accepted: All operations that the guard was given.
        succeeded: Ended with a result.
        failed: Ended with an error after an attempt; also cancelled while attempted or waiting.
        dead_lettered: Moved from another sum by whoever keeps dead letters; the guard itself has none.
        expired: Ended because the caller's time was up.
        shed: Ended without an attempt: `circuit_open`, `overloaded`, `stopping`.
        in_flight: An attempt is running.
        queued: Waiting for a slot, a token of the rate limit, or the next attempt.
    """

    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    dead_lettered: int = 0
    expired: int = 0
    shed: int = 0
    in_flight: int = 0
    queued: int = 0

    @property
    def open(self) -> int:
        """Operations that have not ended yet."""
        return self.in_flight + self.queued

    @property
    def balanced(self) -> bool:
        """Whether the sums add up."""
        ended = self.succeeded + self.failed + self.dead_lettered + self.expired + self.shed
        return self.accepted == ended + self.in_flight + self.queued
