"""One broker at a time on an `ipc` socket.

A second `bind` on the same path silently takes it away from the first (libzmq unlinks before it binds). So whoever
wants to host holds a lock file beside the socket. The kernel drops the lock with the process, even after `kill -9`;
the socket that is left behind is then free to be taken over.
"""

import fcntl
import os
import stat
from pathlib import Path

import structlog

from bridge.errors import BusError


class SocketLock:
    """The right to bind one `ipc` path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def acquire(self) -> None:
        """Make the directory if there is none (mode 0700) and take the lock.

        Raises:
            BusError: Another process holds it (the message names it), or the directory cannot be used.
        """
        try:
            _prepare(self._path.parent)
            file = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise BusError(f"bus endpoint ipc://{self._path}: {error.strerror or error}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip()
            os.close(file)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise BusError(f"bus endpoint ipc://{self._path}: {who} hosts a bus there already") from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Give the right back; idempotent. The file stays: unlinking it would let two processes lock two files."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _prepare(directory: Path) -> None:
    """Make the directory, and parents that are missing, for this user alone; warn of one that is open to others."""
    if not directory.exists():
        # `mkdir(parents=True)` would give the parents the umask's mode.
        for missing in reversed([directory, *directory.parents]):
            if not missing.exists():
                missing.mkdir(mode=0o700, exist_ok=True)
    for place in (directory, directory.parent):
        # Whoever owns the directory, or the one it lies in, can put another socket in its place.
        if place.stat().st_uid not in (os.getuid(), 0):
            raise BusError(f"bus directory {directory}: {place} belongs to another user")
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o077:
        structlog.get_logger().warning("bus directory is open to others", directory=str(directory), mode=f"{mode:04o}")
