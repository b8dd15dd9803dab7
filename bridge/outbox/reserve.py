"""Keeps room on the disk, to be given back when the disk is full: also to delete something, SQLite has to write."""

import contextlib
import os
from pathlib import Path
from typing import Final

#: Bytes of the reserve, at most and at least. It has to hold what a checkpoint adds to the database, and the log of the
#: deletions after that.
_LARGEST: Final = 16 << 20
_SMALLEST: Final = 64 << 10
#: The share of the free disk, and of the outbox' own limit, that it may take.
_SHARE: Final = 8


class Reserve:
    """A file that takes room on the disk, so that this room is there when nothing else is.

    Attributes:
        size: Bytes that it has when it is whole.
    """

    def __init__(self, file: Path, *, max_bytes: int) -> None:
        """Choose its size; one that an earlier run has left never becomes smaller. Nothing is written.

        Args:
            file: The file.
            max_bytes: The limit of the outbox.
        """
        self._file = file
        # Larger than before where there is more room: an earlier run may have chosen while the disk was full.
        share = min(max_bytes, self._free_bytes() + self._on_disk) // _SHARE
        self.size = min(_LARGEST, max(_SMALLEST, self._on_disk, share))

    def _free_bytes(self) -> int:
        found = os.statvfs(self._file.parent)
        return found.f_bavail * found.f_frsize

    @property
    def _on_disk(self) -> int:
        with contextlib.suppress(OSError):
            return self._file.lstat().st_size
        return 0

    def take(self) -> bool:
        """Make it whole, if it is not; return False where the disk has no room for it."""
        if self._on_disk >= self.size:
            return True
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                self._fill(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_back()
            return False
        return True

    def _fill(self, descriptor: int) -> None:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, self.size)
        else:
            os.pwrite(descriptor, bytes(self.size), 0)

    def give_back(self) -> None:
        """Free its room."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.ftruncate(descriptor, 0)
            finally:
                os.close(descriptor)
