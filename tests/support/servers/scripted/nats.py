"""A scripted NATS server: it takes every message, answers every request, and sends one message to each subscription."""

import json
from collections.abc import Awaitable
from typing import Final

from tests.support.servers.scripted.server import Act, Peer, endless, rewritten, table

_INFO: Final = {
    "server_id": "scripted", "version": "2.10.0", "proto": 1, "headers": True, "max_payload": 1048576, "client_id": 1,
}  # fmt: skip


def info(**changes: object) -> bytes:
    """Return the line that a server begins with."""
    return b"INFO " + json.dumps(_INFO | changes).encode() + b"\r\n"


def message(subject: bytes, number: bytes, payload: bytes = b"1") -> bytes:
    """Return a message for the subscription with this number."""
    return b"MSG %s %s %d\r\n%s\r\n" % (subject, number, len(payload), payload)


async def converse(peer: Peer) -> None:
    """Answer a client until it closes."""
    await peer.say("info", info())
    subscriptions: dict[bytes, bytes] = {}
    fresh: list[bytes] = []
    while True:
        words = (await peer.line()).split()
        match words[:1]:
            case [b"PING"]:
                await peer.say("pong", b"PONG\r\n")
                while fresh:
                    await peer.say("message", message(b"in.x", fresh.pop()))
            case [b"SUB"]:
                subscriptions[words[1]] = words[-1]
                if words[1].startswith(b"in."):
                    fresh.append(words[-1])
            case [b"PUB" | b"HPUB"]:
                await peer.read(int(words[-1]) + 2)
                reply = words[2] if len(words) > (3 if words[0] == b"PUB" else 4) else None
                number = None if reply is None else _of(subscriptions, reply)
                if reply is not None and number is not None:
                    await peer.say("reply", message(reply, number, b"null"))


def _of(subscriptions: dict[bytes, bytes], subject: bytes) -> bytes | None:
    for pattern, number in subscriptions.items():
        if pattern == subject or (pattern.endswith(b"*") and subject.startswith(pattern[:-1])):
            return number
    return None


def _as(line: bytes) -> Act:
    """Return a fault that sends this, with the subscription's number for `@` and the subject for `~`."""

    def write(data: bytes) -> bytes:
        _, subject, number, *_ = data.split()
        return line.replace(b"@", number).replace(b"~", subject)

    return rewritten(write)


def _flood(peer: Peer, data: bytes) -> Awaitable[None]:
    return endless(data * 1000, most=50_000)(peer, data)


FAULTS: Final = table(
    ("info", "pong", "message", "reply"),
    {
        ("info", "no_json"): b"INFO {\r\n",
        ("info", "no_object"): b"INFO [1]\r\n",
        ("info", "wrong_types"): info(max_payload="much", headers="yes", connect_urls=7),
        ("info", "max_payload_0"): info(max_payload=0),
        ("info", "urls_no_text"): b'INFO {"max_payload": 1048576, "connect_urls": ["\xff\xfe"]}\r\n',
        ("info", "max_payload_negative"): info(max_payload=-1),
        ("info", "urls_of_nobody"): info(connect_urls=["", "x", "\x1b[31m:1", "127.0.0.1:1", "a b:1"] * 500),
        ("info", "tls_available"): info(tls_available=True),
        ("info", "tls_required"): info(tls_required=True),
        ("info", "no_headers"): info(headers=False),
        ("info", "auth_required"): info(auth_required=True, nonce=7),
        ("info", "lame_duck"): info(ldm=True),
        ("info", "another_protocol"): b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        ("info", "endless_line"): endless(b"x" * 65_536, b"INFO {", most=16 << 20),
        ("pong", "error_no_text"): b"-ERR '\xff\xfe'\r\nPONG\r\n",
        ("pong", "error_auth"): b"-ERR 'Authorization Violation'\r\n",
        ("pong", "error_accounts"): b"-ERR 'maximum account active connections exceeded'\r\n",
        ("pong", "error_unknown"): b"-ERR 'nobody has ever heard of this'\r\nPONG\r\n",
        ("pong", "error_permissions"): b'-ERR \'Permissions Violation for Publish to "a \\xff \\" b"\'\r\nPONG\r\n',
        ("pong", "error_subscriptions"): b"-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n",
        ("pong", "error_revoked"): b'-ERR \'Permissions Violation for Subscription to "in.*" (sid "2")\'\r\nPONG\r\n',
        ("pong", "error_nobody"): b'-ERR \'Permissions Violation for Subscription to "x" (sid "77")\'\r\nPONG\r\n',
        ("message", "status_of_a_server"): _as(b"HMSG in.x @ 32 33\r\nNATS/1.0 100 FlowControl\r\nA:\r\n\r\n1\r\n"),
        ("message", "subject_no_text"): _as(b"MSG in.\xff @ 1\r\n1\r\n"),
        ("message", "reply_no_text"): _as(b"MSG in.x @ _INBOX.\xff 1\r\n1\r\n"),
        ("message", "status_no_text"): _as(b"HMSG in.x @ 17 18\r\nNATS/1.0 \xff\xff \xfe\r\n\r\n1\r\n"),
        ("message", "header_no_text"): _as(b"HMSG in.x @ 19 20\r\nNATS/1.0\r\n\xff: \xfe\xfe\r\n\r\n1\r\n"),
        ("message", "header_short"): _as(b"HMSG in.x @ 5 6\r\nNATS/1\r\n"),
        ("message", "header_longer_than_all"): _as(b"HMSG in.x @ 50 6\r\nNATS/1\r\n"),
        ("message", "size_no_number"): _as(b"MSG in.x @ many\r\n1\r\n"),
        ("message", "size_negative"): _as(b"MSG in.x @ -1\r\n1\r\n"),
        ("message", "size_huge"): _as(b"MSG in.x @ 99999999999999999999\r\n1\r\n"),
        ("message", "of_nobody"): _as(b"MSG in.x 777 1\r\n1\r\n"),
        ("message", "number_no_number"): _as(b"MSG in.x \xff 1\r\n1\r\n"),
        ("message", "payload_no_text"): _as(b"MSG in.x @ 2\r\n\xff\xfe\r\n"),
        ("message", "endless"): _flood,
        ("reply", "no_responders"): _as(b"HMSG ~ @ 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"),
    },
)
