"""A hostile remote for every protocol: it refuses, and repeats in its refusal all that it received, credentials too."""

import base64
import binascii
import json
import re
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

HTTP = re.compile(rb"(?:GET|POST|PUT|HEAD|DELETE) ")


def _opened(text: str) -> str:
    """Return what it received: as it came, decoded, and quoted again."""
    found = [text]
    for blob in re.findall(r"[A-Za-z0-9+/]{8,}={0,2}", text):
        with suppress(binascii.Error, UnicodeDecodeError):
            pair = base64.b64decode(blob, validate=True).decode()
            found += [pair, *pair.split(":", 1), quote(pair, safe=""), json.dumps(pair)]
    return " | ".join(found)


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.settimeout(5)
        with suppress(OSError):
            if self.server.speaks_first:  # type: ignore[attr-defined]
                self.request.sendall(
                    b'INFO {"server_id":"X","version":"2.10.0","max_payload":1048576,"headers":true,"nonce":"n"}\r\n'
                )
            data = self.request.recv(65536)
            if HTTP.match(data):
                self._http(data)
            elif data[:1] == b"\x10":
                self._mqtt(data)
            elif data.startswith(b"CONNECT "):
                self.request.sendall(b"-ERR 'Authorization Violation, you said: %b'\r\n" % data.split(b"\r\n")[0])
            else:
                while data:
                    said = " ".join(data.decode("utf-8", "replace").split())
                    self.request.sendall(f"-ERR you said {said}\r\n".encode() * data.count(b"*"))
                    data = self.request.recv(65536)

    def _http(self, data: bytes) -> None:
        while b"\r\n\r\n" not in data:
            data += self.request.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while length is not None and len(body) < int(length[1]):
            body += self.request.recv(65536)
        said = _opened(head.decode("utf-8", "replace") + body.decode("utf-8", "replace"))
        line = " ".join(said.split())[:1500]
        if b'"jsonrpc"' in body:
            error = {"code": -32000, "message": said, "data": {"said": [said, {said[:300]: line}]}}
            answer = json.dumps({"jsonrpc": "2.0", "id": json.loads(body).get("id"), "error": error}).encode()
            status = "200 OK"
        else:
            answer, status = said.encode(), f"403 {line}"
        kind = b"application/json" if status.startswith("200") else b"text/plain"
        self.request.sendall(
            b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nX-Said: %b\r\nConnection: close\r\n\r\n%b"
            % (status.encode("latin-1", "replace"), kind, len(answer), line.encode("latin-1", "replace"), answer)
        )

    def _mqtt(self, data: bytes) -> None:
        """Make a CONNACK of MQTT 5: bad user name or password, with a reason (3.2.2.3.9)."""
        said = "".join(letter for letter in data.decode("utf-8", "replace") if letter.isprintable())[:110].encode()
        properties = b"\x1f" + struct.pack(">H", len(said)) + said
        body = b"\x00\x86" + bytes([len(properties)]) + properties
        self.request.sendall(b"\x20" + bytes([len(body)]) + body)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, *, speaks_first: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.speaks_first = speaks_first


@contextmanager
def echoing_remote(*, speaks_first: bool = False) -> Iterator[int]:
    """Listen, and return the port; `speaks_first` is for NATS, whose servers send the first message."""
    with _Server(speaks_first=speaks_first) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
