"""Makes sure that one broker at a time uses an `ipc` socket.

A second `bind` to the same path silently takes it away from the first one: libzmq removes the socket before it binds.
So a broker holds a lock on a file beside the socket. After `kill -9` the lock is free, and the next broker may use the
path.
"""

import os
import stat
from pathlib import Path

from bridge.core.errors import BusError
from bridge.core.lock_file import HeldError, LockFile, make_private
from bridge.core.log import structlog


class SocketLock:
    """The lock for one `ipc` path."""

    def __init__(self, path: Path) -> None:
        """Create it; `path` is that of the socket."""
        self._path = path
        self._lock = LockFile(Path(f"{path}.lock"))

    def acquire(self) -> None:
        """Take the lock; make the directory (mode 0700) if there is none.

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
        """Release the lock; idempotent."""
        self._lock.release()


def _prepare(directory: Path) -> None:
    """Make the directory and missing parents for this user only; warn where others may use the directory."""
    make_private(directory)
    for place in (directory, directory.parent):
        # The owner of the directory, or of its parent, can replace the socket.
        if place.stat().st_uid not in (os.getuid(), 0):
            raise BusError(f"bus directory {directory}: {place} belongs to another user")
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o077:
        structlog.get_logger().warning("bus directory is open to others", directory=str(directory), mode=f"{mode:04o}")
