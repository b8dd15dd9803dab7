"""TLS to NATS: what is good opens, what is not says why, and nothing ever goes out in plaintext."""

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.adapters.nats.adapter import NatsAdapter, NatsConfig
from bridge.core.endpoint import NO_AUTH, AuthBasic, AuthBearer, AuthCertificate, Endpoint, Tls
from bridge.core.errors import AuthError, NotConnectedError
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.nats_server import nats_server
from tests.support.servers.tls import Certificates, make_certificates
from tests.support.wait import until


def _adapter(port: int, tls: Tls, auth: Any = NO_AUTH) -> Direct:
    endpoint = Endpoint(url=f"tls://127.0.0.1:{port}")
    return Direct(NatsAdapter(adapter_setup("test", endpoint, auth, tls, NatsConfig())))


def _settings(certificates: Certificates, host: str = "127.0.0.1", more: str = "", bad: str = "") -> str:
    """The server's `tls` block, with a certificate for `host`."""
    authority = certificates.unknown if bad == "unknown_ca" else certificates.trusted
    ended = dt.datetime(2020, 1, 1, tzinfo=dt.UTC) if bad == "expired" else None
    issued = authority.issue_cert(host, not_before=ended and dt.datetime(2019, 1, 1, tzinfo=dt.UTC), not_after=ended)
    cert, key = certificates.folder / "server.pem", certificates.folder / "server.key"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    return f'tls {{ cert_file: "{cert}", key_file: "{key}", {more} }}'


@pytest.mark.parametrize("auth", [NO_AUTH, AuthBasic(type="basic", username="u", password=SecretStr("p"))])
async def test_a_good_certificate(tmp_path: Path, auth: Any) -> None:
    """With and without credentials."""
    certificates = make_certificates(tmp_path)
    users = "" if auth is NO_AUTH else 'authorization { user: "u", password: "p" }'
    with nats_server(f"{_settings(certificates)}\n{users}") as server:
        adapter = _adapter(server.port, Tls(ca=certificates.ca_file), auth)
        await adapter.connect()
        await adapter.publish("t", "x" * 100_000)
        await adapter.check()
        await adapter.disconnect()


@pytest.mark.parametrize(
    ("host", "bad"), [("127.0.0.1", "expired"), ("127.0.0.1", "unknown_ca"), ("other.example", "")]
)
async def test_a_bad_certificate(tmp_path: Path, host: str, bad: str) -> None:
    """Expired, of an unknown authority, for another host: a person is needed."""
    certificates = make_certificates(tmp_path)
    with nats_server(_settings(certificates, host, bad=bad)) as server:
        adapter = _adapter(server.port, Tls(ca=certificates.ca_file))
        with pytest.raises(NotConnectedError, match="does not verify") as caught:
            await adapter.connect()
        await adapter.disconnect()
    assert caught.value.permanent


async def test_a_name_of_ones_own(tmp_path: Path) -> None:
    """`tls.server_name` is what must stand in the certificate."""
    certificates = make_certificates(tmp_path)
    with nats_server(_settings(certificates, "other.example")) as server:
        adapter = _adapter(server.port, Tls(ca=certificates.ca_file, server_name="other.example"))
        await adapter.connect()
        await adapter.disconnect()


async def test_a_client_certificate(tmp_path: Path) -> None:
    """With it the session opens; without, or with one that nobody trusts, it is not a matter of trying again."""
    certificates = make_certificates(tmp_path)
    ca = certificates.ca_file
    with nats_server(_settings(certificates, more=f'ca_file: "{ca}", verify: true')) as server:
        cert, key = certificates.client_files()
        adapter = _adapter(server.port, Tls(ca=ca), AuthCertificate(type="certificate", cert=cert, key=key))
        await adapter.connect()
        await adapter.check()
        await adapter.disconnect()
        cert, key = certificates.client_files(unknown_ca=True)
        for auth in (NO_AUTH, AuthCertificate(type="certificate", cert=cert, key=key)):
            adapter = _adapter(server.port, Tls(ca=ca), auth)
            with pytest.raises((AuthError, NotConnectedError)):
                await adapter.connect()
            await adapter.disconnect()


@asynccontextmanager
async def _plain_server(
    info: bytes, hold: asyncio.Event | None = None
) -> AsyncIterator[tuple[int, list[bytes], asyncio.Event]]:
    """Greets like NATS, speaks no TLS, and keeps whatever it is sent; it reads on when `hold` is set."""
    got: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + info + b"\r\n")
        tail = b""  # where a PING may have begun
        while data := await reader.read(65536):
            got.append(data)
            writer.write(b"PONG\r\n" * (tail + data).count(b"PING\r\n"))
            tail = (tail + data)[-5:]
            if hold is not None:
                await hold.wait()
        writer.close()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], got, over


async def test_ping_follows_what_was_written() -> None:
    """Even where the socket is full, and who wrote has given up waiting: ahead of that, PONG would prove nothing."""
    hold = asyncio.Event()
    hold.set()
    async with _plain_server(b'{"server_id":"x","version":"2.9.10","headers":true}', hold) as (port, got, over):
        adapter = Direct(
            NatsAdapter(adapter_setup("test", Endpoint(url=f"nats://127.0.0.1:{port}"), config=NatsConfig()))
        )
        await adapter.connect()
        connection = adapter._connection
        assert connection is not None
        socket, pings = connection._transport._socket, connection._confirmed._asked
        assert socket is not None
        hold.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(adapter.publish("large", "x" * 500_000))
            await until(lambda: socket.get_write_buffer_size() > 1_000_000, "a full socket")
            connection.post("first", b"")
            subscribing = group.create_task(connection.subscribe("news", lambda _: None))
            await until(lambda: len(pings) == 2, "the subscription and its PING")
            subscribing.cancel()  # which unsubscribes
            await asyncio.wait([subscribing])
            asking = group.create_task(connection.ask("question"))
            last = group.create_task(adapter.publish("last", 1))
            await until(lambda: len(pings) == 3, "the last PING")
            hold.set()
            await last
            asking.cancel()
        await adapter.disconnect()
        await asyncio.wait_for(over.wait(), 5)
    lines = re.findall(rb"^(PING|(?:SUB|UNSUB|PUB|HPUB) \S+)", b"".join(got), re.MULTILINE)
    after = lines[lines.index(b"HPUB large") :]
    assert after[:40] == [b"HPUB large"] * 40
    assert after[40:] == [
        b"PING",
        b"PUB first",
        b"SUB news",
        b"PING",
        b"UNSUB 2",
        b"PUB question",
        b"HPUB last",
        b"PING",
    ]


async def test_a_server_that_insists_on_tls(tmp_path: Path) -> None:
    """Where TLS was not asked for it is used all the same, and it verifies."""
    certificates = make_certificates(tmp_path)
    with nats_server(_settings(certificates)) as server:
        adapter = NatsAdapter(
            adapter_setup("test", Endpoint(address="127.0.0.1", port=server.port), config=NatsConfig())
        )
        with pytest.raises(NotConnectedError, match="does not verify"):
            await adapter.connect()
        await adapter.disconnect()


async def test_a_server_that_leaves_tls_to_its_clients(tmp_path: Path) -> None:
    """Its `allow_non_tls`: with TLS where that was asked for, without where not."""
    certificates = make_certificates(tmp_path)
    with nats_server(_settings(certificates) + "\nallow_non_tls: true") as server:
        for tls in (Tls(ca=certificates.ca_file), None):
            endpoint = Endpoint(address="127.0.0.1", port=server.port, tls=tls is not None)
            adapter = NatsAdapter(adapter_setup("test", endpoint, tls=tls, config=NatsConfig()))
            await adapter.connect()
            connection = adapter._connection
            assert connection is not None
            socket = connection._transport._socket
            assert socket is not None
            assert (socket.get_extra_info("ssl_object") is None) == (tls is None)
            await adapter.check()
            await adapter.disconnect()


@pytest.mark.parametrize(
    "auth",
    [
        NO_AUTH,
        AuthBasic(type="basic", username="user", password=SecretStr("secret")),
        AuthBearer(type="bearer", token=SecretStr("secret")),
    ],
)
@pytest.mark.parametrize("more", [b"", b',"auth_required":true', b',"tls_required":false'])
async def test_a_plaintext_server_where_tls_was_asked(tmp_path: Path, auth: Any, more: bytes) -> None:
    """Not one byte goes to it: neither credentials nor anything else."""
    certificates = make_certificates(tmp_path)
    info = b'{"server_id":"x","version":"2.9.10","headers":true,"max_payload":1048576' + more + b"}"
    async with _plain_server(info) as (port, got, over):
        adapter = _adapter(port, Tls(ca=certificates.ca_file), auth)
        with pytest.raises(NotConnectedError, match="the server has none") as caught:
            await adapter.connect()
        await adapter.disconnect()
        await asyncio.wait_for(over.wait(), 5)
    assert got == []
    assert caught.value.permanent


@pytest.mark.parametrize("claim", [b"tls_required", b"tls_available"])
async def test_a_server_that_only_claims_tls(tmp_path: Path, claim: bytes) -> None:
    """It says that it requires TLS, or has it, and speaks plaintext: it gets a TLS greeting and no credentials."""
    certificates = make_certificates(tmp_path)
    auth = AuthBearer(type="bearer", token=SecretStr("secret"))
    async with _plain_server(b'{"server_id":"x","version":"2.9.10","%b":true}' % claim) as (port, got, over):
        adapter = _adapter(port, Tls(ca=certificates.ca_file), auth)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await adapter.connect()
        await adapter.disconnect()
        await asyncio.wait_for(over.wait(), 5)
    assert b"secret" not in b"".join(got)
    assert b"CONNECT" not in b"".join(got)
