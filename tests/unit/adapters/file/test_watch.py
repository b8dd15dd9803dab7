"""Changes of files, and lines of files that grow and are rotated."""

import os
from pathlib import Path
from typing import Any

import pytest

from bridge.adapters.file import watch as module
from bridge.adapters.file.paths import Glob
from bridge.adapters.file.tree import Tree
from bridge.adapters.file.watch import Changes, Piece, Tail
from bridge.core.errors import NotConnectedError


def changes(root: Path, glob: str = "**") -> Changes:
    """Make a `Changes` that has begun."""
    made = Changes(Tree(root), Glob(glob))
    made.begin()
    return made


@pytest.fixture
def tail_of(tmp_path: Path) -> Any:
    """Make tails that have begun; close them at the end."""
    made: list[Tail] = []

    def tail(glob: str = "*.log", max_line: int = 100) -> Tail:
        made.append(Tail(Tree(tmp_path), Glob(glob), max_line))
        made[-1].begin()
        return made[-1]

    yield tail
    for one in made:
        one.close()


def add(path: Path, text: str) -> None:
    """Append to a file."""
    with path.open("a") as file:
        file.write(text)


def told(watch: Changes) -> list[tuple[str, str]]:
    """Poll once and return (what, path) for each change."""
    return [(news["change"], path) for path, news in watch.poll()]


def test_created_changed_deleted(tmp_path: Path) -> None:
    """Each change is reported once; what was there at first is not."""
    (tmp_path / "old").write_text("x")
    watch = changes(tmp_path)
    assert told(watch) == []
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "new").write_text("12")
    assert told(watch) == [("created", "sub/new")]
    add(tmp_path / "sub" / "new", "3")
    ((path, news),) = watch.poll()
    assert path == "sub/new"
    modified = (tmp_path / "sub" / "new").stat().st_mtime_ns // 1_000_000
    assert news == {"change": "changed", "path": "sub/new", "size": 3, "modified_ms": modified}
    (tmp_path / "old").unlink()
    assert watch.poll() == [("old", {"change": "deleted", "path": "old"})]
    assert told(watch) == []


def test_an_atomic_replacement_is_a_change(tmp_path: Path) -> None:
    """A replacement is a change, even of the same size at the same time."""
    (tmp_path / "x").write_text("1")
    os.utime(tmp_path / "x", ns=(0, 0))
    watch = changes(tmp_path)
    (tmp_path / ".draft").write_text("2")
    os.utime(tmp_path / ".draft", ns=(0, 0))
    (tmp_path / ".draft").rename(tmp_path / "x")
    assert told(watch) == [("changed", "x")]


def test_a_rename_is_two_changes(tmp_path: Path) -> None:
    """A rename is a deletion and a creation, in this order."""
    (tmp_path / "a").touch()
    watch = changes(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert told(watch) == [("deleted", "a"), ("created", "b")]


def test_a_watch_without_its_root(tmp_path: Path) -> None:
    """The loss of the root is an error, and no file is reported as deleted."""
    (tmp_path / "root").mkdir()
    watch = changes(tmp_path / "root")
    (tmp_path / "root").rmdir()
    with pytest.raises(NotConnectedError):
        watch.poll()


def test_lines_as_they_come(tmp_path: Path, tail_of: Any) -> None:
    """New lines are read from the end of what was there; only whole ones, without their line ends."""
    file = tmp_path / "a.log"
    file.write_text("before\nhalf")
    tail = tail_of()
    assert tail.poll() == []
    add(file, "-line\none\r\n\ntw")
    assert tail.poll() == [("a.log", b"-line"), ("a.log", b"one"), ("a.log", b"")]
    add(file, "o\n")
    assert tail.poll() == [("a.log", b"two")]


def test_a_new_file_is_read_from_its_beginning(tmp_path: Path, tail_of: Any) -> None:
    """A file that is created later is read from its beginning."""
    tail = tail_of()
    (tmp_path / "b.log").write_text("1\n2\n")
    (tmp_path / "b.txt").write_text("no\n")
    assert tail.poll() == [("b.log", b"1"), ("b.log", b"2")]


@pytest.mark.parametrize("glob", ["a.log", "a.log*"])
def test_rotation_by_renaming_loses_nothing(tmp_path: Path, tail_of: Any, glob: str) -> None:
    """After a rotation the rest of the old file is read before the new one, and no line twice."""
    file = tmp_path / "a.log"
    file.touch()
    tail = tail_of(glob)
    with file.open("a") as old:
        old.write("1\n")
        old.flush()
        file.rename(tmp_path / "a.log.1")
        old.write("2\n")
        old.flush()
        file.write_text("3\n")
        assert [line for _, line in tail.poll()] == [b"1", b"2", b"3"]
        old.write("4\n")
        old.flush()
        assert [line for _, line in tail.poll()] == [b"4"]
    add(file, "5\n")
    assert tail.poll() == [("a.log", b"5")]


def test_a_deleted_file_is_let_go(tmp_path: Path, tail_of: Any) -> None:
    """A deleted file is closed after some polls without a new line, and its last, incomplete line delivered."""
    before = len(list(Path("/dev/fd").iterdir()))
    file = tmp_path / "a.log"
    file.touch()
    tail = tail_of()
    add(file, "last\nwords")
    file.unlink()
    lines = [line for _ in range(20) for _, line in tail.poll()]
    assert lines == [b"last", b"words"]
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_rotation_by_truncating(tmp_path: Path, tail_of: Any) -> None:
    """A truncated file is read from its beginning."""
    file = tmp_path / "a.log"
    file.write_text("long text\n")
    tail = tail_of()
    os.truncate(file, 0)
    add(file, "new\n")
    assert tail.poll() == [("a.log", b"new")]


def test_long_lines_come_in_pieces(tmp_path: Path, tail_of: Any) -> None:
    """A line over the limit comes in pieces, with or without an end, and memory stays bounded."""
    tail = tail_of(max_line=4)
    file = tmp_path / "a.log"
    file.write_text("123456789\nabcdefghij")
    assert [line for _, line in tail.poll()] == [b"1234", b"5678", b"9", b"abcd", b"efgh"]
    add(file, "k\nnext\n")
    assert [line for _, line in tail.poll()] == [b"ijk", b"next"]


def test_pieces_are_numbered(tmp_path: Path, tail_of: Any) -> None:
    """Each piece of a long line has its number, and the last one says so, also where they come one by one."""
    tail = tail_of(max_line=4)
    file = tmp_path / "a.log"
    file.write_text("123456789\nabcdefghij")
    lines = [line for _, line in tail.poll()]
    add(file, "klm\n1234\n12345")
    lines += [line for _, line in tail.poll()]
    file.unlink()
    for _ in range(20):
        lines += [line for _, line in tail.poll()]
    assert [(bytes(one), one.number, one.last) if isinstance(one, Piece) else one for one in lines] == [
        (b"1234", 1, False),
        (b"5678", 2, False),
        (b"9", 3, True),
        (b"abcd", 1, False),
        (b"efgh", 2, False),
        (b"ijkl", 3, False),
        (b"m", 4, True),
        b"1234",
        (b"1234", 1, False),
        (b"5", 2, True),
    ]


def test_much_comes_in_several_polls(tmp_path: Path, tail_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much content is read in several polls, and `more` tells that the next should follow at once."""
    monkeypatch.setattr(module, "_CHUNK", 10)
    tail = tail_of()
    (tmp_path / "a.log").write_text("".join(f"{n}\n" for n in range(10, 30)))
    lines = tail.poll()
    assert len(lines) == 3
    assert tail.more
    while tail.more:
        lines += tail.poll()
    assert lines == [("a.log", str(n).encode()) for n in range(10, 30)]


def test_a_large_file_keeps_nobody_waiting(tmp_path: Path, tail_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files take turns: while a large one is read, lines of its neighbours come with the next polls."""
    monkeypatch.setattr(module, "_CHUNK", 10)
    monkeypatch.setattr(module, "_POLL", 25)
    tail = tail_of()
    for name in "abcdefgh":
        (tmp_path / f"{name}.log").write_text(f"{name}\n" * (100 if name in "ac" else 1))
    polls = 0
    waiting = set("bdefgh")
    while waiting:
        lines = tail.poll()
        polls += 1
        assert len(lines) <= 15
        waiting -= {line.decode() for _, line in lines}
    assert polls <= 4
    count = 0
    while tail.more:
        count += len(tail.poll())
    assert count > 100


def test_a_successor_waits_for_its_predecessor(tmp_path: Path, tail_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a rotated file is read before the file that has its name now, wherever a poll begins."""
    monkeypatch.setattr(module, "_CHUNK", 10)
    monkeypatch.setattr(module, "_POLL", 10)
    tail = tail_of()
    for name in ("a.log", "b.log"):
        add(tmp_path / name, f"{name[0]}{name[0]}\n" * 20)
    lines = tail.poll()
    (tmp_path / "a.log").rename(tmp_path / "a.old")
    add(tmp_path / "a.log", "new\n")
    while tail.more:
        lines += tail.poll()
    assert [line for _, line in lines if line != b"bb"] == [*[b"aa"] * 20, b"new"]
    assert [line for _, line in lines].count(b"bb") == 20


def test_all_open_files_are_rotated_at_once(tmp_path: Path, tail_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each open file was just rotated away, new ones are read at once, and the last lines of the old ones."""
    monkeypatch.setattr(module, "MAX_OPEN", 2)
    for name in ("a", "b"):
        (tmp_path / f"{name}.log").touch()
    tail = tail_of()
    for name in ("a", "b"):
        add(tmp_path / f"{name}.log", "last\n")
        (tmp_path / f"{name}.log").rename(tmp_path / f"{name}.old")
    for name in ("a", "c", "d"):
        add(tmp_path / f"{name}.log", "new\n")
    found = [one for _ in range(2) for one in tail.poll()]
    new = [(f"{name}.log", b"new") for name in ("a", "c", "d")]
    assert sorted(found) == sorted([("a.log", b"last"), ("b.log", b"last"), *new])


def test_a_predecessor_that_is_gone(tmp_path: Path, tail_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read where the one before it was closed for want of room, with lines left, and then deleted."""
    monkeypatch.setattr(module, "MAX_OPEN", 1)
    monkeypatch.setattr(module, "_CHUNK", 10)
    tail = tail_of()
    add(tmp_path / "a.log", "a\n" * 100)
    tail.poll()
    (tmp_path / "a.log").rename(tmp_path / "b.log")
    add(tmp_path / "a.log", "new\n")
    add(tmp_path / "c.log", "c\n")
    tail.poll()
    (tmp_path / "b.log").unlink()
    found = [one for _ in range(30) for one in tail.poll()]
    assert ("a.log", b"new") in found
    assert not tail.more


def test_links_are_not_followed(tmp_path: Path, tail_of: Any) -> None:
    """Links are not followed, neither at first nor later."""
    (tmp_path / "outside").write_text("secret\n")
    (tmp_path / "a.log").symlink_to("outside")
    tail = tail_of()
    add(tmp_path / "outside", "secret\n")
    assert tail.poll() == []


def test_more_files_than_can_be_open(tmp_path: Path, tail_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of a glob is read, however many there are; only some of them are kept open."""
    monkeypatch.setattr(module, "MAX_OPEN", 3)
    for n in range(5):
        (tmp_path / f"{n}.log").write_text("before\n")
    before = len(list(Path("/dev/fd").iterdir()))
    tail = tail_of()
    assert tail.crowded
    for n in range(5, 10):
        (tmp_path / f"{n}.log").write_text(f"{n}-0\n")
    got = tail.poll()
    for turn in range(1, 4):
        for n in range(10):
            add(tmp_path / f"{n}.log", f"{n}-{turn}\n{n}-half")
        got += tail.poll()
        for n in range(10):
            add(tmp_path / f"{n}.log", "way\n")
        got += tail.poll()
    assert len(list(Path("/dev/fd").iterdir())) <= before + 3
    for n in range(10):
        lines = [line.decode() for path, line in got if path == f"{n}.log"]
        turns = [line for turn in range(1, 4) for line in (f"{n}-{turn}", f"{n}-halfway")]
        assert lines == ([f"{n}-0"] if n >= 5 else []) + turns
    for n in range(7):
        (tmp_path / f"{n}.log").unlink()
    for _ in range(20):
        tail.poll()
    assert not tail.crowded


def test_a_file_that_cannot_be_read(tmp_path: Path, tail_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be read is named while it is so; its neighbours are read, and it is when it can be."""
    tail = tail_of()
    really_open = os.open

    def refusing(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "a.log":
            raise PermissionError(13, "Permission denied")
        return really_open(path, flags, mode, dir_fd=dir_fd)

    add(tmp_path / "a.log", "a\n")
    add(tmp_path / "b.log", "b\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refusing)
        assert tail.poll() == [("b.log", b"b")]
        assert tail.left_out == {"a.log": "Permission denied"}
    assert tail.poll() == [("a.log", b"a")]
    assert tail.left_out == {}


def test_a_file_whose_reading_fails(tmp_path: Path, tail_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk error in one file is told as that file's; its neighbours are read, and it is read again later."""
    tail = tail_of()
    (tmp_path / "a.log").touch()
    (tmp_path / "b.log").touch()
    assert tail.poll() == []
    add(tmp_path / "a.log", "a\n")
    add(tmp_path / "b.log", "b\n")
    bad = (tmp_path / "a.log").stat().st_ino
    really_read = os.pread

    def failing(descriptor: int, count: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == bad:
            raise OSError(5, "Input/output error")
        return really_read(descriptor, count, offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", failing)
        assert tail.poll() == [("b.log", b"b")]
        assert tail.left_out == {"a.log": "Input/output error"}
    assert tail.poll() == [("a.log", b"a")]
    assert tail.left_out == {}


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_a_byte_order_mark(tmp_path: Path, tail_of: Any, mark: bytes) -> None:
    """A byte-order mark at the beginning of a file is not a part of its first line; elsewhere it stays."""
    tail = tail_of()
    (tmp_path / "a.log").write_bytes(mark)
    assert tail.poll() == []
    with (tmp_path / "a.log").open("ab") as file:
        file.write(b"one\n\xef\xbb\xbftwo\n")
    assert [line for _, line in tail.poll()] == [b"one", b"\xef\xbb\xbftwo"]


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("letter", ["é", "€", "😀", "e"])
def test_no_piece_ends_within_a_character(tmp_path: Path, tail_of: Any, letter: str, *, ended: bool) -> None:
    """The pieces of a long line are text each, wherever the limit falls, and together they are the line."""
    tail = tail_of(max_line=100)
    for shift in range(5):
        text = "x" * (96 + shift) + letter * 80
        file = tmp_path / f"{shift}.log"
        file.write_text(text + "\n" if ended else text)
        pieces = [line for path, line in tail.poll() if path == file.name]
        assert all(96 < len(piece) <= 100 for piece in pieces[:-1])
        add(file, "" if ended else "\n")
        pieces += [line for path, line in tail.poll() if path == file.name]
        assert "".join(piece.decode() for piece in pieces) == text


def test_pieces_of_what_is_no_text(tmp_path: Path, tail_of: Any) -> None:
    """Bytes that are no text come in pieces, too, and none is lost."""
    data = bytes(255 - n % 128 for n in range(1000)).replace(b"\n", b"")
    tail = tail_of(max_line=7)
    (tmp_path / "a.log").write_bytes(data + b"\n")
    assert b"".join(line for _, line in tail.poll()) == data
