"""Reads regular files up to a limit, and appends to files everything or nothing."""

import errno
import os
import stat
from pathlib import Path


class TornWriteError(OSError):
    """A write that failed has left a part in the file, and it cannot be taken back."""


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file.

    A pipe, a device or a directory is refused at once: reading a pipe waits for whoever writes to it, and a device may
    have no end.

    Args:
        path: The file; links are followed.
        limit: The largest size in bytes.

    Raises:
        OSError: It cannot be read, is not a regular file, or is larger; `strerror` has the reason for a person.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENXIO, "is not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"is larger than {_size(limit)}")
    return content


def identity(found: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file is written or replaced: device, inode, size, times of change."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _size(count: int) -> str:
    for unit, power in (("MiB", 20), ("KiB", 10)):
        if count >= 1 << power and count % (1 << power) == 0:
            return f"{count >> power} {unit}"
    return f"{count} bytes"


def append_whole(descriptor: int, content: bytes) -> None:
    """Append all of the content to a file, or nothing: what is written in part, as on a full disk, is removed again.

    Args:
        descriptor: The file, opened with O_APPEND. No other thread of this process appends to it meanwhile.
        content: What to append.

    Raises:
        OSError: It cannot be written; the file is as it was.
        TornWriteError: It cannot be written, and a part of it is in the file, because another program has appended
            something after it, or because the file cannot be truncated.
    """
    start, written = os.fstat(descriptor).st_size, 0
    try:
        while written < len(content):
            written += os.write(descriptor, memoryview(content)[written:])
    except OSError as error:
        if written:
            _take_back(error, descriptor, start, written)
        raise


def _take_back(error: OSError, descriptor: int, start: int, written: int) -> None:
    try:
        whole = os.fstat(descriptor).st_size == start + written
        why: str | None = "another program has written, too"
        if whole:
            os.ftruncate(descriptor, start)
    except OSError as other:
        whole, why = False, other.strerror
    if not whole:
        text = f"{error.strerror}; {written} bytes of it are in the file and cannot be taken back: {why}"
        raise TornWriteError(error.errno, text) from None
