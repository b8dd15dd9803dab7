"""One broker at a time on an `ipc` socket.

A second `bind` on the same path silently takes it away from the first (libzmq unlinks before it binds). So whoever
wants to host holds a lock file beside the socket. After `kill -9` the socket that is left behind is free to be taken
over.
"""

import os
import stat
from pathlib import Path

import structlog

from bridge.core.errors import BusError
from bridge.core.lock_file import HeldError, LockFile, make_private


class SocketLock:
    """The right to bind one `ipc` path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = LockFile(Path(f"{path}.lock"))

    def acquire(self) -> None:
        """Make the directory if there is none (mode 0700) and take the lock.

        Raises:
            BusError: Another process holds it (the message names it), or the directory cannot be used.
        """
        try:
            _prepare(self._path.parent)
            self._lock.acquire()
        except OSError as error:
            raise BusError(f"bus endpoint ipc://{self._path}: {error.strerror or error}") from None
        except HeldError as held:
            raise BusError(f"bus endpoint ipc://{self._path}: {held} hosts a bus there already") from None

    def release(self) -> None:
        """Give the right back; idempotent."""
        self._lock.release()


def _prepare(directory: Path) -> None:
    """Make the directory, and parents that are missing, for this user alone; warn of one that is open to others."""
    make_private(directory)
    for place in (directory, directory.parent):
        # Whoever owns the directory, or the one it lies in, can put another socket in its place.
        if place.stat().st_uid not in (os.getuid(), 0):
            raise BusError(f"bus directory {directory}: {place} belongs to another user")
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o077:
        structlog.get_logger().warning("bus directory is open to others", directory=str(directory), mode=f"{mode:04o}")
