"""How a Redis connection is opened, and what is read from it."""

import asyncio
import time

import pytest
from pydantic import SecretStr
from redis import exceptions

from bridge.adapters.redis.config import RedisConfig
from bridge.adapters.redis.target import targets
from bridge.adapters.redis.transport import NOTHING, Transport, error_reply, opening_steps, pack
from bridge.core.endpoint import NO_AUTH, AuthBasic, Endpoint
from tests.support.adapters.setup import adapter_setup
from tests.support.adapters.sockets import FakeSocket


class Ended:
    """A transport of uvloop at its end, which refuses what is written."""

    def is_closing(self):
        return True

    def write(self, data):
        raise RuntimeError("the handler is closed")


def steps(url="redis://cache", auth=NO_AUTH):
    """The opening commands to a server."""
    return opening_steps(targets(adapter_setup("test", Endpoint(url=url), auth=auth), RedisConfig())[0])


async def fed(*chunks):
    """A transport that has received these bytes."""
    transport = Transport()
    transport.connection_made(Ended())
    for chunk in chunks:
        transport.data_received(chunk)
    return transport


def read_all(transport, replies, *chunks):
    """Collect the replies that are here, and those that come with each chunk, until something is raised."""
    for chunk in (b"", *chunks):
        if chunk:
            transport.data_received(chunk)
        while (reply := transport.next_reply()) is not NOTHING:
            replies.append(reply)


# --- opening


def test_the_opening_commands():
    """RESP3 with the credentials, in one command; a database only where it is not the usual one."""
    password = AuthBasic(type="basic", password=SecretStr("pw"))
    named = AuthBasic(type="basic", username="app", password=SecretStr("pw"))
    assert [command for command, _ in steps()] == [("HELLO", 3)]
    assert [command for command, _ in steps(auth=password)] == [("HELLO", 3, "AUTH", "default", "pw")]
    assert [command for command, _ in steps("redis://cache/2", named)] == [
        ("HELLO", 3, "AUTH", "app", "pw"),
        ("SELECT", 2),
    ]


def test_answers_to_the_opening_commands():
    """A server that agrees is believed; one that stays with an older protocol or database is not."""
    (_, hello), (_, select) = steps("redis://cache/2")
    hello({b"server": b"redis", b"proto": 3})
    select(b"OK")
    for reply in ({b"proto": 2}, [b"proto", 3], b"OK", None):
        with pytest.raises(exceptions.ConnectionError, match="RESP version"):
            hello(reply)
    with pytest.raises(exceptions.ConnectionError, match="Database"):
        select(b"QUEUED")


# --- reading


async def test_replies_come_as_they_are_complete():
    """One that is here in part waits for its rest; nil is a reply, too; an error is returned, not raised."""
    transport = await fed(b"+OK\r\n_\r\n-ERR no\r\n$5\r\nhel")
    assert transport.next_reply() == b"OK"
    assert transport.next_reply() is None
    assert isinstance(transport.next_reply(), exceptions.ResponseError)
    assert transport.next_reply() is NOTHING


async def test_the_end_of_a_connection():
    """Is redis-py's ConnectionError, which the table of errors knows; what came before the end is read."""
    transport = await fed(b"+OK\r\n")
    transport.eof_received()
    assert await transport.reply() == b"OK"
    with pytest.raises(exceptions.ConnectionError, match="closed by server"):
        await transport.reply()
    told = []
    transport.start(told.append, lambda: told.append(None))
    transport.connection_lost(ConnectionResetError())
    assert told == [None]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"%1\r\n*0\r\n+x\r\n", b"%1\r\n%0\r\n+x\r\n"])
async def test_bytes_that_are_no_reply(data):
    """Another protocol, and maps whose keys Python cannot hash: InvalidResponse, and no TypeError."""
    transport = await fed(data)
    with pytest.raises(exceptions.InvalidResponse):
        transport.next_reply()


@pytest.mark.parametrize(
    "text", ["", "ASK", "ASK 1", "ASK 1 host", "MOVED x host:1", "MOVED 1 host:port", "MOVED 1 2 3", "ERR", "\ufffd"]
)
def test_an_error_reply_that_makes_no_sense(text):
    """Redirections to nowhere are errors like any other. redis-py raises ValueError instead of making an exception."""
    assert type(error_reply(text)) is exceptions.ResponseError
    assert str(error_reply(text)) in text


async def test_broken_redirections_inside_a_reply():
    """Are parts of the reply like any other."""
    transport = await fed(b"*2\r\n-ASK 1\r\n%1\r\n-MOVED x y\r\n+a\r\n")
    first, second = transport.next_reply()
    assert str(first) == "ASK 1"
    assert [str(key) for key in second] == ["MOVED x y"]


# --- writing


def test_commands_are_packed_as_redis_reads_them():
    """Arrays of byte strings; numbers are text."""
    assert pack(("XADD", b"\xff", 1)) == b"*3\r\n$4\r\nXADD\r\n$1\r\n\xff\r\n$1\r\n1\r\n"
    with pytest.raises(UnicodeEncodeError):
        pack(("GET", "\ud800"))


async def test_a_write_at_the_end_of_a_connection_is_nothing():
    """The transport of uvloop refuses one that comes before the reader has heard of the end; no traceback."""
    (await fed()).write(b"PING")


@pytest.mark.parametrize("kind", [b"*", b"~", b"%", b">", b"|"])
@pytest.mark.parametrize("before", [b"", b":1\r\n", b"*2\r\n:1\r\n"])
@pytest.mark.parametrize("cut", [0, 1, 5, 9, 10, 12])
async def test_too_many_elements(kind, before, cut):
    """A reply that says that it has them is refused before hiredis makes room; what came before it was read."""
    data = before + kind + b"2147483647\r\n"
    at = len(before) + cut
    transport, replies = await fed(), []
    with pytest.raises(exceptions.InvalidResponse, match="too many elements"):
        read_all(transport, replies, data[:at], data[at:])
    assert replies == ([1] if before == b":1\r\n" else [])


@pytest.mark.parametrize("size", [1, 3, 7, 11, 1000])
async def test_text_that_looks_like_too_many_elements(size):
    """Inside of a string it is text, however the bytes are cut."""
    texts = [b"*2147483647\r\n", b"a\r\n*99999999\r\n>123456789", b"\n*1\n~12345678|", b"*", b"%12345678"]
    data = b"".join(b"$%d\r\n%s\r\n" % (len(text), text) for text in texts) + b"*2\r\n$1\r\n*\r\n:7\r\n"
    transport, replies = await fed(), []
    read_all(transport, replies, *(data[at : at + size] for at in range(0, len(data), size)))
    assert replies == [*texts, [b"*", 7]]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_what_comes_while_nothing_is_read(size):
    """Waits behind what is here, also where that may have had too many elements."""
    text = b"*2147483647\r\n>99999999"
    data = b"$%d\r\n%s\r\n:7\r\n" % (len(text), text)
    replies = []
    read_all(await fed(*(data[at : at + size] for at in range(0, len(data), size))), replies)
    assert replies == [text, 7]


async def test_content_made_to_be_searched_for_long():
    """Whoever may publish chooses it: thousands of what looks like too many elements, and all of their first bytes."""
    content = b"*12345678" * 12_000 + b"~1%1>1|1" * 18_000
    began = time.thread_time()
    transport = await fed(b"$%d\r\n%b\r\n" % (len(content), content))
    assert transport.next_reply() == content
    assert time.thread_time() - began < 0.3


async def test_a_reply_that_is_too_large_for_the_memory():
    """An array with more elements than the memory takes is no reply of Redis; it ends the session only."""
    transport = await fed(b"*2147483\r\n")

    def gets(_):
        raise MemoryError

    transport._gets = gets
    with pytest.raises(exceptions.InvalidResponse, match="too large for the memory"):
        transport.next_reply()


async def test_a_flood_gives_others_a_turn():
    """After much has come at once the event loop has a turn, and reading goes on unless it is paused by its owner."""
    transport, socket = Transport(), FakeSocket()
    transport.connection_made(socket)
    few, many = b"+OK\r\n", b"+OK\r\n" * 20_000
    transport.data_received(few)
    assert socket.is_reading()
    transport.data_received(many)
    assert not socket.is_reading()
    await asyncio.sleep(0)
    assert socket.is_reading()
    transport.data_received(many)
    transport.pause()
    await asyncio.sleep(0)
    assert not socket.is_reading()
    transport.data_received(many)
    await asyncio.sleep(0)
    assert not socket.is_reading()
    transport.resume()
    assert socket.is_reading()
    transport.data_received(many)
    transport.abort()
    await asyncio.sleep(0)
    assert not socket.is_reading()
