"""MQTT credentials and TLS against a real Mosquitto: who gets in, who does not, and why."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.core.endpoint import AuthBasic, AuthBearer, AuthCertificate, Tls
from bridge.core.errors import AuthError, NotConnectedError, RejectedError
from tests.support.adapters.mqtt import Mailbox, adapter, connected
from tests.support.servers.mosquitto import Mosquitto, mosquitto
from tests.support.servers.tls import Certificates, make_certificates
from tests.support.wait import until

PASSWORD, TOKEN = SecretStr("p:ä ss"), SecretStr("eyJ.token")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Authorities of this test's own."""
    return make_certificates(tmp_path)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker that knows one user and one token, and lets the user write to no topic but `open/…`."""
    folder = tmp_path_factory.mktemp("broker")
    users, rights = folder / "users", folder / "rights"
    users.touch(mode=0o600)
    for name, secret in (("user", PASSWORD), ("bearer", TOKEN)):
        subprocess.run(["mosquitto_passwd", "-b", users, name, secret.get_secret_value()], check=True)
    rights.write_text("user user\ntopic readwrite open/#\nuser bearer\ntopic readwrite #\n")
    rights.chmod(0o600)
    with mosquitto(f"password_file {users}", f"acl_file {rights}", anonymous=False) as broker:
        yield broker


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize(
    "auth",
    [AuthBasic(type="basic", username="user", password=PASSWORD), AuthBearer(type="bearer", token=TOKEN)],
    ids=["basic", "bearer"],
)
async def test_good_credentials(guarded: Mosquitto, auth: Any, version: str) -> None:
    """A password, and a token in its place."""
    async with connected(guarded.url, auth=auth, version=version) as session:
        await session.check()
        await session.publish("open/a", 1)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize(
    "auth",
    [
        AuthBasic(type="basic", username="user", password=SecretStr("wrong")),
        AuthBasic(type="basic", password=PASSWORD),
        AuthBearer(type="bearer", token=SecretStr("wrong")),
        None,
    ],
    ids=["basic", "no-user", "bearer", "none"],
)
async def test_bad_credentials_need_a_person(guarded: Mosquitto, auth: Any, version: str) -> None:
    """And the message does not say them."""
    session = adapter(guarded.url, version=version, **({} if auth is None else {"auth": auth}))
    with pytest.raises(AuthError) as caught:
        await session.connect()
    await session.disconnect()
    assert caught.value.permanent
    assert "wrong" not in caught.value.message


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_topic_without_rights(guarded: Mosquitto, qos: int) -> None:
    """It is that call's failure, with the broker's code; neither the connection's nor that of the credentials."""
    auth = AuthBasic(type="basic", username="user", password=PASSWORD)
    async with connected(guarded.url, auth=auth) as session:
        with pytest.raises(RejectedError, match="Not authorized") as caught:
            await session.publish("secret", 1, qos=qos)
        assert not caught.value.permanent
        assert caught.value.code == 0x87
        mailbox = Mailbox()
        await session.subscribe("open/b", mailbox.deliver)
        await session.publish("open/b", 1)
        await until(lambda: mailbox.messages)


def server_lines(certificates: Certificates, host: str = "127.0.0.1", **options: bool) -> list[str]:
    """A listener's certificate, as lines of its configuration."""
    cert, key = certificates.server_files(host, **options)
    return [f"certfile {cert}", f"keyfile {key}"]


def secure(broker: Mosquitto) -> str:
    """The same broker, with TLS asked for."""
    return f"mqtts://127.0.0.1:{broker.port}"


async def test_a_broker_that_the_named_authority_signed(certificates: Certificates) -> None:
    """Large messages, too, which come in many records."""
    mailbox = Mailbox()
    with mosquitto(*server_lines(certificates)) as broker:
        async with connected(secure(broker), tls=Tls(ca=certificates.ca_file), codec="bytes") as session:
            await session.subscribe("large", mailbox.deliver)
            await session.publish("large", b"x" * 1_500_000)
            await until(lambda: mailbox.messages)
            await session.check()
    assert mailbox.contents == [b"x" * 1_500_000]


@pytest.mark.parametrize(
    ("host", "options", "reason"),
    [
        ("127.0.0.1", {"expired": True}, "expired"),
        ("elsewhere.example", {}, "mismatch"),
        ("127.0.0.1", {"unknown_ca": True}, "certificate"),
    ],
    ids=["expired", "wrong-host", "unknown-ca"],
)
async def test_a_certificate_that_does_not_verify_needs_a_person(
    certificates: Certificates, host: str, options: dict[str, bool], reason: str
) -> None:
    """The session is not opened; without verification it would be."""
    with mosquitto(*server_lines(certificates, host, **options)) as broker:
        session = adapter(secure(broker), tls=Tls(ca=certificates.ca_file))
        with pytest.raises(NotConnectedError, match=reason) as caught:
            await session.connect()
        assert caught.value.permanent
        await session.disconnect()
        async with connected(secure(broker), tls=Tls(verify=False)) as careless:
            await careless.check()


async def test_a_client_certificate(certificates: Certificates) -> None:
    """The right one gets in; none, and one of an unknown authority, need a person."""
    lines = [*server_lines(certificates), f"cafile {certificates.ca_file}", "require_certificate true"]
    tls = Tls(ca=certificates.ca_file)
    cert, key = certificates.client_files()
    with mosquitto(*lines) as broker:
        async with connected(
            secure(broker), tls=tls, auth=AuthCertificate(type="certificate", cert=cert, key=key)
        ) as good:
            await good.check()
        cert, key = certificates.client_files(unknown_ca=True)
        for auth in ({}, {"auth": AuthCertificate(type="certificate", cert=cert, key=key)}):
            session = adapter(secure(broker), tls=tls, **auth)
            with pytest.raises(AuthError, match="certificate") as caught:
                await session.connect()
            assert caught.value.permanent
            await session.disconnect()


async def test_never_plaintext_where_tls_was_asked() -> None:
    """A broker without TLS is not spoken to, and no password leaves."""
    auth = AuthBasic(type="basic", username="user", password=PASSWORD)
    with mosquitto() as broker:
        session = adapter(secure(broker), auth=auth)
        with pytest.raises(NotConnectedError):
            await session.connect()
        await session.disconnect()
