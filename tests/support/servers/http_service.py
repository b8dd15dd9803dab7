"""An HTTP service as a process of its own, on the standard library's server; tests kill and freeze it.

`POST /echo`, `/sleep` (`ms`), `/fail` (`code`, `message`, `data`: a 422 with that), `/orders.create`; below `/notify/`
the same, answered 202; `GET /calls/<method>` counts; `PUT /value` and `GET /value` with an entity tag;
`POST /say` puts a server-sent event on `GET /events`.
"""

import hashlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from tests.support.servers.demo import DemoProcess

_ROOT = Path(__file__).parents[3]


class Service(ThreadingHTTPServer):
    """The state that all connections share."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.calls: Counter[str] = Counter()
        self.numbers = 0
        self.value = b"null"
        self.events: list[str] = []
        self.lock = threading.Condition()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Service

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def answer(self, status: int, value: Any = None, **headers: str) -> None:
        body = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_PUT(self) -> None:
        self.server.value = self.body()
        self.answer(204)

    def do_GET(self) -> None:
        if self.path.startswith("/calls/"):
            self.answer(200, self.server.calls[self.path.removeprefix("/calls/")])
        elif self.path == "/value":
            value = self.server.value
            tag = f'"{hashlib.sha256(value).hexdigest()[:8]}"'
            if self.headers.get("If-None-Match") == tag:
                self.answer(304)
            else:
                self.answer(200, value, ETag=tag)
        elif self.path == "/events":
            self.stream()
        else:
            self.answer(404)

    def stream(self) -> None:
        said = len(self.server.events)
        last = min(said, int(self.headers.get("Last-Event-ID", said)))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.flush()
        while True:
            with self.server.lock:
                while len(self.server.events) <= last:
                    self.server.lock.wait()
                news = self.server.events[last:]
            for data in news:
                last += 1
                self.wfile.write(f"id: {last}\nevent: said\ndata: {data}\n\n".encode())
            self.wfile.flush()

    def do_POST(self) -> None:
        body = self.body()
        method = self.path.removeprefix("/notify").removeprefix("/")
        params = json.loads(body) if body else None
        with self.server.lock:
            self.server.calls[method] += 1
            number = self.server.numbers
            self.server.numbers += method == "orders.create"
        if self.path.startswith("/notify/"):
            self.answer(202)
        elif method == "echo":
            self.answer(200, body or b"null")
        elif method == "sleep":
            time.sleep(params["ms"] / 1000)
            self.answer(200, {})
        elif method == "fail":
            self.answer(422, params)
        elif method == "orders.create":
            self.answer(200, {"number": number})
        elif method == "say":
            with self.server.lock:
                self.server.events.append(json.dumps(params))
                self.server.lock.notify_all()
            self.answer(204)
        else:
            self.answer(404)


@contextmanager
def http_service(port: int = 0) -> Iterator[DemoProcess]:
    """Start the service, wait until it listens, and kill it at the end."""
    command = [sys.executable, "-m", "tests.support.servers.http_service", str(port)]
    with Popen(command, cwd=_ROOT, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), f"the service printed {url!r}"
            yield DemoProcess(url, process)
        finally:
            process.kill()


if __name__ == "__main__":
    service = Service(int(sys.argv[1]))
    print(f"http://127.0.0.1:{service.server_address[1]}", flush=True)
    service.serve_forever()
