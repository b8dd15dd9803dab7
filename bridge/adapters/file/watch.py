"""Find changed files and appended lines by polling. All functions block; call them in threads."""

import os
from collections.abc import Iterator
from typing import Any, Final

import structlog

from bridge.adapters.file.errors import translated
from bridge.adapters.file.paths import Glob, split_path
from bridge.adapters.file.tree import Tree

#: Polls without a new line after which a file that no longer matches the glob (rotated, deleted) is closed.
_IDLE_POLLS: Final = 10
#: Files of one subscription that are followed at the same time; each costs a descriptor.
MAX_FOLLOWED: Final = 256
_CHUNK: Final = 256 * 1024

log = structlog.get_logger(__name__)


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

    def begin(self) -> None:
        """Note the files that are there. Raises BridgeError where the root is gone."""
        self._known = self._tree.scan(self._glob)

    def poll(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (path, message) for each change, deleted files first. Raises BridgeError where the root is gone."""
        now = self._tree.scan(self._glob)
        before, self._known = self._known, now
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


class _Followed:
    """One file that grows; it stays open so that its last lines are read even after it was rotated."""

    def __init__(self, path: str, descriptor: int, position: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.position = position
        self.rest = b""
        self.idle = 0
        self.more = False

    def lines(self, max_line: int) -> list[bytes]:
        """Return new whole lines without their ends, from one chunk; a line above `max_line` bytes comes in pieces."""
        if os.fstat(self.descriptor).st_size < self.position:
            # Truncated in place, as `copytruncate` does.
            self.position, self.rest = 0, b""
        chunk = os.pread(self.descriptor, _CHUNK, self.position)
        self.position += len(chunk)
        self.more = len(chunk) == _CHUNK
        self.idle = 0 if chunk else self.idle + 1
        *whole, self.rest = (self.rest + chunk).split(b"\n")
        found = [piece for line in whole for piece in _pieces(line.removesuffix(b"\r"), max_line)]
        while len(self.rest) > max_line:
            found.append(self.rest[:max_line])
            self.rest = self.rest[max_line:]
        return found


def _pieces(line: bytes, size: int) -> Iterator[bytes]:
    yield line[:size]
    for start in range(size, len(line), size):
        yield line[start : start + size]


class Tail:
    """Finds new lines in all files of a glob: in those of `begin` from their end, in later ones from their beginning.

    A file is identified by device and inode, so reading continues after it was renamed: under the new name or, where
    that does not match, until nothing more comes. Rotation by renaming loses no line; rotation by truncating may.

    Attributes:
        more: Whether the last poll left lines unread, so that the next one should follow at once.
    """

    def __init__(self, tree: Tree, glob: Glob, max_line: int) -> None:
        self._tree = tree
        self._glob = glob
        self._max_line = max_line
        self.more = False
        self._followed: dict[tuple[int, int], _Followed] = {}
        self._warned = False

    def begin(self) -> None:
        """Open the files that are there, at their end. Raises BridgeError where the root is gone."""
        for path in self._tree.scan(self._glob):
            self._follow(path, from_end=True)

    def _follow(self, path: str, *, from_end: bool) -> None:
        if len(self._followed) >= MAX_FOLLOWED:
            if not self._warned:
                log.warning("too many files to follow; narrow the glob", most=MAX_FOLLOWED, first_left_out=path)
                self._warned = True
            return
        try:
            descriptor = self._tree.open_file(split_path(path))
        except OSError:
            return  # deleted meanwhile, or not readable for us
        found = os.fstat(descriptor)
        key = (found.st_dev, found.st_ino)
        if key in self._followed:
            os.close(descriptor)
        else:
            self._followed[key] = _Followed(path, descriptor, found.st_size if from_end else 0)

    def poll(self) -> list[tuple[str, bytes]]:
        """Return (path, line) for each line; those of a rotated file before those of the file that replaced it.

        Raises BridgeError where the root is gone or a file cannot be read.
        """
        there = {(found.st_dev, found.st_ino): path for path, found in self._tree.scan(self._glob).items()}
        for key, path in there.items():
            if key in self._followed:
                self._followed[key].path = path
            else:
                self._follow(path, from_end=False)
        lines: list[tuple[str, bytes]] = []
        self.more = False
        for key, file in list(self._followed.items()):
            with translated(file.path):
                lines += [(file.path, line) for line in file.lines(self._max_line)]
            if file.more:
                # The rest of it comes before its successor's first line, and not all of a large file at once.
                self.more = True
                break
            if key in there:
                file.idle = 0
            elif file.idle >= _IDLE_POLLS:
                if file.rest:
                    lines.append((file.path, file.rest))
                os.close(self._followed.pop(key).descriptor)
        return lines

    def close(self) -> None:
        """Close all files."""
        while self._followed:
            os.close(self._followed.popitem()[1].descriptor)
