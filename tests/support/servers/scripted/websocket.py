"""A scripted WebSocket server: it answers JSON-RPC calls and pings, and sends one message at the start."""

import base64
import contextlib
import hashlib
import json
from typing import Final

from tests.support.servers.scripted.http import request, response
from tests.support.servers.scripted.server import NO_TEXT, Peer, endless, table

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0) -> bytes:
    """Return a frame of a server (RFC 6455 section 5.2)."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    return bytes([first, 126]) + len(payload).to_bytes(2, "big") + payload


def close(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(8, code.to_bytes(2, "big") + reason)


async def converse(peer: Peer) -> None:
    """Accept a client, send a message, and answer until it closes."""
    _, headers, _ = await request(peer)
    accept = base64.b64encode(hashlib.sha1(headers.get(b"sec-websocket-key", b"") + _GUID).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    await peer.say("handshake", b"\r\n".join([*lines, b"Sec-WebSocket-Accept: " + accept, b"", b""]))
    await peer.say("message", frame(1, b'{"jsonrpc": "2.0", "method": "said", "params": 1}'))
    while True:
        first, second = await peer.read(2)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await peer.read(2 if size == 126 else 8), "big")
        mask = await peer.read(4)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(await peer.read(size)))
        match first & 0x0F:
            case 1 | 2:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    call = json.loads(payload)
                    answer = {"jsonrpc": "2.0", "id": call["id"], "result": call.get("params")}
                    await peer.say("answer", frame(1, json.dumps(answer).encode()))
            case 9:
                await peer.say("pong", frame(10, payload))
            case 8:
                await peer.send(frame(8, payload))
                return


_RESULT: Final = b'{"jsonrpc": "2.0", "id": "never", "result": 1}'

FAULTS: Final = table(
    ("handshake", "message", "answer", "pong"),
    {
        ("handshake", "not_found"): response(b"", status=b"404 Not Found"),
        ("handshake", "unavailable"): response(b"", b"Retry-After: 5", status=b"503 Service Unavailable"),
        ("handshake", "unauthorized"): response(b"", status=b"401 Unauthorized"),
        ("handshake", "no_upgrade"): response(b"1"),
        ("handshake", "wrong_accept"): b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: \xff\xfe\r\n\r\n",
        ("handshake", "status_line_no_text"): b"HTTP/1.1 101 \xff\xfe\r\n\r\n",
        ("handshake", "headers_endless"): endless(b"X-A: " + b"a" * 60_000 + b"\r\n", b"HTTP/1.1 101 Go\r\n"),
        ("message", "no_utf8"): frame(1, b"\xff\xfe"),
        ("message", "binary_no_text"): frame(2, NO_TEXT),
        ("message", "masked"): b"\x81\x81\x01\x02\x03\x04\x30",
        ("message", "reserved_bits"): frame(1, b"1", reserved=7),
        ("message", "opcode_unknown"): frame(11, b"1"),
        ("message", "size_huge"): b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
        ("message", "continuation_of_nothing"): frame(0, b"1"),
        ("message", "fragments_endless"): endless(
            b"\x00\x7e\xff\xff" + b"x" * 65_535, frame(1, b"x", fin=False), most=16 << 20
        ),
        ("message", "control_too_long"): frame(9, b"x" * 126),
        ("message", "pings_endless"): endless(frame(9, b"x" * 100) * 1000, most=4 << 20),
        ("message", "close_4001"): close(4001),
        ("message", "close_try_again"): close(1013, b"try again later"),
        ("message", "close_reason_no_text"): close(1000, b"\xff\xfe"),
        ("message", "close_code_1"): close(1),
        ("message", "close_code_half"): frame(8, b"\x03"),
        ("message", "deep"): frame(1, b"[" * 60_000),
        ("answer", "another_id"): frame(1, _RESULT),
        ("answer", "no_object"): frame(1, b"[[[]]]"),
        ("answer", "binary"): frame(2, _RESULT),
        ("pong", "of_nobody"): frame(10, b"nobody"),
    },
)
