"""A scripted server: one conversation for each connection, with one fault at one point."""

import asyncio
import contextlib
import socket
import struct
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

#: Bytes that are no text in any encoding that a protocol uses, and no frame of any protocol.
NO_TEXT: Final = b"\xff\xfe\x00\x80\xc0\xc1 \xf5\r\n\xff\r\n\r\n"

Conversation = Callable[["Peer"], Awaitable[None]]
"""Speaks with one client until the connection ends; a closed connection ends it by an exception."""


Act = Callable[["Peer", bytes], Awaitable[None]]
"""What is done in place of sending these bytes."""


class EndedError(Exception):
    """The conversation is over: the fault has ended it."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong at one point of a conversation.

    Attributes:
        at: The point: the name that the conversation gives to what it sends.
        name: What is done instead of sending it.
        act: Does that, with the bytes that would be sent.
    """

    at: str
    name: str
    act: Act = field(repr=False)

    @property
    def label(self) -> str:
        """The name of the case, which is also the label of its integration."""
        return f"{self.at}-{self.name}"


class Peer:
    """One connection of a client, as a conversation sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None) -> None:
        self.reader = reader
        self.writer = writer
        self._fault = fault

    async def say(self, point: str, data: bytes) -> None:
        """Send what belongs to a point, or do what goes wrong there."""
        if self._fault is not None and self._fault.at == point:
            await self._fault.act(self, data)
        else:
            await self.send(data)

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> bytes:
        """Read to the next line feed; the line comes without its end."""
        return (await self.reader.readuntil(b"\n")).rstrip(b"\r\n")

    async def read(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        return await self.reader.readexactly(size)

    async def rest(self) -> None:
        """Read and ignore all that comes until the client closes."""
        while await self.reader.read(65_536):
            pass


# --- faults that fit every point


async def _close(peer: Peer, _: bytes) -> None:
    raise EndedError


async def _half(peer: Peer, data: bytes) -> None:
    await peer.send(data[: len(data) // 2])
    raise EndedError


async def _then_close(peer: Peer, data: bytes) -> None:
    await peer.send(data)
    raise EndedError


async def _reset(peer: Peer, _: bytes) -> None:
    raw: socket.socket = peer.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise EndedError


async def _stall(peer: Peer, _: bytes) -> None:
    await peer.rest()
    raise EndedError


async def _no_text(peer: Peer, _: bytes) -> None:
    await peer.send(NO_TEXT * 3)


async def _high_bits(peer: Peer, data: bytes) -> None:
    await peer.send(bytes(byte ^ 0x80 for byte in data))


async def _twice(peer: Peer, data: bytes) -> None:
    await peer.send(data * 2)


async def _empty(peer: Peer, _: bytes) -> None:
    await peer.send(b"\r\n" * 200)


ANYWHERE: Final = {
    "close": _close,
    "half": _half,
    "then_close": _then_close,
    "reset": _reset,
    "stall": _stall,
    "no_text": _no_text,
    "high_bits": _high_bits,
    "twice": _twice,
    "empty_lines": _empty,
}


def instead(data: bytes) -> Act:
    """Return a fault that sends these bytes in place of the right ones."""

    async def act(peer: Peer, _: bytes) -> None:
        await peer.send(data)

    return act


def rewritten(write: Callable[[bytes], bytes]) -> Act:
    """Return a fault that sends what `write` makes of the right bytes."""

    async def act(peer: Peer, data: bytes) -> None:
        await peer.send(write(data))

    return act


def endless(data: bytes, begin: bytes = b"", most: int = 64 << 20) -> Act:
    """Return a fault that sends these bytes again and again, at most `most` of them, while the client takes them."""

    async def act(peer: Peer, _: bytes) -> None:
        await peer.send(begin)
        for _round in range(most // len(data)):
            await peer.send(data)
        raise EndedError

    return act


def table(points: tuple[str, ...], own: dict[tuple[str, str], bytes | Act]) -> list[Fault]:
    """Return the faults of a protocol: each that fits anywhere at each point, and its own ones.

    Args:
        points: All points of its conversation.
        own: Faults that only this protocol has: point and name, and what is sent instead or done.
    """
    faults = [Fault(point, name, act) for point in points for name, act in ANYWHERE.items()]
    for (point, name), act in own.items():
        assert point in points, point
        faults.append(Fault(point, name, instead(act) if isinstance(act, bytes) else act))
    return faults


@dataclass
class ScriptedServer:
    """A server that runs.

    Attributes:
        port: Where it listens on loopback.
        connections: When it accepted each, in monotonic seconds.
        acted: How often its fault has happened.
    """

    port: int = 0
    connections: list[float] = field(default_factory=list)
    acted: int = 0

    def most_connections(self, seconds: float) -> int:
        """Return the largest number of connections within any so many seconds."""
        times = self.connections
        return max((bisect_right(times, begin + seconds) - at for at, begin in enumerate(times)), default=0)


@asynccontextmanager
async def scripted_server(conversation: Conversation, fault: Fault | None = None) -> AsyncIterator[ScriptedServer]:
    """Run a server for the body; each connection has the conversation with the fault."""
    found = ScriptedServer()
    talking: set[asyncio.Task[None]] = set()

    async def count(peer: Peer, data: bytes) -> None:
        found.acted += 1
        assert fault is not None
        await fault.act(peer, data)

    counted = None if fault is None else Fault(fault.at, fault.name, count)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections.append(time.monotonic())
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        try:
            with contextlib.suppress(EndedError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await conversation(Peer(reader, writer, counted))
        except asyncio.CancelledError:
            pass  # the server ends
        finally:
            talking.discard(task)
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1 << 20)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in tuple(talking):
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
