"""What the log says of events that wait in the outbox, on a fake clock."""

from typing import Any

from structlog.testing import capture_logs

from bridge.core.errors import UnavailableError
from bridge.core.log_fields import AGAIN
from bridge.outbox.wait_log import SOON, WaitLog
from tests.support.clock import FakeClock


class Told:
    """A log with the state that the test sets."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pending = 3
        self.flows = self.elsewhere = False
        self.log = WaitLog(
            "api",
            clock=self.clock,
            pending=lambda: self.pending,
            flows=lambda: self.flows,
            told_elsewhere=lambda: self.elsewhere,
        )

    async def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Let time pass; return the lines of it."""
        with capture_logs() as lines:
            while seconds > 0:
                await self.clock.advance(min(seconds, SOON))
                seconds -= SOON
        return [dict(line) for line in lines]


async def test_events_that_wait_and_are_delivered() -> None:
    """One line after five seconds, with how many and why; one when the last one was delivered."""
    told = Told()
    told.log.waits(UnavailableError("503"))
    told.log.waits(None)
    line = {"event": "outbox filling", "log_level": "warning", "integration": "api", "pending": 3}
    assert await told.wait(SOON) == [line | {"error": "unavailable", "message": "503"}]
    assert await told.wait(60) == []
    told.pending, told.flows = 0, True
    assert await told.wait(SOON) == [
        {"event": "outbox caught up", "log_level": "info", "integration": "api", "waited_s": 70.0, "pending": 0}
    ]
    assert told.clock.timers == 0


async def test_what_is_soon_over_is_no_news() -> None:
    """A retry that works within five seconds leaves no line, and no timer."""
    told = Told()
    told.log.waits(UnavailableError("503"))
    told.flows = True
    told.pending = 0
    assert await told.wait(3 * SOON) == []
    assert told.clock.timers == 0


async def test_a_key_that_fails_again_and_again() -> None:
    """Between two tries nothing waits for a moment: that is no end, and so no line."""
    told = Told()
    told.log.waits(UnavailableError("503"))
    assert len(await told.wait(SOON)) == 1
    for _ in range(10):
        told.flows = True
        await told.clock.advance(1)
        told.log.waits(UnavailableError("503"))
        told.flows = False
        assert await told.wait(SOON) == []
    told.flows = True
    assert [(line["event"], line["pending"]) for line in await told.wait(3 * SOON)] == [("outbox caught up", 3)]


async def test_it_says_so_again_each_five_minutes() -> None:
    """But where the integration is not well, since then its own line says how many wait."""
    told = Told()
    told.log.waits(UnavailableError("503"))
    assert [line["event"] for line in await told.wait(AGAIN + 2 * SOON)] == ["outbox filling", "outbox still filling"]
    told.elsewhere = True
    assert await told.wait(AGAIN + SOON) == []
    told.log.close()
    told.log.waits(UnavailableError("503"))
    assert told.clock.timers == 0
