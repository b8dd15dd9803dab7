"""The folder that the outbox lies in: for this user alone, and for one sidecar at a time."""

import fcntl
import os
from pathlib import Path
from typing import Final

import platformdirs

from bridge.errors import OutboxError

_FILE: Final = "outbox.db"


def default_folder(name: str) -> Path:
    """Where a bridge of this name keeps its outbox unless `data_dir` says otherwise."""
    return Path(platformdirs.user_state_dir("nemo-bridge", appauthor=False)) / name


class Folder:
    """A folder of mode 0700, its database of mode 0600, and the right to open it.

    The kernel drops the lock with the process, even after `kill -9`.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is made or opened before `take`."""
        self.path = path
        self.file = path / _FILE
        self._lock = -1

    def take(self) -> None:
        """Make what is missing, and take the lock.

        Raises:
            OutboxError: Another process has it (the message names both), or the folder cannot be used.
        """
        try:
            for missing in reversed([self.path, *self.path.parents]):
                if not missing.exists():
                    missing.mkdir(mode=0o700, exist_ok=True)
            if self.path.stat().st_uid != os.getuid():
                raise OutboxError(f"outbox {self.path}: the folder belongs to another user")
            self.path.chmod(0o700)
            lock = os.open(f"{self.file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise OutboxError(f"outbox {self.path}: {error.strerror or error}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            os.close(lock)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise OutboxError(
                f"outbox {self.file}: {who} uses it; two sidecars need two folders, see `data_dir`"
            ) from None
        self._lock = lock
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            # Made here, so that it never has another mode; the files that SQLite puts beside it take the same.
            made = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(made, 0o600)
            os.close(made)
        except OSError as error:
            self.release()
            raise OutboxError(f"outbox {self.file}: {error.strerror or error}") from None

    def release(self) -> None:
        """Give the right back; idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
