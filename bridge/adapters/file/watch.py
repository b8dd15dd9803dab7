"""What has changed since the last look: files of a glob, and lines of files that grow. Polled; all of it blocks."""

import os
from collections.abc import Iterator
from typing import Any, Final

import structlog

from bridge.adapters.file.errors import translated
from bridge.adapters.file.paths import Glob, split_path
from bridge.adapters.file.tree import Tree

#: Looks without news after which a file that has left the glob (rotated, deleted) is let go.
_PATIENCE: Final = 10
#: Files of one subscription that are followed at the same time; each costs a descriptor.
MAX_FOLLOWED: Final = 256
_CHUNK: Final = 256 * 1024

log = structlog.get_logger(__name__)


def describe(path: str, found: os.stat_result) -> dict[str, Any]:
    """What is told about a file."""
    return {"path": path, "size": found.st_size, "modified_ms": found.st_mtime_ns // 1_000_000}


class Changes:
    """Files that were created, changed or deleted; what is there at the beginning is no news."""

    more = False

    def __init__(self, tree: Tree, glob: Glob) -> None:
        self._tree = tree
        self._glob = glob
        self._known: dict[str, os.stat_result] = {}

    def begin(self) -> None:
        """Take in what is there."""
        self._known = self._tree.scan(self._glob)

    def look(self) -> list[tuple[str, dict[str, Any]]]:
        """(path, message) for each; what was deleted first. Raises BridgeError where the root is gone."""
        now = self._tree.scan(self._glob)
        before, self._known = self._known, now
        news: list[tuple[str, dict[str, Any]]] = [
            (path, {"change": "deleted", "path": path}) for path in before if path not in now
        ]
        for path, found in now.items():
            if path not in before:
                news.append((path, {"change": "created", **describe(path, found)}))
            elif _mark(found) != _mark(before[path]):
                news.append((path, {"change": "changed", **describe(path, found)}))
        return news

    def close(self) -> None:
        """Nothing is held."""


def _mark(found: os.stat_result) -> tuple[int, int, int]:
    return (found.st_ino, found.st_size, found.st_mtime_ns)


class _Followed:
    """One file that grows, held open so that its last lines are read although it was rotated away."""

    def __init__(self, path: str, descriptor: int, position: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.position = position
        self.rest = b""
        self.idle = 0
        self.more = False

    def lines(self, max_line: int) -> list[bytes]:
        """New whole lines without their ends, from one chunk; a longer one comes in pieces."""
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
    """New lines of all files of a glob: those that are there are read from their end, new ones from their beginning.

    Files are known by device and inode, so one that is renamed goes on, under a new name or, outside of the glob, until
    nothing more comes. Rotation by renaming loses no line; rotation by truncating may, as everywhere.

    Attributes:
        more: Whether the last look left something behind for the next, which need not wait then.
    """

    def __init__(self, tree: Tree, glob: Glob, max_line: int) -> None:
        self._tree = tree
        self._glob = glob
        self._max_line = max_line
        self.more = False
        self._followed: dict[tuple[int, int], _Followed] = {}
        self._said_full = False

    def begin(self) -> None:
        """Take in what is there."""
        for path in self._tree.scan(self._glob):
            self._follow(path, from_end=True)

    def _follow(self, path: str, *, from_end: bool) -> None:
        if len(self._followed) >= MAX_FOLLOWED:
            if not self._said_full:
                log.warning("too many files to follow; narrow the glob", most=MAX_FOLLOWED, first_left_out=path)
                self._said_full = True
            return
        try:
            descriptor = self._tree.open_file(split_path(path))
        except OSError:
            return  # gone again, or not ours to read
        found = os.fstat(descriptor)
        key = (found.st_dev, found.st_ino)
        if key in self._followed:
            os.close(descriptor)
        else:
            self._followed[key] = _Followed(path, descriptor, found.st_size if from_end else 0)

    def look(self) -> list[tuple[str, bytes]]:
        """(path, line) for each; a rotated file's before those of its successor. Raises BridgeError without a root."""
        there = {(found.st_dev, found.st_ino): path for path, found in self._tree.scan(self._glob).items()}
        for key, path in there.items():
            if key in self._followed:
                self._followed[key].path = path
            else:
                self._follow(path, from_end=False)
        news: list[tuple[str, bytes]] = []
        self.more = False
        for key, file in list(self._followed.items()):
            with translated(file.path):
                news += [(file.path, line) for line in file.lines(self._max_line)]
            if file.more:
                # The rest of it comes before its successor's first line, and not all of a large file at once.
                self.more = True
                break
            if key in there:
                file.idle = 0
            elif file.idle >= _PATIENCE:
                if file.rest:
                    news.append((file.path, file.rest))
                os.close(self._followed.pop(key).descriptor)
        return news

    def close(self) -> None:
        """Let all files go."""
        while self._followed:
            os.close(self._followed.popitem()[1].descriptor)
