"""A TLS client at a port without TLS: with every protocol it says so, and what to write, and sends no credentials."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.adapters._common import tls
from bridge.core.endpoint import AuthBasic, Endpoint
from bridge.core.errors import BridgeError, NotConnectedError
from bridge.core.ports import AdapterSpec
from bridge.registry import AdapterRegistry
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.http_service import http_service
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_server
from tests.support.servers.redis_server import redis_server
from tests.support.servers.websocket_service import websocket_service

REGISTRY = AdapterRegistry(bundled=True)
#: Every way of every bundled protocol that has addresses, by the scheme with TLS.
SPECS = {
    (name, scheme): transport
    for name, spec in REGISTRY.items()
    for transport in (spec, *spec.transports)
    for scheme, (_, tls) in transport.schemes.items()
    if tls
}
every = pytest.mark.parametrize(("protocol", "scheme"), SPECS)


@pytest.fixture(autouse=True)
def short_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real Redis waits in silence for the rest of what it takes for a command."""
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT", 0.5)


@contextmanager
def plaintext_server(protocol: str, scheme: str) -> Iterator[int]:
    """The port of a real server of a protocol, without TLS."""
    with contextlib.ExitStack() as stack:
        match protocol, scheme:
            case "mqtt", _:
                yield stack.enter_context(mosquitto()).port
            case "redis", _:
                yield stack.enter_context(redis_server()).port
            case "nats", _:
                yield stack.enter_context(nats_server()).port
            case _, "wss":
                yield stack.enter_context(websocket_service()).port
            case _:
                yield stack.enter_context(http_service()).port


async def refusal(spec: AdapterSpec, **endpoint: Any) -> BridgeError:
    """Why no session can be opened."""
    password = AuthBasic(type="basic", username="u", password=SecretStr("hunter2"))
    session = spec.create(adapter_setup("test", Endpoint(**endpoint), password))
    try:
        with pytest.raises(BridgeError) as caught:
            await session.connect()
        return caught.value
    finally:
        await session.disconnect()


@every
async def test_a_real_server_without_tls(protocol: str, scheme: str) -> None:
    """Whether TLS was asked for by the scheme or by `tls = true`."""
    spec = SPECS[protocol, scheme]
    plain = next(name for name, (_, tls) in spec.schemes.items() if not tls)
    with plaintext_server(protocol, scheme) as port:
        for endpoint in (
            {"url": f"{scheme.upper()}://127.0.0.1:{port}"},
            {"address": "127.0.0.1", "port": port, "tls": True},
        ):
            error = await refusal(spec, **endpoint)
            assert isinstance(error, NotConnectedError)
            assert error.message.startswith(f"no TLS with 127.0.0.1:{port}: ")
            assert f"write `tls = false`, or `{plain}://` in a URL" in error.message
            assert not error.maybe_sent


@every
@pytest.mark.parametrize("end", ["end", "reset", "garbage"])
async def test_a_connection_that_dies_in_the_handshake(protocol: str, scheme: str, end: str) -> None:
    """By an end, a reset, or an answer that is no TLS; no credentials were sent before."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if protocol == "nats":  # TLS begins after the greeting
            writer.write(b'INFO {"server_id":"x","version":"2.9.10","tls_required":true}\r\n')
        heard.extend(await reader.read(5))
        if end == "garbage":
            writer.write(b"-ERR what is that?\r\n" * 10)
        elif end == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await refusal(SPECS[protocol, scheme], url=f"{scheme}://127.0.0.1:{port}")
    assert isinstance(error, NotConnectedError)
    assert "`tls = false`" in error.message
    assert error.message.startswith(f"no TLS with 127.0.0.1:{port}: ")
    assert b"hunter2" not in heard


@every
async def test_a_port_where_nobody_listens(protocol: str, scheme: str) -> None:
    """There the advice would be wrong; host and port are told."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = await refusal(SPECS[protocol, scheme], url=f"{scheme}://127.0.0.1:{port}")
    assert isinstance(error, NotConnectedError)
    assert f"127.0.0.1:{port}" in error.message
    assert "tls = false" not in error.message


async def test_a_nats_server_that_wants_tls_before_its_greeting() -> None:
    """It ends the connection, as nats-server with `handshake_first: true` does; the error says what to write there."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await refusal(SPECS["nats", "tls"], url=f"tls://127.0.0.1:{port}")
    assert isinstance(error, NotConnectedError)
    assert "`handshake_first: auto`" in error.message
    assert "tls = false" not in error.message


@pytest.mark.parametrize(("protocol", "scheme"), [key for key in SPECS if key[0] != "nats"])
async def test_a_server_that_is_silent(protocol: str, scheme: str) -> None:
    """The handshake has a time limit of its own, so that the reason is told before the attempt is given up."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await refusal(SPECS[protocol, scheme], url=f"{scheme}://127.0.0.1:{port}")
        await over.wait()
    assert isinstance(error, NotConnectedError)
    assert "`tls = false`" in error.message
