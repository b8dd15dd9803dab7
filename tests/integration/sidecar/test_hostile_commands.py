"""Commands with hostile names, headers, paths and sizes, to every adapter of one sidecar, over the real remotes.

Where a call goes, by which credentials and headers, comes from the configuration alone. What a protocol cannot carry
as it is, or would take for a command of its own, is `invalid`; nothing of it reaches the remote, and the connection
stays. What a protocol encodes (a line end in an HTTP query, any text as a JSON-RPC method) is the remote's to judge.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.bus.program import Program
from tests.support.servers.demo import demo_service
from tests.support.servers.http_service import http_service
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_server
from tests.support.servers.redis_server import redis_server
from tests.support.servers.websocket_service import websocket_service
from tests.support.sidecar.sidecar import short_directory, sidecar

_BIG: Final = "x" * 70_000
#: What breaks lines, ends strings or hides in a terminal.
_CONTROL: Final = ("a\rb", "a\nb", "a\0b", "a\r\nPUB x 1\r\n", "a\x7f", "a\x1bb")

Row = tuple[str, str, dict[str, Any]]


def _publish(integration: str, *topics: str, **more: Any) -> list[Row]:
    return [(integration, "publish", {"topic": topic, "message": "m", **more}) for topic in topics]


def _headers(integration: str, *headers: dict[str, str]) -> list[Row]:
    return [row for one in headers for row in _publish(integration, "fine", headers=one)]


def _subscribe(integration: str, *topics: str) -> list[Row]:
    return [(integration, "subscribe", {"topic": topic}) for topic in topics]


def _queues(integration: str, *queues: str) -> list[Row]:
    enqueue: list[Row] = [(integration, "enqueue", {"queue": queue, "message": "m"}) for queue in queues]
    return enqueue + [(integration, "dequeue", {"queue": queue}) for queue in queues]


def _request(integration: str, *methods: str, **params: Any) -> list[Row]:
    more = {"params": params} if params else {}
    return [(integration, "request", {"method": method, **more}) for method in methods]


def _elsewhere() -> list[Row]:
    """Arguments by which a caller might try to choose where a call goes, or as whom."""
    names = ("host", "address", "port", "url", "endpoint", "auth", "token", "tls", "config", "server")
    request = {"method": "echo", "params": [1]}
    publish = {"topic": "fine", "message": 1}
    rows: list[Row] = [("rpc", "request", {**request, name: "EVIL"}) for name in (*names, "headers")]
    rows += [(one, "publish", {**publish, name: "EVIL"}) for name in names for one in ("mqtt", "redis", "nats", "ws")]
    return rows + [("http", "request", {"method": "GET /items", "params": {name: "EVIL"}}) for name in names]


_PATHS: Final = ("../x", "/etc/passwd", "a/../../x", "./../x", "..", "a/" * 100, *_CONTROL)

INVALID: Final[list[Row]] = [
    *_elsewhere(),
    # MQTT: wildcards are for subscribing, and stand for whole levels.
    *_publish("mqtt", *_CONTROL, "a/+", "a/#", "+", _BIG),
    *_publish("mqtt", "fine", qos=7),
    *_publish("mqtt", "$CONTROL/dynamic-security/v1", "$SYS/x", "$share/g/x"),
    *_headers("mqtt", {"a\0": "b"}, {"a": "b\0"}, {"a": "b\r\n"}, {"a": _BIG}),
    *_subscribe("mqtt", *_CONTROL, "a#", "a/#/b", "a+", _BIG, "$share/g/a\0"),
    *_request("mqtt", *_CONTROL, "a/+", "#", _BIG),
    # NATS: the same, and what the server and JetStream are governed by.
    *_publish("nats", *_CONTROL, "a b", "a.*", "a.>", ">", "a..b", ".a", "a.", _BIG),
    *_publish("nats", "$JS.API.STREAM.DELETE.x", "$SYS.REQ.SERVER.PING", "_INBOX.x"),
    *_headers("nats", {"a\r\nb": "x"}, {"a": "b\r\nc: d"}, {"a": "b\0"}, {"": "x"}, {"a b": "x"}, {"a:": "x"}),
    *_headers("nats", {"Nats-Rollup": "all"}, {"nats-expected-stream": "x"}, {"Status": "503"}),
    *_subscribe("nats", *_CONTROL, "a b", "a.>.b", "a*", _BIG, "a..b", "$SYS.>", "$JS.>", "_INBOX.>"),
    *_request("nats", *_CONTROL, "a b", "a.*", ">", _BIG, "$JS.API.INFO"),
    *_queues("nats", *_CONTROL, "a b", "*", _BIG),
    ("nats", "ack", {"message_id": "$JS.ACK.x\r\n"}),
    # Redis takes any bytes for a name; who reads its logs, or this bridge's, does not.
    *_publish("redis", *_CONTROL, "a*", "a?", _BIG),
    *_subscribe("redis", *_CONTROL, _BIG),
    *_queues("redis", *_CONTROL, _BIG),
    ("redis", "ack", {"message_id": "1-1/a\r\nb"}),
    ("redis", "ack", {"message_id": "../x"}),
    # HTTP: one server, one base path, and the headers that the configuration allows.
    *_request("http", "GET http://EVIL/", "GET @EVIL/", "GET /a\r\nHost: EVIL", "GET /a b", "GET /../../x", "GET /a#b"),
    *_request(
        "http", "GET /\\EVIL", "GET /%2e%2e/x", "get /", "G\r\nX /", "CONNECT /x", "TRACE /x", "GET /a?b\r\nc: d"
    ),
    *(_request("http", "GET /items/{id}", path={"id": one})[0] for one in ("..", "../x", ".", "..\\x", "")),
    *(_request("http", "GET /items", headers=one)[0] for one in ({"host": "EVIL"}, {"authorization": "x"})),
    *(_request("http", "GET /items", headers=one)[0] for one in ({"x-allowed": "a\r\nb: c"}, {"x-allowed": "a\0"})),
    *_request("http", "GET /items", headers={"content-length": "5"}),
    # WebSocket has one topic.
    *_publish("ws", "a", "a\r\nb", "ws://EVIL/"),
    *_subscribe("ws", "a", "a\0", "ws://EVIL/"),
    # Files never leave their root.
    *_publish("files", *_PATHS),
    *(row for path in _PATHS for row in _request("files", "read", path=path)),
    *(row for path in _PATHS for row in _request("files", "list", glob=path)),
    *_subscribe("files", *_PATHS, *(f"tail:{path}" for path in _PATHS)),
    *_subscribe("facts", "../x", "a\r\n"),
    *_subscribe("ticks", "x\r\ny", "../x"),
]

#: What reaches the remote, as data; it says no, and the way stays the one that is configured.
REFUSED_THERE: Final[list[Row]] = [
    *_request("http", "GET //EVIL/x", "POST /a\0", f"GET /{_BIG}"),
    *(_request("http", "GET /items/{id}", path={"id": one})[0] for one in ("a/b", "a\\b", "a\r\nHost: EVIL")),
    *_request("http", "GET /items", query={"a\r\nb": "c\r\nd"}),
    *_request("rpc", "echo\r\n", "../x", "http://EVIL/", _BIG),
    *_request("facts", "get", key="__class__"),
]


@dataclass(frozen=True)
class Target:
    """A sidecar with all its remotes, and a listener that none of them is."""

    program: Program
    directory: Path
    evil: socket.socket

    def armed(self, value: Any) -> Any:
        """A payload with the listener's address in it."""
        host, port = self.evil.getsockname()
        if isinstance(value, str):
            return value.replace("EVIL", f"{host}:{port}")
        if isinstance(value, dict):
            return {self.armed(key): self.armed(item) for key, item in value.items()}
        return value

    async def kind(self, row: Row) -> str:
        """How a command ended: the error's kind, or `ok`."""
        integration, operation, payload = row
        answer = await self.program.ask(f"integration.{integration}.{operation}", self.armed(payload))
        return "ok" if answer["ok"] else str(answer["error"]["kind"])


def _block(name: str, kind: str, where: str, config: str = "") -> str:
    endpoint = f'endpoint {{\n    url = "{where}"\n  }}' if where else ""
    return f'integration "{name}" {{\n  type = "{kind}"\n  {endpoint}\n  config {{\n    {config}\n  }}\n}}\n'


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """All of it."""
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        (directory / "root").mkdir()
        evil = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        evil.setblocking(False)
        redis, nats = stack.enter_context(redis_server()), stack.enter_context(nats_server())
        text = "".join(
            (
                _block("rpc", "json-rpc", stack.enter_context(demo_service()).url),
                _block(
                    "http", "http", f"{stack.enter_context(http_service()).url}/base", 'allow_headers = ["x-allowed"]'
                ),
                _block("mqtt", "mqtt", stack.enter_context(mosquitto()).url),
                _block("redis", "redis", f"redis://127.0.0.1:{redis.port}"),
                _block("nats", "nats", f"nats://127.0.0.1:{nats.port}"),
                _block("ws", "websocket", stack.enter_context(websocket_service()).url),
                _block("files", "file", "", f'root = "{directory}/root"'),
                _block("facts", "static", "", "values = { a = 1 }"),
                _block("ticks", "timer", "", 'every = "1h"'),
            )
        )
        running = stack.enter_context(sidecar(text))
        yield Target(stack.enter_context(running.program()), directory, evil)


async def test_hostile_commands(target: Target) -> None:
    """Each is refused where it should be; nothing is called, written or lost that was not configured."""
    program = target.program
    remotes = ("rpc", "http", "mqtt", "redis", "nats", "ws")
    for name in remotes:
        await program.wait(f"health.{name}", lambda event: event["payload"]["status"] == "connected")
    since = program.mark()
    wrong = [(row, kind) for row in INVALID if (kind := await target.kind(row)) != "invalid"]
    wrong += [(row, kind) for row in REFUSED_THERE if (kind := await target.kind(row)) != "rejected"]
    assert not wrong, "\n".join(f"{kind}: {ascii(row)[:150]}" for row, kind in wrong)
    with pytest.raises(BlockingIOError):
        target.evil.accept()
    assert list((target.directory / "root").iterdir()) == []
    states = {event["payload"]["status"] for event in program.seen(prefix="health.", since=since)}
    assert states.isdisjoint({"disconnected", "failed"})
    good: list[Row] = [
        *_request("rpc", "echo"),
        *[row for name in ("mqtt", "redis", "nats") for row in _publish(name, "fine")],
        *_publish("ws", "*"),
        *_publish("files", "fine.txt"),
    ]
    assert [await target.kind(row) for row in good] == ["ok"] * len(good)
