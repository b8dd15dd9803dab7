"""Our own events, as the broker gives them back to us."""

import asyncio

import msgspec

from bridge.bus.codec import Codec


class _Numbered(msgspec.Struct):
    id: int


def _number(body: bytes) -> int:
    try:
        return msgspec.msgpack.decode(body, type=_Numbered).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return -1  # somebody's who claims to be us, and is no event


class Echo:
    """Knows own events by their first bytes, so that they need not be decoded only to be dropped."""

    def __init__(self, source: str) -> None:
        """`source` is what stands in our events."""
        self._prefix = Codec.own_prefix(source)
        self._last = b""
        self._came = asyncio.Event()

    def is_own(self, body: bytes) -> bool:
        """Whether the second frame of a message is an event of ours."""
        if not body.startswith(self._prefix):
            return False
        self._last = body
        self._came.set()
        return True

    async def of(self, event_id: int) -> None:
        """Wait until this event of ours, or a later one, has come back."""
        while _number(self._last) < event_id:
            self._came.clear()
            await self._came.wait()
