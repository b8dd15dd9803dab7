"""TLS and credentials against real servers."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from msgspec import UNSET

from bridge.core.endpoint import AuthBasic, AuthBearer, AuthCertificate, Tls
from bridge.core.errors import AuthError, BridgeError, NotConnectedError, RejectedError
from tests.support.adapters.adapters import connected
from tests.support.servers.demo import demo_service
from tests.support.servers.http_server import Received, http, scripted_server
from tests.support.servers.tls import Certificates, make_certificates
from tests.support.servers.tls_server import tls_server


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Create authorities for this test only."""
    return make_certificates(tmp_path)


async def test_a_server_that_the_named_authority_signed(certificates: Certificates) -> None:
    """A server whose certificate verifies is connected to, and its connection kept."""
    async with scripted_server(Received.result, certificates.server()) as server:
        url = f"https://127.0.0.1:{server.port}/rpc"
        async with connected(url, tls=Tls(ca=certificates.ca_file)) as adapter:
            await adapter.connect()
            assert await adapter.request("m", UNSET) == "ok"
            assert await adapter.request("m", UNSET) == "ok"
            assert server.connections == 1


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (lambda made: made.server(expired=True), "expired"),
        (lambda made: made.server("elsewhere.example"), "mismatch"),
        (lambda made: made.server(unknown_ca=True), "certificate"),
    ],
    ids=["expired", "wrong-host", "unknown-ca"],
)
async def test_a_certificate_that_does_not_verify_needs_a_person(
    certificates: Certificates, context: Callable[[Certificates], ssl.SSLContext], reason: str
) -> None:
    """A certificate that does not verify is permanent, and nothing is sent."""
    async with scripted_server(Received.result, context(certificates)) as server:
        url = f"https://127.0.0.1:{server.port}/rpc"
        async with connected(url, tls=Tls(ca=certificates.ca_file)) as adapter:
            for attempt in (adapter.connect, adapter.check, lambda: adapter.request("m", UNSET)):
                with pytest.raises(NotConnectedError, match=reason) as caught:
                    await attempt()
                assert caught.value.permanent
                assert not caught.value.maybe_sent
        assert server.requests == []


async def test_the_systems_authorities_are_the_default(certificates: Certificates) -> None:
    """Without `ca` a private authority is not trusted."""
    async with (
        scripted_server(Received.result, certificates.server()) as server,
        connected(f"https://127.0.0.1:{server.port}/") as adapter,
    ):
        with pytest.raises(NotConnectedError, match="certificate"):
            await adapter.connect()


async def test_server_name_is_asked_for_and_verified(certificates: Certificates) -> None:
    """`server_name` is sent as SNI and verified, in place of the address."""
    names: list[str | None] = []
    context = certificates.server("rpc.example.org")
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with scripted_server(Received.result, context) as server:
        url = f"https://127.0.0.1:{server.port}/rpc"
        trust = Tls(ca=certificates.ca_file, server_name="rpc.example.org")
        async with connected(url, tls=trust) as adapter:
            assert await adapter.request("m", UNSET) == "ok"
    assert names == ["rpc.example.org"]


async def test_verification_can_be_turned_off(certificates: Certificates) -> None:
    """`verify = false` connects to a certificate that does not verify."""
    async with (
        scripted_server(Received.result, certificates.server("x", unknown_ca=True)) as server,
        connected(f"https://127.0.0.1:{server.port}/", tls=Tls(verify=False)) as adapter,
    ):
        assert await adapter.request("m", UNSET) == "ok"


@pytest.mark.parametrize("tls13", [True, False], ids=["tls1.3", "tls1.2"])
async def test_client_certificates(certificates: Certificates, tls13: bool) -> None:
    """The right one is accepted; one of an unknown authority, and none, is refused.

    Before TLS 1.3 a missing certificate has no alert of its own, so only that a person is needed can be known.
    """
    trust = Tls(ca=certificates.ca_file)
    with tls_server(certificates.server_that_asks(tls13=tls13), OK) as server:
        cert, key = certificates.client_files()
        right = AuthCertificate(type="certificate", cert=cert, key=key)
        async with connected(server.url, tls=trust, auth=right) as adapter:
            assert await adapter.request("m", UNSET) == "ok"
        async with connected(server.url, tls=trust) as adapter:
            with pytest.raises(AuthError if tls13 else NotConnectedError) as caught:
                await adapter.check()
            assert caught.value.permanent
            assert not caught.value.maybe_sent
        cert, key = certificates.client_files(unknown_ca=True)
        wrong = AuthCertificate(type="certificate", cert=cert, key=key)
        async with connected(server.url, tls=trust, auth=wrong) as adapter:
            with pytest.raises(AuthError):
                await adapter.request("m", UNSET)
        assert len(server.requests) == 1


@pytest.mark.parametrize("which", ["authority", "client"])
async def test_files_that_are_renewed_while_it_runs(tmp_path: Path, which: str) -> None:
    """A renewed authority or client certificate is in use for the next connection, without a new session."""
    (tmp_path / "other").mkdir()
    made, other = make_certificates(tmp_path), make_certificates(tmp_path / "other")
    ca, (cert, key) = made.ca_file, made.client_files(unknown_ca=which == "client")
    if which == "authority":
        ca.write_bytes(other.ca_file.read_bytes())
    mine = AuthCertificate(type="certificate", cert=cert, key=key)
    with tls_server(made.server_that_asks(), OK) as server:
        async with connected(server.url, tls=Tls(ca=ca), auth=mine) as adapter:
            with pytest.raises(BridgeError) as caught:
                await adapter.check()
            assert caught.value.permanent
            key.write_text("no key")
            with pytest.raises(NotConnectedError, match=r"client\.pem and its key"):
                await adapter.check()
            made.client_files()
            assert made.ca_file == ca
            await adapter.check()
            assert len(server.requests) == 1


OK = b'{"jsonrpc": "2.0", "result": "ok", "id": 1}'


class _PlainOnly(asyncio.Protocol):
    """Answers whatever comes in plain HTTP."""

    def __init__(self, seen: list[bytes]) -> None:
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._seen.append(data)
        self._transport.write(http(b"", 400, "Connection: close"))
        self._transport.close()


async def test_plaintext_where_tls_was_asked() -> None:
    """Where TLS was asked for, no credentials are sent without it."""
    seen: list[bytes] = []
    server = await asyncio.get_running_loop().create_server(lambda: _PlainOnly(seen), "127.0.0.1", 0)
    async with server, connected(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", auth=BEARER) as adapter:
        with pytest.raises(NotConnectedError, match="TLS") as caught:
            await adapter.connect()
        assert not caught.value.maybe_sent
    assert seen
    assert not any(b"HTTP" in data or b"t0ken" in data for data in seen)


BEARER = AuthBearer(type="bearer", token="t0ken")


async def test_bearer_and_basic_reach_the_server() -> None:
    """Bearer and Basic are sent in the header that their specifications name."""
    async with scripted_server(Received.result) as server:
        async with connected(server.url, auth=BEARER) as adapter:
            await adapter.request("m", UNSET)
        async with connected(server.url, auth=AuthBasic(type="basic", username="u", password="p")) as adapter:
            await adapter.request("m", UNSET)
        assert [request.header("Authorization") for request in server.requests] == ["Bearer t0ken", "Basic dTpw"]


async def test_refused_credentials_are_auth_and_are_never_shown() -> None:
    """A wrong token is `auth` with a message that does not show it; the right one is accepted."""
    with demo_service("--token", "t0ken") as demo:
        async with connected(demo.url, auth=BEARER) as adapter:
            await adapter.check()
            assert await adapter.request("echo", [1]) == [1]
        async with connected(demo.url, auth=AuthBearer(type="bearer", token="wr0ng")) as adapter:
            await adapter.connect()
            for attempt in (adapter.check, lambda: adapter.request("echo", [1])):
                with pytest.raises(AuthError) as caught:
                    await attempt()
                assert caught.value.permanent
                assert "wr0ng" not in str(caught.value.to_wire())


async def test_a_remote_that_tells_our_secret_back_is_not_quoted_by_us() -> None:
    """An answer that repeats our credentials is not quoted in the message."""

    def respond(request: Received) -> None:
        request.send(http(b"<html>" + request.head, 500))

    async with scripted_server(respond) as server, connected(server.url, auth=BEARER) as adapter:
        with pytest.raises(BridgeError) as caught:
            await adapter.request("m", UNSET)
        assert "t0ken" not in str(caught.value.to_wire())
        assert not isinstance(caught.value, RejectedError)
