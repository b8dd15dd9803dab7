"""The load's own connections to the servers: prepared bytes out, and a look at what comes back.

They understand just enough of each protocol to count, so that they cost next to nothing beside what is measured.
"""

import contextlib
import select
import socket
import struct
import time
from typing import Final, Self

import msgspec
import redis

from bench_lib.processes import BenchError
from bench_lib.stream import event

_PATIENCE: Final = 10.0
_CHUNK: Final = 1 << 18
#: Messages of one write.
BATCH: Final = 500

#: One message as it goes over the wire of a text protocol: the payload of the stream's events.
BODY: Final = msgspec.json.encode(event(1)["payload"])


class Wire:
    """A TCP connection that counts how often some bytes have come; `with` closes it."""

    def __init__(self, port: int, needle: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._needle = needle
        self._rest = b""
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def hello(self, out: bytes, answer: bytes) -> None:
        """Say something and wait until the answer is there.

        Raises:
            BenchError: Another answer, or none.
        """
        self._socket.sendall(out)
        came = b""
        while answer not in came:
            try:
                more = self._socket.recv(_CHUNK)
            except TimeoutError:
                more = b""
            if not more:
                raise BenchError(f"a server answered {came!r} and not {answer!r}")
            came += more

    def write(self, data: bytes) -> None:
        """Write all of it."""
        self._socket.sendall(data)

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def look(self, wait: float) -> int:
        """Take in what has come, or comes within `wait` seconds; the count so far."""
        while select.select([self._socket], [], [], wait)[0]:
            more = self._socket.recv(_CHUNK)
            if not more:
                raise BenchError("a server closed the load's connection")
            text = self._rest + more
            self.count += text.count(self._needle)
            # Too short to hold what was counted.
            self._rest = text[len(text) - len(self._needle) + 1 :] if len(self._needle) > 1 else b""
            wait = 0.0
        return self.count

    def number(self, question: bytes) -> int:
        """Ask Redis what it answers with an integer (RESP: `:<digits>`)."""
        self._socket.sendall(question)
        answer = b""
        while not answer.endswith(b"\r\n"):
            more = self._socket.recv(_CHUNK)
            if not more:
                raise BenchError("a server closed the load's connection")
            answer += more
        if answer[:1] != b":":
            raise BenchError(f"redis-server answered {answer!r}")
        return int(answer[1:])

    def until(self, count: int) -> None:
        """Wait until so many have come."""
        end = time.monotonic() + _PATIENCE
        while self.look(0.05) < count:
            if time.monotonic() > end:
                raise BenchError("a server does not answer the load")


def _text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def _packet(kind: int, body: bytes) -> bytes:
    """MQTT 3.1.1, 2.2: first byte, length in groups of seven bits, body."""
    length, size = b"", len(body)
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | 128 * bool(size)])
        if not size:
            return bytes([kind]) + length + body


def _hello(wire: Wire, protocol: str, name: str) -> None:
    if protocol == "nats":
        wire.hello(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nPING\r\n', b"PONG\r\n")
    elif protocol == "mqtt":
        connect = _text(b"MQTT") + bytes([4, 2, 0, 0]) + _text(name.encode())
        wire.hello(_packet(0x10, connect), b"\x20\x02\x00\x00")


class Arrivals:
    """How many messages a server handed out under a topic."""

    def __init__(self, protocol: str, port: int, topic: str) -> None:
        """Subscribe; the subscription stands when this returns."""
        needle = f"MSG {topic} ".encode() if protocol == "nats" else topic.encode()
        self._wire = Wire(port, needle)
        _hello(self._wire, protocol, f"arrivals-{topic}")
        if protocol == "nats":
            self._wire.hello(f"SUB {topic} 1\r\nPING\r\n".encode(), b"PONG\r\n")
        else:
            self._wire.hello(_packet(0x82, b"\x00\x01" + _text(topic.encode()) + b"\x00"), b"\x90\x03\x00\x01\x00")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.__exit__()

    def fileno(self) -> int | None:
        """See `flow.Sink`."""
        return self._wire.fileno()

    def seen(self, wait: float) -> int:
        """So far; waits at most so many seconds for more."""
        return self._wire.look(wait)


class Entries:
    """How many entries a Redis stream has."""

    def __init__(self, port: int, stream: str) -> None:
        self._wire = Wire(port, b":")
        self._ask = f"XLEN {stream}\r\n".encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.__exit__()

    def fileno(self) -> int | None:
        """See `flow.Sink`."""
        return None

    def seen(self, wait: float) -> int:
        """So far. To ask costs the server something, so it is asked a few hundred times a second at most."""
        time.sleep(wait)
        return self._wire.number(self._ask)


class Sender:
    """Writes messages to a server, in batches, each acknowledged by the server where the protocol has it.

    A sender that does not `wait` reads what was acknowledged when it sends again.
    """

    def __init__(self, protocol: str, port: int, topic: str, *, wait: bool = True) -> None:
        needles = {"nats": b"PONG\r\n", "redis": b"$", "mqtt": b"\x40\x02"}
        self._waits = wait and protocol != "nats"
        self._wire = Wire(port, needles[protocol])
        _hello(self._wire, protocol, f"sender-{topic}")
        self._messages = [_message(protocol, topic.encode(), number) for number in range(1, BATCH + 1)]
        self._batch = b"".join(self._messages)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.__exit__()

    def send(self, count: int) -> None:
        """Send `BATCH` messages at most."""
        expected = self._wire.count + count
        self._wire.write(self._batch if count == BATCH else b"".join(self._messages[:count]))
        if self._waits:
            self._wire.until(expected)
        else:
            self._wire.look(0)


def _message(protocol: str, topic: bytes, number: int) -> bytes:
    if protocol == "nats":
        return b"PUB %b %d\r\n%b\r\n" % (topic, len(BODY), BODY)
    if protocol == "redis":
        parts = (b"XADD", topic, b"*", b"data", BODY)
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return _packet(0x32, _text(topic) + struct.pack(">H", number) + BODY)


def unacknowledged(port: int, stream: str, group: str) -> int:
    """Entries of a Redis stream that a group has taken and not acknowledged, once that is none, or after some seconds.

    A client may gather what it acknowledges for a second.
    """
    until = time.monotonic() + 3
    with contextlib.closing(redis.Redis(port=port)) as client:
        while True:
            left = int(client.xpending(stream, group)["pending"])
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.02)
