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
    """Recognises own events by their first bytes, so that they need not be decoded to be dropped.

    Attributes:
        prefix: The bytes with which the second frame of an own event begins.
    """

    def __init__(self, source: str) -> None:
        """`source` is the `source` of our events."""
        self.prefix = Codec.own_prefix(source)
        self._last = b""
        self._came: asyncio.Event | None = None  # made for the first one who waits

    def came(self, body: bytes) -> None:
        """Remember an own event that has come back; `body` is its second frame."""
        self._last = body
        if self._came is not None:
            self._came.set()

    async def wait_for(self, event_id: int) -> None:
        """Wait until the own event with this id, or a later one, has come back."""
        if self._came is None:
            self._came = asyncio.Event()
        while _number(self._last) < event_id:
            self._came.clear()
            await self._came.wait()
