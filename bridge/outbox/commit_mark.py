"""Remembers outside the database how much was committed to it, so that a loss shows: SQLite tells of none.

After `kill -9` the last commits are in the log beside the database. If that was cut or removed, SQLite opens the
database as it was before, without a word.
"""

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

_FORM: Final = struct.Struct("<8s16sQQQ")
_CHECKSUM: Final = struct.Struct("<I")
_MAGIC: Final = b"nemomark"


class Mark(NamedTuple):
    """How much was committed.

    Attributes:
        database: Identifies the database, 16 bytes.
        commits: How many transactions were committed since it was made.
        entries: How many events were accepted since then.
        next_seq: The sequence number that the next entry would get.
    """

    database: bytes
    commits: int = 0
    entries: int = 0
    next_seq: int = 1


class CommitMark:
    """A small file that is written after each commit.

    It is not synchronised: a killed process loses nothing of it, and after a power failure it is behind the database at
    worst, which never looks like a loss.
    """

    def __init__(self, file: Path) -> None:
        """Open the file, and make it where it is missing; one that cannot be used remembers nothing."""
        self._descriptor = -1
        with contextlib.suppress(OSError):
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def read(self) -> Mark | None:
        """Return what was written last; None where there is nothing that is whole."""
        with contextlib.suppress(OSError):
            found = os.pread(self._descriptor, _FORM.size + _CHECKSUM.size, 0)
            content, checksum = found[: _FORM.size], found[_FORM.size :]
            if len(checksum) == _CHECKSUM.size and _CHECKSUM.unpack(checksum)[0] == zlib.crc32(content):
                magic, *mark = _FORM.unpack(content)
                return Mark(*mark) if magic == _MAGIC else None
        return None

    def write(self, mark: Mark) -> None:
        """Write what is committed now; where that is not possible, the last one stays."""
        content = _FORM.pack(_MAGIC, *mark)
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, content + _CHECKSUM.pack(zlib.crc32(content)), 0)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
