"""A sender on a closed bus that never finishes a message is disconnected before it costs much memory."""

import asyncio
from pathlib import Path

import pytest

from tests.support.bus.closed_bus import closed
from tests.support.bus.curve_wire import HandmadeSender

_MB = bytes(1_000_000)


async def test_a_message_without_an_end(tmp_path: Path) -> None:
    """It is disconnected and others do not notice; it may connect again and send many messages that are complete."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("app")
        await here.bus.renew_keys()

        def endless() -> int:
            with HandmadeSender(here.bus.publish_endpoint, keys) as sender:
                sender.frame(b"order.endless", more=True)
                for number in range(3000):
                    try:
                        sender.frame(_MB, more=True)
                    except OSError:
                        return number
            return 3000

        sending = asyncio.create_task(asyncio.to_thread(endless))
        await here.works()
        assert 64 < await sending < 3000
        told = await here.hears("resilience.bus.rejected", lambda told: told["reason"] == "cut")
        assert told["detail"] == "a client at 127.0.0.1 was disconnected: 64 MiB and no end of a message"

        def finished() -> None:
            with HandmadeSender(here.bus.publish_endpoint, keys) as sender:
                for _ in range(150):
                    sender.frame(b"order.large", more=True)
                    sender.frame(_MB, more=False)
                sender.frame(b"order.last", more=True)
                sender.frame(here.good.event("order.last"), more=False)

        # A large one that is no event is told of, each time, so that all have come out.
        await asyncio.to_thread(finished)
        await here.works()
        assert here.bus.stats.rejected == 151
        assert here.saw("order.last")


@pytest.mark.parametrize("frames", [1, 40])
async def test_a_message_of_many_frames_that_ends(tmp_path: Path, frames: int) -> None:
    """Within the bound nobody is disconnected; the message is not forwarded, as it does not have two frames."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("app")
        await here.bus.renew_keys()

        def send() -> None:
            with HandmadeSender(here.bus.publish_endpoint, keys) as sender:
                sender.frame(b"order.many", more=True)
                for _ in range(frames):
                    sender.frame(_MB, more=True)
                sender.frame(b"", more=False)

        await asyncio.to_thread(send)
        await here.hears("resilience.bus.rejected", lambda told: told["reason"] == "frames")
        assert here.bus.stats.rejected == 1
