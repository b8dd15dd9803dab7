"""The socket of a connection: when it is read."""

import asyncio

from bridge.adapters.nats.protocol import Operation
from bridge.adapters.nats.transport import Transport
from bridge.core.wakeups import MANY
from tests.support.adapters.sockets import FakeSocket
from tests.support.clock import FakeClock

_MESSAGE = b"MSG news 1 5\r\nhello\r\n"


async def test_a_flood_gives_others_a_turn() -> None:
    """After a reading with many messages the event loop has a turn. libuv would go on reading, up to 32 times."""
    got: list[Operation] = []
    transport, socket = Transport(got.append, lambda _: None, FakeClock()), FakeSocket()
    transport.connection_made(socket)
    transport.data_received(b'INFO {"max_payload": 1000}\r\n')
    transport.begin(b"CONNECT {}\r\n")
    socket.resume_reading()
    transport.data_received(_MESSAGE * MANY)
    assert socket.is_reading()
    transport.data_received(_MESSAGE * (MANY + 1))
    assert not socket.is_reading()
    await asyncio.sleep(0)
    assert socket.is_reading()
    assert len(got) == 2 * MANY + 1
    transport.data_received(_MESSAGE * (MANY + 1))
    transport.abort()
    await asyncio.sleep(0)
    assert not socket.is_reading()
