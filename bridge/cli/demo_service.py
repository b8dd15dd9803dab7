"""Run a JSON-RPC 2.0 service over HTTP, for the demo, the benchmark and the tests.

Run it with ``python -m bridge.cli.demo_service --port 0``; it prints its URL, then serves until SIGTERM. It uses
`asyncio.Protocol` and httptools, so that it is fast and measurements show the client.

Methods: `echo` (params back), `add` (numbers by position or `a`, `b`), `sleep` (`ms`), `fail` (`code`, `message`,
`data`), `http` (`status`, `retry_after`: that HTTP status without a body), `count` (calls so far, of one `method` or
of all), `orders.create` (`id`, `total`), `orders.get` (`id`).
"""

import argparse
import asyncio
import signal
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import httptools
import msgspec
import uvloop

_PARSE_ERROR: Final = (-32700, "Parse error")
_INVALID_REQUEST: Final = (-32600, "Invalid Request")
_METHOD_NOT_FOUND: Final = (-32601, "Method not found")
_INVALID_PARAMS: Final = (-32602, "Invalid params")


class _FailError(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})


class _Request(msgspec.Struct):
    jsonrpc: Literal["2.0"]
    method: str
    params: dict[str, Any] | list[Any] | None = None
    id: Any = msgspec.UNSET


@dataclass
class Service:
    """Run the methods and keep their state.

    Attributes:
        token: The bearer token that each request must have; None for no check.
    """

    token: str | None = None
    calls: Counter[str] = field(default_factory=Counter)
    orders: dict[str, Any] = field(default_factory=dict)

    def call(self, method: str, params: Any) -> tuple[Any, float, int]:
        """Run a method; return its result, the seconds to wait before answering, and the HTTP status."""
        self.calls[method] += 1
        named = params if isinstance(params, dict) else {}
        match method:
            case "echo":
                return params, 0.0, 200
            case "add":
                return sum(params if isinstance(params, list) else [named.get("a"), named.get("b")]), 0.0, 200
            case "sleep":
                return None, float(named.get("ms", 100)) / 1000, 200
            case "fail":
                raise _FailError(named.get("code", -32000), named.get("message", "it failed"), named.get("data"))
            case "http":
                return named.get("retry_after"), 0.0, int(named.get("status", 503))
            case "count":
                return self.calls[named["method"]] if "method" in named else self.calls.total(), 0.0, 200
            case "orders.create":
                self.orders[str(named.get("id"))] = order = {**named, "status": "created", "number": len(self.orders)}
                return order, 0.0, 200
            case "orders.get":
                return self.orders.get(str(named.get("id"))), 0.0, 200
        raise _FailError(*_METHOD_NOT_FOUND)

    def _one(self, request: Any) -> tuple[dict[str, Any] | None, float, int]:
        try:
            request = msgspec.convert(request, _Request)
        except msgspec.ValidationError:
            return _error(None, *_INVALID_REQUEST), 0.0, 200
        try:
            result, delay, status = self.call(request.method, request.params)
        except _FailError as failed:
            return _reply(request.id, error=failed.error), 0.0, 200
        except (TypeError, ValueError):
            return _error(request.id, *_INVALID_PARAMS), 0.0, 200
        return _reply(request.id, result=result), delay, status

    def reply(self, body: bytes) -> tuple[Any, float, int]:
        """Run the calls of a request's body.

        Returns:
            The response object, or a list of them; None where nothing is to be answered. The seconds to wait before
            answering. The HTTP status.
        """
        try:
            requests = msgspec.json.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return _error(None, *_PARSE_ERROR), 0.0, 200
        if not isinstance(requests, list):
            return self._one(requests)
        if not requests:
            return _error(None, *_INVALID_REQUEST), 0.0, 200
        replies, delays, _ = zip(*map(self._one, requests), strict=True)
        return [reply for reply in replies if reply is not None] or None, max(delays), 200

    def answer(self, body: bytes) -> tuple[bytes, float]:
        """Return the HTTP response for a request's body, and the seconds to wait before it is sent."""
        reply, delay, status = self.reply(body)
        if status != 200:
            after = None if reply is None else reply["result"]
            return _http(status, b"", "" if after is None else f"Retry-After: {after}\r\n"), delay
        return (_http(204, b"") if reply is None else _http(200, msgspec.json.encode(reply))), delay


def _reply(call_id: Any, **members: Any) -> dict[str, Any] | None:
    return None if call_id is msgspec.UNSET else {"jsonrpc": "2.0", **members, "id": call_id}


def _error(call_id: Any, code: int, message: str) -> dict[str, Any] | None:
    return _reply(call_id, error={"code": code, "message": message})


def _http(status: int, body: bytes, headers: str = "") -> bytes:
    length = "" if status == 204 else f"Content-Length: {len(body)}\r\n"
    kind = "Content-Type: application/json\r\n" if body else ""
    return f"HTTP/1.1 {status} -\r\n{kind}{length}{headers}\r\n".encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, service: Service) -> None:
        self._service = service
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[tuple[bytes, bytes, bool, bool]] = deque()
        self._busy = False
        self._body: list[bytes] = []
        self._authorized = service.token is None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, but not the base class

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.write(_http(400, b"", "Connection: close\r\n"))
            self._transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._service.token is not None and name.lower() == b"authorization":
            self._authorized = value == b"Bearer " + self._service.token.encode()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        method, body = self._parser.get_method(), b"".join(self._body)
        self._requests.append((method, body, self._authorized, self._parser.should_keep_alive()))
        self._body.clear()
        self._authorized = self._service.token is None
        if not self._busy:
            self._next()

    def _next(self) -> None:
        method, body, authorized, keep_alive = self._requests.popleft()
        if not authorized:
            response, delay = _http(401, b"", "WWW-Authenticate: Bearer\r\n"), 0.0
        elif method != b"POST":
            response, delay = _http(405, b"", "Allow: POST\r\n"), 0.0
        else:
            response, delay = self._service.answer(body)
        if delay:
            self._busy = True
            asyncio.get_running_loop().call_later(delay, self._send, response, keep_alive)
        else:
            self._send(response, keep_alive)

    def _send(self, response: bytes, keep_alive: bool) -> None:
        self._busy = False
        self._transport.write(response)
        if not keep_alive:
            self._transport.close()
        elif self._requests:
            self._next()


async def serve(host: str, port: int, service: Service) -> None:
    """Serve until SIGTERM or SIGINT. Print the URL when the port is open."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    server = await loop.create_server(lambda: _Connection(service), host, port, backlog=1024)
    print(f"http://{host}:{server.sockets[0].getsockname()[1]}/rpc", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    """Parse the command line and serve."""
    arguments = argparse.ArgumentParser(description="JSON-RPC 2.0 service over HTTP for demo, bench and tests")
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=0, help="0: any free one; the URL is printed")
    arguments.add_argument("--token", help="the bearer token that each request must have")
    chosen = arguments.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen.host, chosen.port, Service(token=chosen.token)))


if __name__ == "__main__":
    main()
