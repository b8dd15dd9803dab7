"""Reading and writing below a root, and never outside of it."""

import errno
import os
import stat
from pathlib import Path

import pytest

from bridge.adapters.file.errors import translate
from bridge.adapters.file.paths import MAX_DEPTH, Glob
from bridge.adapters.file.tree import Tree
from bridge.core.errors import BridgeError, NotConnectedError, RejectedError, UnavailableError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a root, and beside it a secret."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    made = tmp_path / "root"
    made.mkdir()
    return made


def code(call: object) -> str | int | None:
    """Return the code with which a call is rejected."""
    assert callable(call)
    with pytest.raises(RejectedError) as caught:
        call()
    return caught.value.code


def descriptors() -> int:
    """Return how many file descriptors this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def test_write_and_read(root: Path) -> None:
    """What is written is read back; missing directories are created, and no draft is left in them."""
    tree = Tree(root)
    assert tree.replace(("a", "b", "c.txt"), b"hello") == 5
    assert tree.read(("a", "b", "c.txt"), 5) == b"hello"
    assert tree.replace(("a", "b", "c.txt"), b"") == 0
    assert [path.name for path in (root / "a" / "b").iterdir()] == ["c.txt"]


def test_replacing_is_atomic(root: Path) -> None:
    """A reader that has the old file open still reads all of it; permissions are kept."""
    file = root / "x"
    file.write_text("old")
    file.chmod(0o640)
    with file.open() as reader:
        Tree(root).replace(("x",), b"new")
        assert reader.read() == "old"
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_failed_write_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the old file and no draft."""
    (root / "x").write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BridgeError) as caught:
        Tree(root).replace(("x",), b"new")
    assert caught.value.kind == "unavailable"
    assert {path.name: path.read_text() for path in root.iterdir()} == {"x": "old"}


def test_append(root: Path) -> None:
    """Appending creates the file, then grows it."""
    tree = Tree(root)
    assert tree.append(("d", "log"), b"a\n") == 2
    assert tree.append(("d", "log"), b"b\n") == 4
    assert (root / "d" / "log").read_text() == "a\nb\n"


def full_after(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Let `os.write` fail as on a full disk after so many bytes in all."""
    really_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = really_write(descriptor, bytes(data)[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("room", [0, 1, 5])
def test_an_append_that_fails_half_way_is_taken_back(root: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A full disk leaves no torn line; the error says that nothing was written, so that it may be tried again."""
    (root / "log").write_text("before\n")
    with monkeypatch.context() as patched:
        full_after(patched, room)
        with pytest.raises(UnavailableError, match=r"log: No space left on device$") as caught:
            Tree(root).append(("log",), b"a long line\n", as_line=True)
    assert not caught.value.maybe_sent
    assert (root / "log").read_text() == "before\n"
    Tree(root).append(("log",), b"again\n", as_line=True)
    assert (root / "log").read_text() == "before\nagain\n"


def test_what_another_program_appended_is_not_taken_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another program has appended after a torn line, nothing is removed, and the error says so."""
    really_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        if bytes(data) != b"a line\n":
            with (root / "log").open("ab") as other:
                other.write(b"other\n")
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(descriptor, bytes(data)[:2])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(UnavailableError, match="2 bytes of it are in the file and cannot be taken back") as caught:
        Tree(root).append(("log",), b"a line\n")
    assert caught.value.maybe_sent
    assert (root / "log").read_bytes() == b"a other\n"


def test_a_file_server_that_has_no_room_after_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that comes only when the file is closed leaves open whether the content is there."""
    really_close = os.close
    (root / "log").touch()

    def close(descriptor: int) -> None:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        really_close(descriptor)
        if is_file:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "close", close)
    with pytest.raises(UnavailableError, match="log: Disk quota exceeded") as caught:
        Tree(root).append(("log",), b"a line\n")
    assert caught.value.maybe_sent


def test_a_line_begins_after_an_unfinished_one(root: Path) -> None:
    """A line is not glued to what a killed program left behind; other content is."""
    tree = Tree(root)
    (root / "log").write_text("torn")
    assert tree.append(("log",), b"whole\n", as_line=True) == 11
    (root / "data").write_text("a")
    tree.append(("data",), b"b")
    assert [(root / name).read_text() for name in ("log", "data")] == ["torn\nwhole\n", "ab"]


@pytest.mark.parametrize("target", ["../secret/key", "inner"])
def test_no_link_is_followed_as_a_file(root: Path, target: str) -> None:
    """A link in place of a file is refused, and what it points to is not changed."""
    (root / "inner").write_text("inner")
    (root / "link").symlink_to(target)
    tree = Tree(root)
    assert code(lambda: tree.read(("link",), 100)) == "link"
    assert code(lambda: tree.replace(("link",), b"x")) == "link"
    assert code(lambda: tree.append(("link",), b"x")) == "link"
    assert (root / target).read_text() in {"secret", "inner"}


def test_no_link_is_followed_as_a_directory(root: Path) -> None:
    """A link in place of a directory is not followed for reading, writing, listing or watching."""
    (root / "link").symlink_to("../secret")
    tree = Tree(root)
    assert code(lambda: tree.read(("link", "key"), 100)) == "not_a_directory"
    assert code(lambda: tree.replace(("link", "key"), b"x")) == "not_a_directory"
    assert code(lambda: tree.append(("link", "new"), b"x")) == "not_a_directory"
    assert code(lambda: tree.scan(Glob("*"), ("link",))) == "not_a_directory"
    assert not tree.scan(Glob("**"), directories=True).found
    assert [path.name for path in (root / "../secret").iterdir()] == ["key"]
    assert (root / "../secret/key").read_text() == "secret"


def test_nothing_is_written_through_a_hard_link(root: Path) -> None:
    """A file's second name outside of the root keeps its content: no append; a replacement is a new file."""
    (root / "key").hardlink_to(root / "../secret/key")
    tree = Tree(root)
    assert code(lambda: tree.append(("key",), b"x")) == "link"
    tree.replace(("key",), b"new")
    assert (root / "../secret/key").read_text() == "secret"
    assert tree.append(("key",), b"er") == 5


def test_a_directory_that_becomes_a_link_meanwhile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that becomes a link between two steps is not followed."""
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
    """A pipe is refused at once, and is not replaced."""
    os.mkfifo(root / "pipe")
    (root / "directory").mkdir()
    tree = Tree(root)
    assert code(lambda: tree.read(("pipe",), 100)) == "not_a_file"
    assert code(lambda: tree.append(("pipe",), b"x")) == "not_a_file"
    assert code(lambda: tree.replace(("pipe",), b"x")) == "not_a_file"
    assert code(lambda: tree.read(("directory",), 100)) == "not_a_file"
    assert code(lambda: tree.replace(("directory",), b"x")) == "not_a_file"
    assert not tree.scan(Glob("pipe")).found


def test_what_is_not_there_or_too_large(root: Path) -> None:
    """A missing file, a directory and a file over the limit are rejected with a code each."""
    (root / "x").write_text("12345")
    tree = Tree(root)
    assert code(lambda: tree.read(("y",), 100)) == "not_found"
    assert code(lambda: tree.read(("x", "y"), 100)) == "not_a_directory"
    assert code(lambda: tree.read(("x",), 4)) == "too_large"
    assert code(lambda: tree.scan(Glob("*"), ("y",))) == "not_found"


def test_scan(root: Path) -> None:
    """A scan is sorted, without hidden names, and with directories only where they are asked for."""
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/deep/d.txt", ".hidden/e.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    tree = Tree(root)
    assert list(tree.scan(Glob("*.txt")).found) == ["a.txt", "b.txt"]
    assert list(tree.scan(Glob("**"), ("sub",)).found) == ["sub/c.txt", "sub/deep/d.txt"]
    assert list(tree.scan(Glob("*"), directories=True).found) == ["a.txt", "b.txt", "sub"]
    assert tree.scan(Glob("**")).left_out == {}


@pytest.mark.parametrize(
    ("name", "shown", "why"),
    [
        (b"\xff.txt", r"\xff.txt", "its name is not UTF-8"),
        (b"a\nb.txt", r"a\x0ab.txt", "its name has control characters"),
        (b"\xed\xa0\x80.txt", r"\xed\xa0\x80.txt", "its name is not UTF-8"),
    ],
)
@pytest.mark.parametrize("directory", [False, True])
def test_names_that_cannot_be_used(root: Path, name: bytes, shown: str, why: str, *, directory: bool) -> None:
    """A name that is no plain text is left out, with its reason; what is beside it is found."""
    path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
    if directory:
        path.mkdir()
    else:
        path.touch()
    (root / "good.txt").touch()
    tree = Tree(root)
    scan = tree.scan(Glob("**"))
    assert list(scan.found) == ["good.txt"]
    assert scan.left_out == {shown: why}
    assert tree.scan(Glob("good*")).left_out == {}


def test_directories_that_are_too_deep(root: Path) -> None:
    """What is deeper than the limit is left out, and the directory is named."""
    (root / "/".join("d" * MAX_DEPTH)).mkdir(parents=True)
    scan = Tree(root).scan(Glob("**"))
    assert scan.left_out == {"/".join("d" * MAX_DEPTH): f"is deeper than {MAX_DEPTH} levels"}


def test_directories_that_cannot_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that may not be read is named, and what is beside it is found."""
    (root / "secret").mkdir()
    (root / "good").touch()
    really_open = os.open

    def refusing(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "secret":
            raise PermissionError(errno.EACCES, "Permission denied")
        return really_open(path, flags, mode, dir_fd=dir_fd)

    tree = Tree(root)
    monkeypatch.setattr(os, "open", refusing)
    scan = tree.scan(Glob("**"))
    assert (list(scan.found), scan.left_out) == (["good"], {"secret": "Permission denied"})


def test_the_root_is_that_very_directory(root: Path) -> None:
    """A root that is gone, or replaced by another directory, ends the session."""
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
    """No descriptor stays open, after success or after failure."""
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
    """Each error number has its error, with the path as given; none that needs a person is retryable."""
    error = translate(OSError(number, os.strerror(number)), "a/b")
    assert error.kind in {"rejected", "invalid", "overloaded", "unavailable"}
    assert error.message == f"a/b: {os.strerror(number)}"


def test_every_class_of_the_system_is_ours() -> None:
    """Python's subclasses of OSError are translated, also those without a number."""
    classes = [
        one for one in vars(__import__("builtins")).values() if isinstance(one, type) and issubclass(one, OSError)
    ]
    assert len(classes) > 10
    assert all(translate(one(), "x").kind == "unavailable" for one in classes)
