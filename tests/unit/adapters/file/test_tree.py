"""Reading and writing below a root, and never outside of it."""

import errno
import os
import stat
from pathlib import Path

import pytest

from bridge.adapters.file.errors import translate
from bridge.adapters.file.paths import Glob
from bridge.adapters.file.tree import Tree
from bridge.core.errors import BridgeError, NotConnectedError, RejectedError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root, beside which lies a secret."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    made = tmp_path / "root"
    made.mkdir()
    return made


def code(call: object) -> str | int | None:
    """What a call is rejected with."""
    assert callable(call)
    with pytest.raises(RejectedError) as caught:
        call()
    return caught.value.code


def descriptors() -> int:
    """How many this process holds."""
    return len(list(Path("/dev/fd").iterdir()))


def test_write_and_read(root: Path) -> None:
    """Directories on the way are made; nothing else is left in them."""
    tree = Tree(root)
    assert tree.replace(("a", "b", "c.txt"), b"hello") == 5
    assert tree.read(("a", "b", "c.txt"), 5) == b"hello"
    assert tree.replace(("a", "b", "c.txt"), b"") == 0
    assert [path.name for path in (root / "a" / "b").iterdir()] == ["c.txt"]


def test_replacing_is_atomic(root: Path) -> None:
    """Who has the old file open still reads it whole; permissions stay."""
    file = root / "x"
    file.write_text("old")
    file.chmod(0o640)
    with file.open() as reader:
        Tree(root).replace(("x",), b"new")
        assert reader.read() == "old"
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_failed_write_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither half a file nor a draft."""
    (root / "x").write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BridgeError) as caught:
        Tree(root).replace(("x",), b"new")
    assert caught.value.kind == "unavailable"
    assert {path.name: path.read_text() for path in root.iterdir()} == {"x": "old"}


def test_append(root: Path) -> None:
    """The file is made, then grows."""
    tree = Tree(root)
    assert tree.append(("d", "log"), b"a\n") == 2
    assert tree.append(("d", "log"), b"b\n") == 4
    assert (root / "d" / "log").read_text() == "a\nb\n"


@pytest.mark.parametrize("target", ["../secret/key", "inner"])
def test_no_link_is_followed_as_a_file(root: Path, target: str) -> None:
    """Wherever it points; what it points to stays as it is."""
    (root / "inner").write_text("inner")
    (root / "link").symlink_to(target)
    tree = Tree(root)
    assert code(lambda: tree.read(("link",), 100)) == "link"
    assert code(lambda: tree.replace(("link",), b"x")) == "link"
    assert code(lambda: tree.append(("link",), b"x")) == "link"
    assert (root / target).read_text() in {"secret", "inner"}


def test_no_link_is_followed_as_a_directory(root: Path) -> None:
    """Not for reading, writing, listing or watching."""
    (root / "link").symlink_to("../secret")
    tree = Tree(root)
    assert code(lambda: tree.read(("link", "key"), 100)) == "not_a_directory"
    assert code(lambda: tree.replace(("link", "key"), b"x")) == "not_a_directory"
    assert code(lambda: tree.append(("link", "new"), b"x")) == "not_a_directory"
    assert code(lambda: tree.scan(Glob("*"), ("link",))) == "not_a_directory"
    assert not tree.scan(Glob("**"), directories=True)
    assert [path.name for path in (root / "../secret").iterdir()] == ["key"]
    assert (root / "../secret/key").read_text() == "secret"


def test_nothing_is_written_through_a_hard_link(root: Path) -> None:
    """A second name outside of the root keeps its content: appending is refused, replacing makes a new file."""
    (root / "key").hardlink_to(root / "../secret/key")
    tree = Tree(root)
    assert code(lambda: tree.append(("key",), b"x")) == "link"
    tree.replace(("key",), b"new")
    assert (root / "../secret/key").read_text() == "secret"
    assert tree.append(("key",), b"er") == 5


def test_a_directory_that_becomes_a_link_meanwhile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapped between two steps of the walk, it leads nowhere."""
    (root / "a" / "b").mkdir(parents=True)
    tree = Tree(root)
    really_open = os.open

    def swapping(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "a":
            opened = really_open(path, flags, mode, dir_fd=dir_fd)
            (root / "a" / "b").rmdir()
            (root / "a" / "b").symlink_to(root / "../secret")
            return opened
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapping)
    assert code(lambda: tree.read(("a", "b", "key"), 100)) == "not_a_directory"


def test_only_regular_files(root: Path) -> None:
    """A pipe does not make the caller wait, and is no file to be replaced."""
    os.mkfifo(root / "pipe")
    (root / "directory").mkdir()
    tree = Tree(root)
    assert code(lambda: tree.read(("pipe",), 100)) == "not_a_file"
    assert code(lambda: tree.append(("pipe",), b"x")) == "not_a_file"
    assert code(lambda: tree.replace(("pipe",), b"x")) == "not_a_file"
    assert code(lambda: tree.read(("directory",), 100)) == "not_a_file"
    assert code(lambda: tree.replace(("directory",), b"x")) == "not_a_file"
    assert not tree.scan(Glob("pipe"))


def test_what_is_not_there_or_too_large(root: Path) -> None:
    """Said with a code each."""
    (root / "x").write_text("12345")
    tree = Tree(root)
    assert code(lambda: tree.read(("y",), 100)) == "not_found"
    assert code(lambda: tree.read(("x", "y"), 100)) == "not_a_directory"
    assert code(lambda: tree.read(("x",), 4)) == "too_large"
    assert code(lambda: tree.scan(Glob("*"), ("y",))) == "not_found"


def test_scan(root: Path) -> None:
    """Sorted, without hidden ones, directories only where they are asked for."""
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/deep/d.txt", ".hidden/e.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.txt")).touch()
    tree = Tree(root)
    assert list(tree.scan(Glob("*.txt"))) == ["a.txt", "b.txt"]
    assert list(tree.scan(Glob("**"), ("sub",))) == ["sub/c.txt", "sub/deep/d.txt"]
    assert list(tree.scan(Glob("*"), directories=True)) == ["a.txt", "b.txt", "sub"]


def test_the_root_is_that_very_directory(root: Path) -> None:
    """Gone, or another one in its place: the session is over."""
    with pytest.raises(NotConnectedError, match="No such file"):
        Tree(root / "missing")
    tree = Tree(root)
    tree.check()
    root.rename(root.with_name("moved"))
    with pytest.raises(NotConnectedError, match="No such file"):
        tree.check()
    root.mkdir()
    with pytest.raises(NotConnectedError, match="another directory than before"):
        tree.read(("x",), 1)


def test_nothing_stays_open(root: Path) -> None:
    """Neither after success nor after failure."""
    os.mkfifo(root / "pipe")
    tree = Tree(root)
    before = descriptors()
    for _ in range(3):
        tree.replace(("a", "b"), b"x")
        tree.append(("a", "c"), b"x")
        tree.read(("a", "b"), 1)
        tree.scan(Glob("**"), directories=True)
        assert code(lambda: tree.read(("pipe",), 1)) == "not_a_file"
        assert code(lambda: tree.replace(("a",), b"x")) == "not_a_file"
        assert code(lambda: tree.read(("a", "x", "y"), 1)) == "not_found"
    assert descriptors() == before


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_system_is_ours(number: int) -> None:
    """With the path as it was asked for, and nothing that could be tried again for ever where a person is needed."""
    error = translate(OSError(number, os.strerror(number)), "a/b")
    assert error.kind in {"rejected", "invalid", "overloaded", "unavailable"}
    assert error.message == f"a/b: {os.strerror(number)}"


def test_every_class_of_the_system_is_ours() -> None:
    """Python's own subclasses of OSError, some of which come without a number."""
    classes = [
        one for one in vars(__import__("builtins")).values() if isinstance(one, type) and issubclass(one, OSError)
    ]
    assert len(classes) > 10
    assert all(translate(one(), "x").kind == "unavailable" for one in classes)
