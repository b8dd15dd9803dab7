"""A NATS server that says what a test tells it, byte by byte, for what the real server cannot be made to send."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

INFO = b'INFO {"server_id":"x","version":"2.9.10","headers":true}\r\n'


class ScriptedNats:
    """Greets as it is told, answers each PING, and answers requests whose subject it knows; then a test sends more.

    Attributes:
        got: Everything that clients have sent.
        answers: The beginning of a subject → the content of the answer to a request on it.
        sids: The subject of each SUB of the last connection, and its number.
        connections: How many clients have connected.
        on_line: Called with the words of each line that a client sends; what it returns is sent before an answer.
    """

    def __init__(self, greeting: bytes, *, pongs: bool, hang_up: bool) -> None:
        """Listen nowhere yet.

        Args:
            greeting: Sent to each client at once.
            pongs: Whether PING is answered.
            hang_up: Whether it ends each connection after the greeting.
        """
        self.greeting = greeting
        self.pongs = pongs
        self.hang_up = hang_up
        self.got = b""
        self.answers: dict[bytes, bytes] = {}
        self.sids: dict[bytes, bytes] = {}
        self.connections = 0
        self.on_line: Callable[[list[bytes]], bytes] = lambda _: b""
        self.port = 0
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.connections += 1
        self.writer = writer
        writer.write(self.greeting)
        if self.hang_up:
            writer.close()
            return
        try:
            while line := await reader.readline():
                self.got += line
                self._answer(line.split(), writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _answer(self, words: list[bytes], writer: asyncio.StreamWriter) -> None:
        writer.write(self.on_line(words))
        if words[:1] == [b"PING"] and self.pongs:
            writer.write(b"PONG\r\n")
        elif words[:1] == [b"SUB"]:
            self.sids[words[1]] = words[-1]
        elif words[:1] == [b"PUB"] and len(words) == 4:
            for subject, answer in self.answers.items():
                if words[1].startswith(subject):
                    writer.write(b"MSG %b 1 %d\r\n%b\r\n" % (words[2], len(answer), answer))

    def send(self, data: bytes) -> None:
        """Send bytes to the client that has connected last."""
        assert self.writer is not None
        self.writer.write(data)


@asynccontextmanager
async def scripted_nats(
    greeting: bytes = INFO, *, pongs: bool = True, hang_up: bool = False
) -> AsyncIterator[ScriptedNats]:
    """Run one on a free port of loopback; see `ScriptedNats`."""
    scripted = ScriptedNats(greeting, pongs=pongs, hang_up=hang_up)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    async with server:
        scripted.port = server.sockets[0].getsockname()[1]
        yield scripted
