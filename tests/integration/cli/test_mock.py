"""The stand-ins of `nemo-bridge mock` on real sockets: whatever a client does, the next one is answered."""

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from bridge.cli.mock import Options, _listen, make_plan
from bridge.config import load
from bridge.registry import AdapterRegistry
from tests.support.wait import PATIENCE, until

CALL = b'{"jsonrpc": "2.0", "method": "echo", "params": {"a": 1}, "id": 1}'
RESULT = {"jsonrpc": "2.0", "result": {"a": 1, "number": 1}, "id": 1}


@dataclass
class Stage:
    """Stand-ins that listen.

    Attributes:
        port: Where.
        lines: What was shown.
    """

    port: int
    lines: list[tuple[str, str]] = field(default_factory=list)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Make one request on a new connection; return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def works(self) -> bool:
        """Return whether a call is answered."""
        return self.request("POST", "/rpc", CALL)[0] == 200

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """Connect, to send whatever a test likes."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            yield connection


def integration(name: str, kind: str, url: str, config: str = "") -> str:
    """Return an integration block."""
    return f'integration "{name}" {{\n  type = "{kind}"\n  endpoint {{\n    url = "{url}"\n  }}\n  {config}\n}}\n'


@contextmanager
def staged(folder: Path, text: str, *ports: str, **options: list[str]) -> Iterator[Stage]:
    """Let the stand-ins of a configuration with one address listen, at a free port for each of `ports`."""
    file = folder / "mock.hcl"
    file.write_text(text)
    configuration = load([file], adapters=AdapterRegistry(), environ={})
    (place,) = make_plan(configuration, Options(port=[f"{name}=0" for name in ports], **options)).places
    stage = Stage(0)
    listener = _listen(place, lambda name, line: stage.lines.append((name, line)))
    stage.port = listener.port
    listener.start()
    try:
        yield stage
    finally:
        listener.stop()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Stage]:
    """A stand-in for a JSON-RPC service."""
    with staged(tmp_path, integration("shop", "json-rpc", "http://127.0.0.1/rpc"), "shop") as stage:
        yield stage


def test_calls_on_one_connection(shop: Stage) -> None:
    """Each is answered and shown, in order."""
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE)
    for number in (1, 2):
        connection.request("POST", "/rpc", CALL)
        answer = json.loads(connection.getresponse().read())
        assert answer == RESULT | {"result": {"a": 1, "number": number}}
    connection.close()
    assert shop.lines[0] == ("shop", 'echo {"a": 1} → {"a": 1, "number": 1}')
    assert len(shop.lines) == 2


@pytest.mark.parametrize(
    ("sent", "status", "shown"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404", "GET / → 404; there is /rpc"),
        (b"POST /rpc HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", b"413", "over the limit"),
        (b"POST /rpc HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400", "not a number"),
        (b"POST /rpc HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411", "Content-Length"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\n", b"400", "not understood"),
        (b"GET " + b"x" * 70_000, b"414", "not understood"),
        (b"BREW /rpc HTTP/1.1\r\n\r\n", b"501", "not understood"),
    ],
    ids=["path", "large", "length", "chunked", "tls", "long", "method"],
)
def test_what_is_no_call_is_refused_and_shown(sent: bytes, status: bytes, shown: str, shop: Stage) -> None:
    """The client gets a status, the person a line, and the next client an answer."""
    with shop.connected() as connection:
        connection.sendall(sent)
        assert status in connection.recv(1000)
    assert shown in shop.lines[0][1]
    assert shop.works()


def test_clients_that_leave_or_say_nothing(shop: Stage) -> None:
    """One that leaves in the middle of a body is not answered; one that is silent holds up no other."""
    with shop.connected() as silent:
        silent.sendall(b"POST /rpc HTTP/1.1\r\n")
        with shop.connected() as leaving:
            leaving.sendall(b"POST /rpc HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
        assert shop.works()
        assert len(shop.lines) == 1


def test_a_stream_of_events(tmp_path: Path) -> None:
    """The first event comes at once; a HEAD has no body."""
    text = integration("api", "http", "http://127.0.0.1/api", 'config {\n    events = "/events"\n  }')
    with staged(tmp_path, text, "api") as api, api.connected() as connection:
        connection.sendall(b"GET /api/events HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n")
        received = b""
        while b"\n\n" not in received.partition(b"\r\n\r\n")[2]:
            received += connection.recv(1000)
        assert received.endswith(b'event: mock\nid: 1\ndata: {"number":1}\n\n')
        assert api.request("HEAD", "/api/x") == (200, b"")


def test_a_failure_is_503(tmp_path: Path) -> None:
    """So the bridge takes it for a remote that has no time."""
    text = integration("shop", "json-rpc", "http://127.0.0.1/rpc")
    with staged(tmp_path, text, "shop", fail=["shop=1"]) as stage:
        assert [stage.request("POST", "/rpc", CALL)[0] for _ in range(2)] == [503, 200]


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both kinds say which integration wanted it, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for scheme in ("http", "ws"):
            with (
                pytest.raises(typer.Exit),
                staged(tmp_path, integration("shop", "json-rpc", f"{scheme}://127.0.0.1:{port}/rpc")),
            ):
                pass
            said = capsys.readouterr().err
            assert f"shop: cannot listen at 127.0.0.1:{port}: another program listens there" in said
            assert "--port shop=" in said


async def asked(connection: ClientConnection, text: str) -> object:
    """Send a message, and return the next one."""
    await connection.send(text)
    return json.loads(await connection.recv())


LIVE = integration("live", "json-rpc", "ws://127.0.0.1/live")
PRICES = 'subscription "prices" {\n  integration = "live"\n  topic = "price"\n}\n'


async def test_json_rpc_over_websocket(tmp_path: Path) -> None:
    """Calls, garbage, the notifications that the configuration subscribes to; another path is refused."""
    with staged(tmp_path, LIVE + PRICES, "live") as stage:
        url = f"ws://127.0.0.1:{stage.port}"
        async with connect(f"{url}/live") as connection:
            told = json.loads(await connection.recv())
            assert told == {"jsonrpc": "2.0", "method": "price", "params": {"number": 1}}
            assert await asked(connection, CALL.decode()) == RESULT | {"result": {"a": 1, "number": 2}}
            garbage = await asked(connection, "{")
            assert isinstance(garbage, dict)
            assert garbage["error"]["code"] == -32700
        with pytest.raises(InvalidStatus, match="404"):
            await connect(f"{url}/other")
        await until(lambda: ("live", "disconnected") in stage.lines)
    assert ("live", "connected") in stage.lines


async def test_a_websocket_that_fails_and_waits(tmp_path: Path) -> None:
    """A failure closes the connection with "try again later"; an answer that is late holds up no other call."""
    with staged(tmp_path, LIVE, "live", fail=["live=1"], delay=["live=50ms"]) as stage:
        url = f"ws://127.0.0.1:{stage.port}/live"
        async with connect(url) as connection:
            await connection.send(CALL.decode())
            with pytest.raises(ConnectionClosedError, match="1013"):
                await connection.recv()
        async with connect(url) as connection:
            for _ in range(20):
                await connection.send(CALL.decode())
            async with asyncio.timeout(PATIENCE):
                answers = [json.loads(await connection.recv()) for _ in range(20)]
    assert sorted(answer["result"]["number"] for answer in answers) == list(range(2, 22))
