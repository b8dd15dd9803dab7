"""Let one process at a time use something, by a lock file; make directories that only this user can read.

The kernel releases the lock when the process ends, even after `kill -9`.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class HeldError(Exception):
    """Another process holds the lock; the message names it, as in `process 4711`."""


class LockFile:
    """An exclusive lock on a file of mode 0600, which holds the process' number."""

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is opened before `acquire`."""
        self._path = path
        self._file = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            HeldError: Another process holds it.
            OSError: The file cannot be used.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip()
            os.close(file)
            raise HeldError(f"process {holder}" if holder.isdigit() else "another process") from None
        self._file = file
        with suppress(OSError):  # the number is for a person only, and a full disk has no room for it
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock; idempotent. The file stays: if it were removed, two processes could lock two files."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def make_private(directory: Path) -> None:
    """Make a directory, and parents that are missing, with mode 0700; `mkdir(parents=True)` would use the umask's."""
    for missing in reversed([directory, *directory.parents]):
        if not missing.exists():
            missing.mkdir(mode=0o700, exist_ok=True)
