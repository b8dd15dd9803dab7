"""Find changed files and appended lines by polling. All functions block; call them in threads."""

import os
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any, Final

from bridge.adapters.file.paths import Glob, split_path
from bridge.adapters.file.tree import Scan, Tree

#: Polls without a new line after which a file that no longer matches the glob (rotated, deleted) is closed.
_IDLE_POLLS: Final = 10
#: Files of one subscription that are kept open; each costs a descriptor.
MAX_OPEN: Final = 256
#: Bytes that one poll reads of one file, and of all files. What is left comes with the next poll, which begins with
#: another file, so that a large file does not keep the others waiting.
_CHUNK: Final = 64 * 1024
_POLL: Final = 1024 * 1024


def describe(path: str, found: os.stat_result) -> dict[str, Any]:
    """Return what a message says about a file: `{path, size, modified_ms}`, in bytes and Unix milliseconds."""
    return {"path": path, "size": found.st_size, "modified_ms": found.st_mtime_ns // 1_000_000}


class Changes:
    """Finds files that were created, changed or deleted since the poll before; `begin` is the first."""

    more = False
    """Whether the next poll should follow at once: never."""

    def __init__(self, tree: Tree, glob: Glob) -> None:
        self._tree = tree
        self._glob = glob
        self._known: dict[str, os.stat_result] = {}
        self.left_out: dict[str, str] = {}
        """What also matches but cannot be watched, as a person may read it → why."""

    @property
    def crowded(self) -> bool:
        """Return whether there are more files than can be kept open: never, as none is."""
        return False

    def begin(self) -> None:
        """Note the files that are there. Raises BridgeError where the root is gone."""
        self._known, self.left_out = self._tree.scan(self._glob)

    def poll(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (path, message) for each change, deleted files first. Raises BridgeError where the root is gone."""
        before = self._known
        self._known, self.left_out = self._tree.scan(self._glob)
        now = self._known
        changes: list[tuple[str, dict[str, Any]]] = [
            (path, {"change": "deleted", "path": path}) for path in before if path not in now
        ]
        for path, found in now.items():
            if path not in before:
                changes.append((path, {"change": "created", **describe(path, found)}))
            elif _mark(found) != _mark(before[path]):
                changes.append((path, {"change": "changed", **describe(path, found)}))
        return changes

    def close(self) -> None:
        """Do nothing: no file is open."""


def _mark(found: os.stat_result) -> tuple[int, int, int]:
    return (found.st_ino, found.st_size, found.st_mtime_ns)


class Piece(bytes):
    """A piece of a line that is longer than `max_line`.

    Attributes:
        number: Which piece of its line it is, from 1.
        last: Whether it is the last one.
    """

    number: int
    last: bool

    @classmethod
    def make(cls, content: bytes, number: int, *, last: bool) -> "Piece":
        """Return a piece with this content."""
        made = cls(content)
        made.number, made.last = number, last
        return made


class _Followed:
    """One file that grows.

    Attributes:
        path: Where it was seen last.
        position: Up to where it was read.
        size: The size at which there was nothing more to read.
        descriptor: Where it is open; a file that stays open is read to its end even after it was rotated.
        after: The file that had its path before; its lines come first.
        more: Whether there was more to read than one poll reads.
        idle: Polls without a new line since it no longer matches.
        fault: Why it could not be read the last time.
    """

    __slots__ = (
        "_at_start",
        "_pieces",
        "_rest",
        "after",
        "descriptor",
        "fault",
        "idle",
        "more",
        "path",
        "position",
        "size",
    )

    def __init__(self, path: str, position: int, after: "_Followed | None" = None) -> None:
        self.path = path
        self.position = position
        self.size = position
        self.descriptor: int | None = None
        self.after = after
        self.more = False
        self.idle = 0
        self.fault: str | None = None
        self._at_start = position == 0
        self._pieces = 0  # of the line whose end has not come yet
        self._rest = b""

    def lines(self, max_line: int, *, is_text: bool) -> list[bytes]:
        """Return new whole lines without their ends, from one chunk.

        Args:
            max_line: Bytes; a longer line comes in pieces.
            is_text: Whether a byte-order mark at the beginning of the file is no part of its first line.

        Raises:
            OSError: The file cannot be read.
        """
        self._at_start = self._at_start and is_text
        assert self.descriptor is not None  # noqa: S101  # its owner has opened it
        if os.fstat(self.descriptor).st_size < self.position:
            # Truncated in place, as `copytruncate` does.
            self.position, self._rest, self._pieces, self._at_start = 0, b"", 0, is_text
        chunk = os.pread(self.descriptor, _CHUNK, self.position)
        self.position += len(chunk)
        self.more = len(chunk) == _CHUNK
        self.size = self.position
        self.idle = 0 if chunk else self.idle + 1
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        found: list[bytes] = []
        for line in whole:
            found += self._cut(self._without_mark(line).removesuffix(b"\r"), max_line)
        if len(self._rest) > max_line:
            *pieces, self._rest = _pieces(self._without_mark(self._rest), max_line)
            for piece in pieces:
                self._pieces += 1
                found.append(Piece.make(piece, self._pieces, last=False))
        return found

    def _cut(self, line: bytes, max_line: int) -> list[bytes]:
        """Return a line, or what is left of it, whose end has come: as it is, or in pieces where it is too long."""
        before, self._pieces = self._pieces, 0
        if not before and len(line) <= max_line:
            return [line]
        *pieces, last = _pieces(line, max_line)
        found: list[bytes] = [Piece.make(piece, before + n, last=False) for n, piece in enumerate(pieces, 1)]
        return [*found, Piece.make(last, before + len(pieces) + 1, last=True)]

    def _without_mark(self, line: bytes) -> bytes:
        """Remove a byte-order mark from the file's first line."""
        mark = self._at_start and line.startswith(BOM_UTF8)
        self._at_start = False
        return line[len(BOM_UTF8) :] if mark else line

    def close(self) -> bytes:
        """Close the file; return the incomplete line at its end."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
        rest, self._rest = self._rest, b""
        return Piece.make(rest, self._pieces + 1, last=True) if rest and self._pieces else rest

    def put_aside(self) -> None:
        """Close the file; the incomplete line at its end is read again when it is opened again."""
        self.position -= len(self.close())


def _pieces(line: bytes, size: int) -> Iterator[bytes]:
    """Yield a line in pieces of at most `size` bytes, 4 or more; none ends within a character of UTF-8."""
    start = 0
    while len(line) - start > size:
        end = start + size
        for back in range(1, 4):
            lead = line[end - back]
            if lead & 0xC0 != 0x80:  # the first byte of a character: of as many bytes as it has ones at its top
                length = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
                end -= back if length > back else 0
                break
        yield line[start:end]
        start = end
    yield line[start:]


class Tail:
    """Finds new lines in all files of a glob: in those of `begin` from their end, in later ones from their beginning.

    A file is identified by device and inode, so reading continues after it was renamed: under the new name or, where
    that does not match, until nothing more comes. Rotation by renaming loses no line of a file that is open; rotation
    by truncating may. Where more than MAX_OPEN files match, those that grew last are open. The others are read, too;
    but what is written to one of them is lost if it is renamed, replaced or deleted before the next poll.

    Attributes:
        more: Whether the last poll left lines unread, so that the next one should follow at once.
    """

    def __init__(self, tree: Tree, glob: Glob, max_line: int, *, is_text: bool = True) -> None:
        """Begin with nothing; `begin` looks for files. The arguments are those of `_Followed.lines`."""
        self._is_text = is_text
        self._tree = tree
        self._glob = glob
        self._max_line = max_line
        self.more = False
        self._unfit: dict[str, str] = {}
        self._followed: dict[tuple[int, int], _Followed] = {}
        self._open: dict[tuple[int, int], _Followed] = {}  # the one that grew last is the last
        self._first = 0  # where the next poll begins

    @property
    def crowded(self) -> bool:
        """Return whether there are more files than can be kept open."""
        return len(self._followed) > MAX_OPEN

    @property
    def left_out(self) -> dict[str, str]:
        """Return what also matches but cannot be read, as a person may read it → why."""
        return self._unfit | {file.path: file.fault for file in self._followed.values() if file.fault}

    def begin(self) -> None:
        """Note where the files that are there end, and open them. Raises BridgeError where the root is gone."""
        scan = self._tree.scan(self._glob)
        self._unfit = scan.left_out
        for path, found in sorted(scan.found.items(), key=lambda item: item[1].st_mtime_ns):
            self._followed.setdefault(_key(found), _Followed(path, found.st_size))
        for key in list(self._followed)[-MAX_OPEN:]:
            self._reopen(key, self._followed[key])

    def _reopen(self, key: tuple[int, int], file: _Followed) -> bool:
        """Open a file; return False where it is not there any more, or has a fault."""
        file.fault = None
        try:
            descriptor = self._tree.open_file(split_path(file.path))
        except FileNotFoundError:
            return False
        except OSError as error:
            file.fault = error.strerror or type(error).__name__
            return False
        if _key(os.fstat(descriptor)) != key:  # another file has its name by now
            os.close(descriptor)
            return False
        file.descriptor = descriptor
        self._open[key] = file
        return True

    def _close(self, key: tuple[int, int]) -> bytes:
        self._open.pop(key, None)
        file = self._followed.pop(key)
        file.more = False  # its successor waits no longer
        return file.close()

    def poll(self) -> list[tuple[str, bytes]]:
        """Return (path, line) for each line; those of a rotated file before those of the file that replaced it.

        Raises BridgeError where the root is gone.
        """
        scan = self._tree.scan(self._glob)
        self._unfit = scan.left_out
        there = self._look(scan)
        keys = list(self._followed)
        first = self._first % len(keys) if keys else 0
        lines: list[tuple[str, bytes]] = []
        room, waits = _POLL, False
        for number, key in enumerate(keys[first:] + keys[:first]):
            if room <= 0:
                self._first = first + number
                break
            file = self._followed[key]
            if file.after is not None and file.after.more:
                waits = True
                continue
            file.after = None
            before = file.position
            lines += [(file.path, line) for line in self._lines(key, file, there)]
            room -= max(0, file.position - before)
        self.more = room <= 0 or waits or any(file.more for file in self._followed.values())
        return lines

    def _look(self, scan: Scan) -> dict[tuple[int, int], os.stat_result]:
        """Note new files and new names; return what is there."""
        by_path = {file.path: file for file in self._followed.values()}
        there: dict[tuple[int, int], os.stat_result] = {}
        for path, found in scan.found.items():
            key = _key(found)
            there[key] = found
            if key in self._followed:
                self._followed[key].path = path
                continue
            after = by_path.get(path)
            if after is not None:
                after.more = after.descriptor is not None  # what it got last is read before
            self._followed[key] = _Followed(path, 0, after)
            if len(self._open) < MAX_OPEN:
                self._reopen(key, self._followed[key])
        return there

    def _lines(
        self, key: tuple[int, int], file: _Followed, there: dict[tuple[int, int], os.stat_result]
    ) -> list[bytes]:
        """Return the new lines of one file, from one chunk."""
        found = there.get(key)
        if found is not None:
            file.idle = 0
            if found.st_size == file.size and not file.more:
                return []
        if file.descriptor is None:
            if found is None:
                self._close(key)
                return []
            if not self._reopen(key, file):
                file.more = False
                return []
            self._make_room(key, there)
        try:
            lines = file.lines(self._max_line, is_text=self._is_text)
        except OSError as error:
            file.fault = error.strerror or type(error).__name__
            self._open.pop(key, None)
            file.put_aside()
            file.more = False
            return []
        self._open[key] = self._open.pop(key)
        if found is None and file.idle >= _IDLE_POLLS and (rest := self._close(key)):
            lines.append(rest)
        return lines

    def _make_room(self, opened: tuple[int, int], there: dict[tuple[int, int], os.stat_result]) -> None:
        """Close the file that grew longest ago, of those that can be opened again, but not the one just opened."""
        if len(self._open) > MAX_OPEN:
            oldest = next((key for key in self._open if key in there and key != opened), None)
            if oldest is not None:
                self._open.pop(oldest).put_aside()

    def close(self) -> None:
        """Close all files."""
        while self._followed:
            self._followed.popitem()[1].close()
        self._open.clear()


def _key(found: os.stat_result) -> tuple[int, int]:
    return (found.st_dev, found.st_ino)
