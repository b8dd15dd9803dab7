"""Open, read, write and list files below one directory; nothing outside of it is touched.

Each path is opened directory by directory with `openat` and O_NOFOLLOW, so that no link is followed, wherever it points
and whenever it is created: there is no time between a check and its use. All functions block; call them in threads.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from bridge.adapters.file.errors import translated
from bridge.adapters.file.paths import MAX_DEPTH, Glob
from bridge.core.errors import NotConnectedError, RejectedError

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PLAIN: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: opening a pipe must not wait for its other end


class Tree:
    """Access to the files below a root. The directory must stay the one that was there at first (device and inode)."""

    def __init__(self, root: Path) -> None:
        """Open the root once, to learn which directory it is. Raises NotConnectedError where it cannot be opened."""
        self._root = root
        self._identity: tuple[int, int] | None = None
        with self.opened() as descriptor:
            found = os.fstat(descriptor)
            self._identity = (found.st_dev, found.st_ino)

    @contextmanager
    def opened(self, parts: Sequence[str] = (), *, make: bool = False) -> Iterator[int]:
        """Open the root, or a directory below it, for the body of the context, which gets its descriptor.

        Args:
            parts: The path below the root.
            make: Whether to create directories that are missing.

        Raises:
            NotConnectedError: The root cannot be opened, or is another directory than at first.
            OSError: One below it cannot be opened.
        """
        descriptor = self._open_root()
        try:
            for part in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=descriptor)
                inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_root(self) -> int:
        try:
            descriptor = os.open(self._root, _DIRECTORY)
        except OSError as error:
            raise NotConnectedError(f"{self._root}: {error.strerror}") from None
        found = os.fstat(descriptor)
        if self._identity not in {None, (found.st_dev, found.st_ino)}:
            os.close(descriptor)
            raise NotConnectedError(f"{self._root} is another directory than before")
        return descriptor

    def check(self) -> None:
        """Check that the root is there and can be listed. Raises BridgeError where it cannot."""
        with self.opened() as descriptor, translated("."):
            os.listdir(descriptor)  # noqa: PTH208  # of a descriptor

    def open_file(self, parts: Sequence[str], flags: int = os.O_RDONLY) -> int:
        """Open a regular file and return its descriptor. Raises OSError; with ENXIO for what is not a regular file."""
        with self.opened(parts[:-1], make=bool(flags & os.O_CREAT)) as directory:
            descriptor = os.open(parts[-1], flags | _PLAIN, 0o666, dir_fd=directory)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.ENXIO, "not a regular file")
        return descriptor

    def read(self, parts: Sequence[str], limit: int) -> bytes:
        """Return the content of a file.

        Raises the errors of `errors`, and RejectedError with code `too_large` above `limit` bytes.
        """
        path = "/".join(parts)
        with translated(path), os.fdopen(self.open_file(parts), "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise RejectedError(f"{path}: larger than {limit} bytes", code="too_large")
        return content

    def append(self, parts: Sequence[str], content: bytes) -> int:
        """Write to the end of a file, creating it where it is missing; return its size.

        Raises the errors of `errors`.
        """
        with translated("/".join(parts)):
            descriptor = self.open_file(parts, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            with os.fdopen(descriptor, "ab", buffering=0) as file:
                if os.fstat(descriptor).st_nlink > 1:
                    # Its other name may be outside of the root.
                    raise OSError(errno.ELOOP, "has several names (hard links)")
                _write_all(file.fileno(), content)
                return os.fstat(file.fileno()).st_size

    def replace(self, parts: Sequence[str], content: bytes) -> int:
        """Replace a file's content so that readers see all of the old or all of the new; return its size.

        Raises the errors of `errors`.
        """
        with translated("/".join(parts)), self.opened(parts[:-1], make=True) as directory:
            mode = _mode_to_keep(parts[-1], directory)
            draft = f".nemo-bridge-{secrets.token_hex(8)}.tmp"
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o666, dir_fd=directory)
            try:
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    if mode is not None:
                        os.fchmod(file.fileno(), mode)
                    _write_all(file.fileno(), content)
                    os.fsync(file.fileno())
                os.replace(draft, parts[-1], src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(draft, dir_fd=directory)
                raise
            os.fsync(directory)
        return len(content)

    def scan(self, glob: Glob, below: Sequence[str] = (), *, directories: bool = False) -> dict[str, os.stat_result]:
        """Return the regular files that match, sorted: path from the root → stat.

        What is deleted meanwhile or may not be read is left out, and so are names that are not UTF-8.

        Args:
            glob: What to match, from `below` on.
            below: Where to begin.
            directories: Whether to return matching directories, too.

        Raises the errors of `errors`.
        """
        found: dict[str, os.stat_result] = {}
        with translated("/".join(below) or "."), self.opened(below) as directory:
            _scan(directory, (), glob, found, directories=directories)
        prefix = "".join(f"{part}/" for part in below)
        return {prefix + path: found[path] for path in sorted(found)}


def _scan(
    directory: int, parts: tuple[str, ...], glob: Glob, found: dict[str, os.stat_result], *, directories: bool
) -> None:
    inner: list[str] = []
    with closing(os.scandir(directory)) as entries:
        for entry in entries:
            path = (*parts, entry.name)
            with suppress(OSError, UnicodeEncodeError):
                entry.name.encode()
                is_directory = entry.is_dir(follow_symlinks=False)
                if is_directory and len(path) < MAX_DEPTH and glob.enters(path):
                    inner.append(entry.name)
                wanted = directories if is_directory else entry.is_file(follow_symlinks=False)
                if wanted and glob.matches(path):
                    found["/".join(path)] = entry.stat(follow_symlinks=False)
    for name in inner:
        with suppress(OSError):
            descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            try:
                _scan(descriptor, (*parts, name), glob, found, directories=directories)
            finally:
                os.close(descriptor)


def _mode_to_keep(name: str, directory: int) -> int | None:
    """Return the permissions of the file to be replaced; None where there is none. Raises OSError for other things."""
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(there.st_mode):
        raise OSError(errno.ELOOP, "is a link")
    if not stat.S_ISREG(there.st_mode):
        raise OSError(errno.ENXIO, "not a regular file")
    return stat.S_IMODE(there.st_mode)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
