"""Own events are recognised by their first bytes."""

import asyncio

from bridge.bus.codec import Codec
from bridge.bus.loopback import Loopback


async def test_garbage_in_our_name() -> None:
    """A message that begins like an own event, and is no event, does not end the wait, and raises nothing."""
    loopback = Loopback("bridge")
    waiting = asyncio.ensure_future(loopback.wait_for(5))
    for body in (b"", b"\xc1", b"\x91" * 5000):
        loopback.came(loopback.prefix + body)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
    for number in (4, 5):
        assert not waiting.done()
        _, body = Codec().encode("a", None, event_id=number, timestamp=1, source="bridge", headers={"hop": "1"})
        assert body.startswith(loopback.prefix)
        loopback.came(body)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await waiting
