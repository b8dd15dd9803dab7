"""A scripted Redis server in RESP3: channels, streams with groups, and nothing stored."""

import asyncio
from typing import Final

from tests.support.servers.scripted.server import Peer, endless, table


def bulk(value: bytes) -> bytes:
    """Return a bulk string."""
    return b"$%d\r\n%s\r\n" % (len(value), value)


def array(*items: bytes) -> bytes:
    """Return an array of encoded items."""
    return b"*%d\r\n" % len(items) + b"".join(items)


def push(*items: bytes) -> bytes:
    """Return a push of bulk strings and encoded numbers."""
    return b">%d\r\n" % len(items) + b"".join(items)


_HELLO: Final = b"%2\r\n" + bulk(b"server") + bulk(b"redis") + bulk(b"proto") + b":3\r\n"
_ENTRIES: Final = b"%1\r\n" + bulk(b"jobs") + array(array(bulk(b"1-1"), array(bulk(b"data"), bulk(b"1"))))


async def converse(peer: Peer) -> None:
    """Answer a client until it closes."""
    given = False
    while True:
        words = [await _word(peer) for _ in range(int((await peer.line())[1:]))]
        match words[0].upper():
            case b"HELLO":
                await peer.say("hello", _HELLO)
            case b"PING":
                await peer.say("pong", b"+PONG\r\n")
            case b"SUBSCRIBE":
                for channel in words[1:]:
                    await peer.say("subscribed", push(bulk(b"subscribe"), bulk(channel), b":1\r\n"))
                    await peer.say("message", push(bulk(b"message"), bulk(channel), bulk(b"1")))
            case b"UNSUBSCRIBE":
                await peer.send(push(bulk(b"unsubscribe"), bulk(words[-1]), b":0\r\n"))
            case b"PUBLISH":
                await peer.say("published", b":1\r\n")
            case b"XADD":
                await peer.say("added", bulk(b"1-1"))
            case b"XREADGROUP":
                if given or words[-1] != b">":
                    await asyncio.sleep(0.2)
                    await peer.send(b"_\r\n")
                else:
                    given = True
                    await peer.say("entries", _ENTRIES)
            case b"XAUTOCLAIM":
                await peer.say("claimed", array(bulk(b"0-0"), array(), array()))
            case b"XPENDING":
                await peer.send(array())
            case b"XACK" | b"XDEL":
                await peer.say("acknowledged", b":1\r\n")
            case _:
                await peer.send(b"+OK\r\n")


async def _word(peer: Peer) -> bytes:
    size = int((await peer.line())[1:])
    return (await peer.read(size + 2))[:-2]


_MAP_WITH_LIST_KEY: Final = b"%1\r\n*0\r\n*0\r\n"
_REPLIES: Final = {
    "map_with_list_key": _MAP_WITH_LIST_KEY,
    "null": b"_\r\n",
    "bulk_no_text": b"$2\r\n\xff\xfe\r\n",
    "array_of_nulls": b"*3\r\n_\r\n_\r\n_\r\n",
    "number_huge": b":99999999999999999999999999\r\n",
    "size_huge": b"$9999999999\r\n",
    "size_negative": b"$-7\r\n",
    "array_huge": b"*2147483647\r\n",
    "deep": b"*1\r\n" * 2000 + b":1\r\n",
    "error_no_text": b"-\xff\xfe \xfd\r\n",
    "error_loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "error_readonly": b"-READONLY You can't write against a read only replica.\r\n",
    "error_noperm": b"-NOPERM this user has no permissions\r\n",
    "error_moved": b"-MOVED 1 127.0.0.1:1\r\n",
    "unknown_type": b"?what\r\n",
    "attribute": b"|1\r\n+ttl\r\n:1\r\n",
    "null_push": b">1\r\n_\r\n",
}

FAULTS: Final = table(
    ("hello", "pong", "subscribed", "message", "published", "added", "entries", "claimed", "acknowledged"),
    {
        **{
            (point, name): data
            for point in ("hello", "published", "added", "entries")
            for name, data in _REPLIES.items()
            if (point, name) != ("entries", "null")  # which says rightly that there is nothing
        },
        ("pong", "null"): b"_\r\n",
        ("pong", "number"): b":1\r\n",
        ("subscribed", "error_noperm"): b"-NOPERM this user has no permissions to access a channel\r\n",
        ("subscribed", "endless"): endless(push(bulk(b"message"), bulk(b"in"), bulk(b"1")) * 100, most=200_000),
        ("message", "channel_no_text"): push(bulk(b"message"), bulk(b"\xff\xfe"), bulk(b"1")),
        ("message", "short"): push(bulk(b"message")),
        ("message", "of_a_number"): push(bulk(b"message"), bulk(b"in"), b":7\r\n"),
        ("message", "payload_no_text"): push(bulk(b"message"), bulk(b"in"), bulk(b"\xff\xfe")),
        ("entries", "id_no_text"): b"%1\r\n"
        + bulk(b"jobs")
        + array(array(bulk(b"\xff"), array(bulk(b"data"), bulk(b"1")))),
        ("entries", "odd_fields"): b"%1\r\n" + bulk(b"jobs") + array(array(bulk(b"1-1"), array(bulk(b"data")))),
        ("entries", "fields_no_text"): b"%1\r\n"
        + bulk(b"jobs")
        + array(array(bulk(b"1-1"), array(bulk(b"\xff"), bulk(b"\xfe")))),
        ("claimed", "short"): array(bulk(b"0-0")),
        ("claimed", "same_cursor"): array(bulk(b"5-5"), array(), array()),
    },
)
