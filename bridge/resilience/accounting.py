"""The sums of one integration, which always balance."""

import msgspec


class Accounting(msgspec.Struct):
    """What became of the accepted operations. At every point where tasks switch, `balanced` is true.

    Attributes:
        accepted: All operations that the guard was given, and all that the outbox has taken for this integration.
        succeeded: Ended with a result.
        failed: Ended with an error after an attempt; also cancelled while attempted or waiting.
        dead_lettered: Moved from another sum by the outbox, which keeps the letters; the guard itself has none.
        expired: Ended because the caller's time was up.
        shed: Ended without an attempt: `circuit_open`, `overloaded`, `stopping`.
        in_flight: An attempt is running.
        queued: Waiting for a slot, a token of the rate limit, or the next attempt.
        pending: In the outbox and not with the guard now; to the outside they are queued, too.
    """

    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    dead_lettered: int = 0
    expired: int = 0
    shed: int = 0
    in_flight: int = 0
    queued: int = 0
    pending: int = 0

    def sums(self) -> dict[str, int]:
        """As the contract names them: what waits in the outbox is queued."""
        sums = msgspec.structs.asdict(self)
        sums["queued"] += sums.pop("pending")
        return sums

    @property
    def open(self) -> int:
        """Operations that are with the guard."""
        return self.in_flight + self.queued

    @property
    def balanced(self) -> bool:
        """Whether the sums add up."""
        ended = self.succeeded + self.failed + self.dead_lettered + self.expired + self.shed
        return self.accepted == ended + self.in_flight + self.queued + self.pending
