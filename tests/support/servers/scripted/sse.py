"""A scripted server of server-sent events: two events for each client, then silence."""

from typing import Final

from tests.support.servers.scripted.http import request, response
from tests.support.servers.scripted.server import Peer, endless, table

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


async def converse(peer: Peer) -> None:
    """Send events to each client that asks for them, until it closes; other requests are answered with `1`."""
    while True:
        first, headers, _ = await request(peer)
        if b"/events" not in first:
            await peer.send(response(b"1"))
            continue
        await peer.say("head", _HEAD)
        last = int(headers.get(b"last-event-id", b"0") or b"0")
        for number, point in ((1, "first"), (2, "second")):
            if number > last:
                await peer.say(point, b"id: %d\ndata: %d\n\n" % (number, number))
        await peer.rest()
        return


_MiB3: Final = b"x" * (3 << 20)

FAULTS: Final = table(
    ("head", "first", "second"),
    {
        ("head", "not_found"): response(b"", status=b"404 Not Found"),
        ("head", "unavailable"): response(b"", b"Retry-After: 5", status=b"503 Service Unavailable"),
        ("head", "forbidden"): response(b"", status=b"403 Forbidden"),
        ("head", "no_content"): response(b"", status=b"204 No Content", length=False),
        ("head", "another_type"): response(b"<html></html>", b"Content-Type: text/html"),
        ("head", "ends_at_once"): response(b""),
        ("first", "data_no_text"): b"id: 1\ndata: \xff\xfe\n\n",
        ("first", "data_huge"): b"id: 1\ndata: " + _MiB3 + b"\n\n",
        ("first", "comment_huge"): b": " + _MiB3 + b"\n\nid: 1\ndata: 1\n\n",
        ("first", "name_huge"): _MiB3 + b": 1\n\nid: 1\ndata: 1\n\n",
        ("first", "many_lines"): b"id: 1\n" + b"data: x\n" * 400_000 + b"\n",
        ("first", "id_with_nul"): b"id: \x00\ndata: 1\n\n",
        ("first", "id_no_text"): b"id: \xff\ndata: 1\n\n",
        ("first", "id_huge"): b"id: " + b"1" * 100_000 + b"\ndata: 1\n\n",
        ("first", "retry_0"): b"retry: 0\nid: 1\ndata: 1\n\n",
        ("first", "retry_huge"): b"retry: 99999999999999999999\nid: 1\ndata: 1\n\n",
        ("first", "no_end"): b"data: 1",
        ("second", "endless"): endless(b"data: 1\n\n" * 100, most=10_000),
        ("second", "endless_line"): endless(b"x" * 65_536, b"data: ", most=16 << 20),
    },
)
