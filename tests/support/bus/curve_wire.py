"""A client of a closed bus that speaks ZMTP 3.0 and CurveZMQ (ZeroMQ RFCs 23 and 26) by hand.

libzmq sends a message when all of it is there; this one sends frame by frame.
"""

import contextlib
import socket
import struct
from typing import Self

from nacl.public import Box, PrivateKey, PublicKey
from zmq.utils import z85

from tests.support.bus.bus import CurveKeys

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)


class HandmadeSender:
    """A PUB socket that has finished its handshake; `with` closes it."""

    def __init__(self, endpoint: str, keys: CurveKeys) -> None:
        """Connect to `tcp://host:port` and shake hands."""
        _, secret, server = (z85.decode(key) for key in keys)
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        self._connection = socket.create_connection((host, int(port)), timeout=10)
        self._connection.sendall(_GREETING)
        self._take(64)
        own, short = PrivateKey(secret), PrivateKey.generate()
        public = short.public_key.encode()
        hello = Box(short, PublicKey(server)).encrypt(bytes(64), b"CurveZMQHELLO---" + bytes(8)).ciphertext
        self._command(b"\x05HELLO\x01\x00" + bytes(72) + public + bytes(8) + hello)
        welcome = self._reply()[8:]
        opened = Box(short, PublicKey(server)).decrypt(welcome[16:], b"WELCOME-" + welcome[:16])
        theirs, cookie = PublicKey(opened[:32]), opened[32:]
        self._box = Box(short, theirs)
        vouch = Box(own, theirs).encrypt(public + server, b"VOUCH---" + bytes(16)).ciphertext
        metadata = b"\x0bSocket-Type" + struct.pack(">I", 3) + b"PUB"
        initiate = own.public_key.encode() + bytes(16) + vouch + metadata
        self._command(
            b"\x08INITIATE" + cookie + bytes(8) + self._box.encrypt(initiate, b"CurveZMQINITIATE" + bytes(8)).ciphertext
        )
        assert self._reply().startswith(b"\x05READY")
        self._sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Closed with something unread, it would be reset, and what is under way be lost.
        with self._connection, contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            while self._connection.recv(1 << 16):
                pass

    def frame(self, content: bytes, *, more: bool) -> None:
        """Send one frame of a message. Raises OSError where the connection has ended."""
        self._sent += 1
        nonce = struct.pack(">Q", self._sent)
        sealed = self._box.encrypt(bytes([more]) + content, b"CurveZMQMESSAGEC" + nonce).ciphertext
        body = b"\x07MESSAGE" + nonce + sealed
        self._connection.sendall(b"\x02" + struct.pack(">Q", len(body)) + body)

    def _command(self, body: bytes) -> None:
        head = b"\x04" + bytes([len(body)]) if len(body) < 256 else b"\x06" + struct.pack(">Q", len(body))
        self._connection.sendall(head + body)

    def _reply(self) -> bytes:
        long = self._take(1)[0] & 2
        return self._take(struct.unpack(">Q", self._take(8))[0] if long else self._take(1)[0])

    def _take(self, size: int) -> bytes:
        taken = b""
        while len(taken) < size:
            more = self._connection.recv(size - len(taken))
            assert more, "the bus has closed the connection"
            taken += more
        return taken
