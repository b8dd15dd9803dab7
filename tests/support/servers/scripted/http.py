"""A scripted HTTP server: it answers every JSON-RPC call with its own parameters, and every other request with `1`."""

import gzip
import json
import zlib
from typing import Final

from tests.support.servers.scripted.server import NO_TEXT, Peer, endless, table


def response(body: bytes, *headers: bytes, status: bytes = b"200 OK", length: bool = True) -> bytes:
    """Return a response with these header lines."""
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


async def request(peer: Peer) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Read one request; return its request line, its headers with names in small letters, and its body."""
    first = await peer.line()
    headers: dict[bytes, bytes] = {}
    while line := await peer.line():
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    return first, headers, await peer.read(int(headers.get(b"content-length", b"0")))


async def converse(peer: Peer) -> None:
    """Answer requests until the client closes."""
    while True:
        _, _, body = await request(peer)
        try:
            call = json.loads(body)
            answer = {"jsonrpc": "2.0", "id": call["id"], "result": call.get("params")}
        except (ValueError, KeyError, TypeError):
            await peer.say("answer", response(b"1"))
        else:
            await peer.say("answer", response(json.dumps(answer).encode()))


_RESULT: Final = b'{"jsonrpc": "2.0", "id": "never", "result": 1}'
_CHUNKED: Final = b"Transfer-Encoding: chunked"


def _chunks(body: bytes) -> bytes:
    return response(body, _CHUNKED, length=False)


FAULTS: Final = table(
    ("answer",),
    {
        ("answer", "status_line_no_text"): b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
        ("answer", "status_no_number"): b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
        ("answer", "status_999"): response(b"{}", status=b"999 What"),
        ("answer", "another_protocol"): b"-ERR unknown command\r\n",
        ("answer", "header_no_text"): response(b"{}", b"X-Odd: \xff\xfe\xfd"),
        ("answer", "header_name_no_text"): response(b"{}", b"\xff\xfe: 1"),
        ("answer", "header_without_colon"): response(b"{}", b"nothing at all"),
        ("answer", "headers_endless"): endless(b"X-A: " + b"a" * 60_000 + b"\r\n", b"HTTP/1.1 200 OK\r\n"),
        ("answer", "length_no_number"): response(b"{}", b"Content-Length: many", length=False),
        ("answer", "length_negative"): response(b"{}", b"Content-Length: -1", length=False),
        ("answer", "length_huge"): response(b"{}", b"Content-Length: 99999999999999999999", length=False),
        ("answer", "two_lengths"): response(b"{}", b"Content-Length: 7"),
        ("answer", "chunk_no_number"): _chunks(b"zz\r\n{}\r\n0\r\n\r\n"),
        ("answer", "chunk_negative"): _chunks(b"-5\r\n{}\r\n0\r\n\r\n"),
        ("answer", "chunk_huge"): _chunks(b"FFFFFFFFFFFFFFFFFF\r\n{}"),
        ("answer", "body_endless"): endless(b"10000\r\n" + b"x" * 65_536 + b"\r\n", _chunks(b"")),
        ("answer", "interim_endless"): endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, most=4 << 20),
        ("answer", "switching_protocols"): response(b"", status=b"101 Switching Protocols"),
        ("answer", "no_content_with_body"): response(b"{}", status=b"204 No Content"),
        ("answer", "charset_unknown"): response(_RESULT, b"Content-Type: application/json; charset=\xff"),
        ("answer", "gzip_of_nothing"): response(b"", b"Content-Encoding: gzip"),
        ("answer", "gzip_no_gzip"): response(NO_TEXT, b"Content-Encoding: gzip"),
        ("answer", "gzip_cut"): response(gzip.compress(_RESULT)[:-6], b"Content-Encoding: gzip"),
        ("answer", "gzip_and_rubbish"): response(gzip.compress(_RESULT) + NO_TEXT, b"Content-Encoding: gzip"),
        ("answer", "gzip_bomb"): response(gzip.compress(b"0" * (64 << 20)), b"Content-Encoding: gzip"),
        ("answer", "deflate_cut"): response(zlib.compress(_RESULT)[:-4], b"Content-Encoding: deflate"),
        ("answer", "encoding_unknown"): response(_RESULT, b"Content-Encoding: compress"),
        ("answer", "body_no_text"): response(b"\xff\xfe\xfd"),
        ("answer", "body_deep"): response(b"[" * 100_000),
        ("answer", "body_nan"): response(b"NaN"),
        ("answer", "body_huge_number"): response(b"9" * 5000),
        ("answer", "another_id"): response(_RESULT),
        ("answer", "batch"): response(b"[" + _RESULT + b"]"),
        ("answer", "nothing"): response(b""),
        ("answer", "redirect_to_itself"): response(b"", b"Location: /", status=b"307 Temporary Redirect"),
        ("answer", "unavailable"): response(b"", b"Retry-After: 99999999999", status=b"503 Service Unavailable"),
        ("answer", "retry_after_no_text"): response(b"", b"Retry-After: \xff", status=b"429 Too Many Requests"),
        ("answer", "unauthorized"): response(b"", status=b"401 Unauthorized"),
    },
)
