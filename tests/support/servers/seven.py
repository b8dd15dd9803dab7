"""Start a server for each of the seven protocols that have one, with the same interface for all."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.server import serve

from tests.support.servers.demo import demo_service
from tests.support.servers.jsonrpc_websocket_service import jsonrpc_websocket_service
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_server
from tests.support.servers.redis_server import redis_server
from tests.support.servers.websocket_service import websocket_service


@dataclass(frozen=True)
class Served:
    """One integration and its server.

    Attributes:
        name: The label.
        type: Of the integration.
        url: Where the server is, with `{port}` in place of its port.
        port: Its port.
        auth: What `auth` knows to be wrong; empty where the server asks for nothing.
        kill: Kill -9.
        freeze: SIGSTOP.
        thaw: SIGCONT.
    """

    name: str
    type: str
    url: str
    port: int
    auth: str = ""
    kill: Callable[[], None] = lambda: None
    freeze: Callable[[], None] = lambda: None
    thaw: Callable[[], None] = lambda: None

    def integration(self, more: str = "", port: int | None = None) -> str:
        """Return its block; `port` is that of a proxy before it."""
        url = self.url.format(port=port or self.port)
        auth = f"  auth {{\n{self.auth}\n  }}\n" if self.auth else ""
        head = f'integration "{self.name}" {{\n  type = "{self.type}"\n  endpoint {{\n    url = "{url}"\n  }}\n'
        return f"{head}{auth}{more}\n}}\n"


def _of(name: str, kind: str, url: str, server: Any) -> Served:
    return Served(name, kind, url, server.port, kill=server.kill, freeze=server.freeze, thaw=server.thaw)


@contextmanager
def seven() -> Iterator[list[Served]]:
    """Start all servers, without credentials."""
    with ExitStack() as stack:
        enter = stack.enter_context
        yield [
            _of("rpc", "json-rpc", "http://127.0.0.1:{port}/rpc", enter(demo_service())),
            _of("rpc_ws", "json-rpc", "ws://127.0.0.1:{port}/rpc", enter(jsonrpc_websocket_service())),
            _of("web", "http", "http://127.0.0.1:{port}/", enter(demo_service())),
            _of("socket", "websocket", "ws://127.0.0.1:{port}/", enter(websocket_service())),
            _of("mqtt", "mqtt", "mqtt://127.0.0.1:{port}", enter(mosquitto())),
            _of("redis", "redis", "redis://127.0.0.1:{port}", enter(redis_server())),
            _of("nats", "nats", "nats://127.0.0.1:{port}", enter(nats_server())),
        ]


_WRONG_TOKEN = '    type = "bearer"\n    token = "wr0ng-s3cret"'
_WRONG_PASSWORD = '    type = "basic"\n    username = "user"\n    password = "wr0ng-s3cret"'


@asynccontextmanager
async def seven_that_refuse(folder: Path) -> AsyncIterator[list[Served]]:
    """Start all servers, with integrations whose credentials are wrong."""
    users = folder / "users"
    users.touch(mode=0o600)
    program = shutil.which("mosquitto_passwd")
    assert program is not None
    subprocess.run([program, "-b", users, "user", "right"], check=True)  # noqa: ASYNC221 - a moment, before all begins

    def refuse(connection: Any, request: Any) -> Any:
        right = request.headers.get("Authorization") == "Bearer right"
        return None if right else connection.respond(HTTPStatus.UNAUTHORIZED, "no")

    async def nothing(connection: Any) -> None:
        await connection.wait_closed()

    with ExitStack() as stack:
        enter = stack.enter_context
        broker = enter(mosquitto(f"password_file {users}", anonymous=False))
        redis = enter(redis_server("--requirepass", "right"))
        nats = enter(nats_server("authorization { user: user, password: right }"))
        rpc, web = enter(demo_service("--token", "right")), enter(demo_service("--token", "right"))
        async with serve(nothing, "127.0.0.1", 0, process_request=refuse) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            yield [
                Served("rpc", "json-rpc", "http://127.0.0.1:{port}/rpc", rpc.port, _WRONG_TOKEN),
                Served("rpc_ws", "json-rpc", "ws://127.0.0.1:{port}/rpc", port, _WRONG_TOKEN),
                Served("web", "http", "http://127.0.0.1:{port}/", web.port, _WRONG_TOKEN),
                Served("socket", "websocket", "ws://127.0.0.1:{port}/", port, _WRONG_TOKEN),
                Served("mqtt", "mqtt", "mqtt://127.0.0.1:{port}", broker.port, _WRONG_PASSWORD),
                Served("redis", "redis", "redis://127.0.0.1:{port}", redis.port, _WRONG_PASSWORD),
                Served("nats", "nats", "nats://127.0.0.1:{port}", nats.port, _WRONG_PASSWORD),
            ]
