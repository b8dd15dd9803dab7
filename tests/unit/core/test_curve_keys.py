"""Show how key files are read and written, and what a key may do."""

import os
from pathlib import Path

import pytest
import zmq
import zmq.auth
from zmq.utils import z85

from bridge.core.curve_keys import (
    Grant,
    fingerprint,
    is_key,
    own_type_prefix,
    read_access_list,
    read_grant,
    read_pair,
    read_public,
    write_key_file,
)
from bridge.core.errors import KeyFileError

# The same pair in every run: it stands in the names of tests, which all workers must agree about.
SECRET = z85.encode(bytes(range(32))).decode()
PUBLIC = zmq.curve_public(SECRET.encode()).decode()
OWN = own_type_prefix(PUBLIC)


def grant(publish: str = "", subscribe: str = "", **more: bool) -> Grant:
    """Make a key with rights, one pattern each."""
    return Grant("app", PUBLIC, (publish,) if publish else (), (subscribe,) if subscribe else (), **more)


@pytest.mark.parametrize(
    ("pattern", "event_type", "may"),
    [
        ("**", "order.created", True),
        ("order.*", "order.created", True),
        ("order.*", "order.a.b", False),
        ("order.**", "order.a.b", True),
        ("order.**", "orders.a", False),
        ("order.created", "order.created", True),
        ("", "order.created", False),
        ("", f"{OWN}.abc.hello.3", True),
        ("", OWN, False),
        ("", f"{OWN}x.a", False),
        ("**", "client.abc.hello.3", False),
        ("client.**", "client", False),
        ("**", "health.bridge", False),
        ("health.**", "health.bridge", False),
        ("**", "health", False),
        ("**", "resilience.bus.gap", False),
        ("**", "response.x", False),
        ("**", "receipt.x.delivered", False),
        ("**", "message.x", False),
        ("**", "healthy.x", True),
        ("**", "", False),
        ("**", "a..b", False),
        ("**", "a\0b", True),  # no event of the contract: the reader rejects it
    ],
)
def test_publish(pattern: str, event_type: str, may: bool) -> None:
    """A key may publish by its patterns and its own types; never types of bridges or of another key."""
    assert grant(publish=pattern).may_publish(event_type) is may


def test_a_bridge_may_publish_reserved_types() -> None:
    """A bridge's key may publish types of bridges, where its patterns name them."""
    assert grant(publish="**", bridge=True).may_publish("health.bridge")
    assert not grant(publish="order.**", bridge=True).may_publish("health.bridge")


@pytest.mark.parametrize(
    ("pattern", "prefix", "may"),
    [
        ("**", "", True),
        ("**", "anything", True),
        ("order.**", "order.", True),
        ("order.**", "order.created", True),
        ("order.**", "order", True),
        ("order.**", "ord", False),
        ("order.**", "orders", False),
        ("order.**", "", False),
        ("order.created", "order.created", True),
        ("order.created", "order.created.x", False),
        ("order.created", "order.", False),
        ("", "order.", False),
        ("", f"{OWN}.abc.hello.0", True),
        ("", f"{OWN}.", True),
        ("", OWN, False),
        ("", "client.abc.hello.0", False),
        ("**", "client.abc.hello.0", True),
    ],
)
def test_subscribe(pattern: str, prefix: str, may: bool) -> None:
    """A prefix is allowed where a pattern covers all types that begin with it, or where it is a whole type."""
    assert grant(subscribe=pattern).may_subscribe(prefix) is may


@pytest.mark.parametrize("pattern", ["order.*", "*.created", "**.created", "order.**.x", "or*", "a b", ""])
def test_rights_that_zeromq_cannot_keep(pattern: str) -> None:
    """ZeroMQ subscribes by prefix, so a wildcard must be `**` at the end."""
    with pytest.raises(ValueError, match=r"subscribes by prefix|stand for whole segments|holds a space|never empty"):
        Grant("app", PUBLIC, (), (pattern,))


def test_files_are_those_of_pyzmq(tmp_path: Path) -> None:
    """The bridge and pyzmq read each other's files; only their owner can read files and folders."""
    public_file, secret_file = zmq.auth.create_certificates(tmp_path, "theirs")
    Path(secret_file).chmod(0o600)
    pair = read_pair(Path(secret_file))
    assert read_public(Path(public_file)) == pair.public
    assert (pair.public.encode(), pair.secret.encode()) == zmq.auth.load_certificate(secret_file)
    ours = tmp_path / "new" / "ours.key_secret"
    write_key_file(ours, PUBLIC, secret=SECRET, rights={"publish": "a.**"})
    assert zmq.auth.load_certificate(ours) == (PUBLIC.encode(), SECRET.encode())
    assert (ours.stat().st_mode & 0o777, ours.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert SECRET not in repr(read_pair(ours))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """An existing file or link is not overwritten."""
    file = tmp_path / "a.key"
    write_key_file(file, PUBLIC)
    with pytest.raises(KeyFileError, match=r"a\.key: is there already"):
        write_key_file(file, PUBLIC)
    (tmp_path / "b.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match=r"b\.key"):
        write_key_file(tmp_path / "b.key", PUBLIC)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "holds no public key"),
        ("curve\n public-key = 'short'\n", "not 40 letters of Z85"),
        (f"curve\n public-key = '{'#' * 40}'\n", "not 40 letters of Z85"),
        (f"metadata\n public-key = '{PUBLIC}'\n", "holds no public key"),
        (f"curve\n public-key = '{PUBLIC}'\n", "holds no secret key"),
        ("\udcff", "is no key file"),
        (None, "No such file"),
    ],
    ids=["empty", "short", "no Z85", "other section", "no secret", "no text", "missing"],
)
def test_files_at_fault(tmp_path: Path, content: str | None, why: str) -> None:
    """Each fault is one line that names the file."""
    file = tmp_path / "a.key_secret"
    if content is not None:
        file.write_bytes(content.encode(errors="surrogateescape"))
        file.chmod(0o600)
    with pytest.raises(KeyFileError, match=why) as raised:
        read_pair(file)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_secret_that_others_can_read(tmp_path: Path) -> None:
    """A secret key that others can read is refused; the message has the remedy."""
    file = tmp_path / "a.key_secret"
    write_key_file(file, PUBLIC, secret=SECRET)
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match=f"mode 0640.*chmod 600 {file}") as raised:
        read_pair(file)
    assert SECRET not in str(raised.value)


def test_access_list(tmp_path: Path) -> None:
    """Every `*.key` file of a folder is a grant with its rights; a key without rights may do nothing."""
    write_key_file(tmp_path / "a.key", PUBLIC, rights={"publish": "order.*, cart.**", "subscribe": "health.**"})
    other = zmq.curve_keypair()[0].decode()
    write_key_file(tmp_path / "b.key", other, rights={"role": "bridge"})
    (tmp_path / "notes.txt").write_text("not a key")
    access_list = read_access_list(tmp_path)
    assert access_list[PUBLIC] == Grant("a", PUBLIC, ("order.*", "cart.**"), ("health.**",))
    assert access_list[other] == Grant("b", other, bridge=True)


@pytest.mark.parametrize(
    ("name", "shown"), [(b"\xff.key", r"\udcff"), (b"a\nb.key", r"a\nb"), (b"caf\xc3\xa9.key", "café")]
)
def test_names_of_key_files(tmp_path: Path, name: bytes, shown: str) -> None:
    """The name of a key is text that can be shown and emitted, whatever bytes the name of its file is."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    write_key_file(path, PUBLIC)
    (grant,) = read_access_list(tmp_path).values()
    assert grant.name == shown
    assert grant.name.encode()


def test_a_pipe_is_no_key_file(tmp_path: Path) -> None:
    """A pipe in a folder of keys, or in place of one, is refused at once."""
    os.mkfifo(tmp_path / "x.key", 0o600)
    for read in (lambda: read_access_list(tmp_path), lambda: read_pair(tmp_path / "x.key")):
        with pytest.raises(KeyFileError, match="is not a regular file"):
            read()


def test_access_lists_that_are_not_valid(tmp_path: Path) -> None:
    """Duplicate keys, secrets, wrong patterns or roles, and files that others may change are refused."""
    with pytest.raises(KeyFileError, match="no such folder"):
        read_access_list(tmp_path / "none")
    write_key_file(tmp_path / "a.key", PUBLIC)
    with pytest.raises(KeyFileError, match="Not a directory"):
        read_access_list(tmp_path / "a.key")
    for rights, why in (
        ({"publish": "a b"}, "holds a space"),
        ({"role": "root"}, "role 'root'"),
        ({}, "same key as in"),
    ):
        write_key_file(tmp_path / "b.key", PUBLIC, rights=rights)
        with pytest.raises(KeyFileError, match=why):
            read_access_list(tmp_path)
        (tmp_path / "b.key").unlink()
    write_key_file(tmp_path / "b.key", PUBLIC, secret=SECRET)
    with pytest.raises(KeyFileError, match="belongs to its owner"):
        read_grant(tmp_path / "b.key")
    (tmp_path / "b.key").unlink()
    (tmp_path / "a.key").chmod(0o622)
    with pytest.raises(KeyFileError, match=r"others may change it.*chmod go-w"):
        read_access_list(tmp_path)
    (tmp_path / "a.key").chmod(0o644)
    tmp_path.chmod(0o777)
    with pytest.raises(KeyFileError, match="others may change it"):
        read_access_list(tmp_path)


def test_a_secret_that_another_gave_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of another owner may be readable by the group, as systemd's are, but not by everybody."""
    path = tmp_path / "a.key_secret"
    write_key_file(path, PUBLIC, secret=SECRET)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    path.chmod(0o440)
    assert read_pair(path).public == PUBLIC
    for mode in (0o444, 0o460, 0o441):
        path.chmod(mode)
        with pytest.raises(KeyFileError, match="others can read"):
            read_pair(path)


def test_fingerprint() -> None:
    """A fingerprint has sixteen digits, is the same each time, and differs for another key."""
    assert fingerprint(PUBLIC) == fingerprint(PUBLIC)
    assert len(fingerprint(PUBLIC)) == 16
    assert fingerprint(PUBLIC) != fingerprint(SECRET)


def test_what_is_a_key() -> None:
    """Every key that ZeroMQ makes is valid, and nothing that it cannot read."""
    assert all(is_key(zmq.curve_keypair()[0].decode()) for _ in range(50))
    assert not is_key("x" * 39)
    assert not is_key("#" * 40)
    assert not is_key("ü" * 40)
