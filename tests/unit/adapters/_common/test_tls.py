"""TLS contexts follow the files on disk: each new connection uses what is there then."""

import os
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.adapters._common import tls
from bridge.adapters._common.tls import ClientTls
from bridge.adapters.redis.config import RedisConfig
from bridge.adapters.redis.target import targets
from bridge.core.endpoint import NO_AUTH, AuthCertificate, Endpoint, Tls
from bridge.core.errors import NotConnectedError
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.tls import Certificates, make_certificates


def subjects(context: ssl.SSLContext) -> set[bytes]:
    """Return the authorities that a context trusts."""
    return set(context.get_ca_certs(binary_form=True))


def authority(made: Certificates) -> bytes:
    """Return the trusted authority's certificate as a context returns it."""
    return ssl.PEM_cert_to_DER_cert(made.trusted.cert_pem.bytes().decode())


@pytest.fixture
def two(tmp_path: Path) -> tuple[Certificates, Certificates]:
    """Make two sets of authorities, as before and after a renewal."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    return make_certificates(tmp_path / "old"), make_certificates(tmp_path / "new")


def _written(file: Path, new: Path) -> None:
    file.write_bytes(new.read_bytes())


def _renamed(file: Path, new: Path) -> None:
    copy = file.with_suffix(".new")
    shutil.copy(new, copy)
    copy.rename(file)


@pytest.mark.parametrize("renew", [_written, _renamed])
def test_a_renewed_authority_is_trusted_at_the_next_connection(
    two: tuple[Certificates, Certificates], renew: Callable[[Path, Path], None]
) -> None:
    """A file that was written anew, or replaced, makes a new context; an unchanged one does not."""
    old, new = two
    made = ClientTls(Tls(ca=old.ca_file), NO_AUTH, alpn="http/1.1")
    assert made.context() is made.context()
    assert subjects(made.context()) == {authority(old)}
    renew(old.ca_file, new.ca_file)
    assert subjects(made.context()) == {authority(new)}
    assert made.context() is made.context()


def test_a_link_that_leads_elsewhere(two: tuple[Certificates, Certificates], tmp_path: Path) -> None:
    """A link that is turned to another file, as Kubernetes does it, is noticed."""
    old, new = two
    link = tmp_path / "ca.pem"
    link.symlink_to(old.ca_file)
    made = ClientTls(Tls(ca=link), NO_AUTH)
    link.unlink()
    link.symlink_to(new.ca_file)
    assert subjects(made.context()) == {authority(new)}


def test_a_client_certificate_that_is_half_renewed(two: tuple[Certificates, Certificates]) -> None:
    """While certificate and key do not fit there is no connection, and a person is needed; then there is one again."""
    old, new = two
    (cert, key), (new_cert, new_key) = old.client_files(), new.client_files()
    made = ClientTls(Tls(ca=old.ca_file), AuthCertificate(type="certificate", cert=cert, key=key))
    before = made.context()
    shutil.copy(new_cert, cert)
    for _ in range(2):
        with pytest.raises(NotConnectedError, match=r"client\.pem and its key cannot be used") as caught:
            made.context()
        assert caught.value.permanent
    shutil.copy(new_key, key)
    assert made.context() is not before


def test_a_file_that_goes_and_comes_back(two: tuple[Certificates, Certificates]) -> None:
    """Without its file there is no connection; when it is back there is."""
    file, content = two[0].ca_file, two[0].ca_file.read_bytes()
    made = ClientTls(Tls(ca=file), NO_AUTH)
    file.unlink()
    with pytest.raises(NotConnectedError, match="No such file"):
        made.context()
    file.write_bytes(content)
    assert subjects(made.context()) == {authority(two[0])}


def test_a_new_authority_of_the_system(two: tuple[Certificates, Certificates], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `tls.ca`, a change of the system's list is noticed."""
    old, new = two
    monkeypatch.setenv("SSL_CERT_FILE", str(old.ca_file))
    made = ClientTls(Tls(), NO_AUTH)
    assert authority(old) in subjects(made.context())
    shutil.copy(new.ca_file, old.ca_file)
    assert authority(new) in subjects(made.context())


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "large"])
def test_what_is_no_file_of_certificates(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe, a folder, a device and a file of any size are refused and not read, which might never end."""
    path = tmp_path / "ca.pem"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path = Path("/dev/zero")
        case _:
            path.write_bytes(b"x" * 100)
            monkeypatch.setattr(tls, "_MOST_BYTES", 99)
    complaint = "more than 99 bytes" if kind == "large" else "not a regular file"
    with pytest.raises(ValueError, match=complaint):
        ClientTls(Tls(ca=path), NO_AUTH)
    with pytest.raises(ValueError, match=complaint):
        ClientTls(Tls(), AuthCertificate(type="certificate", cert=path))


def test_all_connections_of_redis_share_the_files(two: tuple[Certificates, Certificates]) -> None:
    """A renewed file is in use for a new connection of a session that lives, to each node."""
    old, new = two
    setup = adapter_setup("x", Endpoint(url="rediss://127.0.0.1"), tls=Tls(ca=old.ca_file))
    [target] = targets(setup, RedisConfig())
    other = target.at("127.0.0.2", 7)
    assert other.context() is target.context()
    shutil.copy(new.ca_file, old.ca_file)
    for one in (other, target):
        context = one.context()
        assert context is not None
        assert subjects(context) == {authority(new)}


def test_a_byte_order_mark_does_no_harm(two: tuple[Certificates, Certificates]) -> None:
    """OpenSSL reads the first certificate also where an editor has put a byte-order mark before it."""
    old, _ = two
    old.ca_file.write_bytes(b"\xef\xbb\xbf" + old.ca_file.read_bytes())
    assert subjects(ClientTls(Tls(ca=old.ca_file), NO_AUTH).context()) == {authority(old)}
