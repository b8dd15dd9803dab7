"""Recognises this bus client's own events when the broker sends them back."""

import asyncio

import msgspec

from bridge.bus.codec import Codec


class _Numbered(msgspec.Struct):
    id: int


def _number(body: bytes) -> int:
    try:
        return msgspec.msgpack.decode(body, type=_Numbered).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return -1  # another program uses our source, and this is no event


class Loopback:
    """Recognises own events by their first bytes, so that they need not be decoded to be dropped."""

    def __init__(self, source: str) -> None:
        """`source` is the `source` of our events."""
        self._prefix = Codec.own_prefix(source)
        self._last = b""
        self._came: asyncio.Event | None = None  # made for the first one who waits

    def is_own(self, body: bytes) -> bool:
        """Tell whether the second frame of a message is an own event; remember the last one."""
        if not body.startswith(self._prefix):
            return False
        self._last = body
        if self._came is not None:
            self._came.set()
        return True

    async def wait_for(self, event_id: int) -> None:
        """Wait until the own event with this id, or a later one, has come back."""
        if self._came is None:
            self._came = asyncio.Event()
        while _number(self._last) < event_id:
            self._came.clear()
            await self._came.wait()
