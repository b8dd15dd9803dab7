"""Makes and locks the outbox' folder: for this user alone, and for one sidecar at a time."""

import os
from pathlib import Path
from typing import Final

import platformdirs

from bridge.core.errors import OutboxError
from bridge.core.lock_file import HeldError, LockFile, make_private
from bridge.outbox.commit_mark import CommitMark
from bridge.outbox.reserve import Reserve
from bridge.outbox.schema import connect
from bridge.outbox.sqlite import sqlite3

_FILE: Final = "outbox.db"


def default_folder(name: str) -> Path:
    """Return the folder of the outbox of a bridge of this name, where the configuration has no `data_dir`."""
    return Path(platformdirs.user_state_dir("nemo-bridge", appauthor=False)) / name


class Folder:
    """Makes a folder of mode 0700 and its database of mode 0600; implements `ports.Storage`."""

    def __init__(self, path: Path) -> None:
        """Create it; nothing is made or opened before `take`."""
        self.path = path
        self.file = path / _FILE
        self._lock = LockFile(path / f"{_FILE}.lock")

    @property
    def name(self) -> str:
        """See `ports.Storage.name`."""
        return str(self.file)

    @property
    def exists(self) -> bool:
        """See `ports.Storage.exists`."""
        return self.file.exists()

    def connect(self, *, longest_log: int) -> "sqlite3.Connection":
        """See `ports.Storage.connect`."""
        return connect(self.file, longest_log=longest_log)

    def reserve(self, *, max_bytes: int) -> Reserve:
        """See `ports.Storage.reserve`."""
        return Reserve(self.file.with_name(f"{self.file.name}.reserve"), max_bytes=max_bytes)

    def mark(self) -> CommitMark:
        """See `ports.Storage.mark`."""
        return CommitMark(self.file.with_name(f"{self.file.name}.mark"))

    def take(self) -> None:
        """Make the folder and the file where they are missing, and take the lock.

        Raises:
            OutboxError: Another process has it (the message names both), or the folder cannot be used.
        """
        try:
            make_private(self.path)
            if self.path.stat().st_uid != os.getuid():
                raise OutboxError(f"outbox {self.path}: the folder belongs to another user")
            self.path.chmod(0o700)
            self._lock.acquire()
        except OSError as error:
            raise OutboxError(f"outbox {self.path}: {error.strerror or error}") from None
        except HeldError as held:
            raise OutboxError(
                f"outbox {self.file}: {held} uses it; two sidecars need two folders, see `data_dir`"
            ) from None
        try:
            # Made here, so that it never has another mode; the files that SQLite puts beside it take the same.
            made = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(made, 0o600)
            os.close(made)
        except OSError as error:
            self.release()
            raise OutboxError(f"outbox {self.file}: {error.strerror or error}") from None

    def release(self) -> None:
        """Release the lock; idempotent."""
        self._lock.release()
