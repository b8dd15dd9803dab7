"""Open, read, write and list files below one directory; nothing outside of it is touched.

Each path is opened directory by directory with `openat` and O_NOFOLLOW, so that no link is followed, wherever it points
and whenever it is created: there is no time between a check and its use. All functions block; call them in threads.
"""

import errno
import os
import secrets
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from bridge.adapters.file.errors import translated
from bridge.adapters.file.paths import MAX_DEPTH, Glob, shown, unfit_name
from bridge.core.errors import NotConnectedError, RejectedError
from bridge.core.files import append_whole

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PLAIN: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: opening a pipe must not wait for its other end


#: Errors of an entry that was removed, or became a link, between two steps.
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Scan(NamedTuple):
    """What a scan has found.

    Attributes:
        found: Path from the root → stat, sorted.
        left_out: What also matches but cannot be used, as a person may read it → why.
    """

    found: dict[str, os.stat_result]
    left_out: dict[str, str]


class Tree:
    """Access to the files below a root. The directory must stay the one that was there at first (device and inode)."""

    def __init__(self, root: Path, appending: AbstractContextManager[Any] | None = None) -> None:
        """Open the root once, to learn which directory it is.

        Args:
            root: The directory.
            appending: Held while something is appended; the same one for all trees of an integration.

        Raises:
            NotConnectedError: It cannot be opened.
        """
        self._root = root
        self._appending = appending or threading.Lock()
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

    def append(self, parts: Sequence[str], content: bytes, *, as_line: bool = False) -> int:
        """Write to the end of a file, creating it where it is missing; return its size.

        What is written in part only, because the disk is full, is taken back.

        Args:
            parts: The path below the root.
            content: What to write.
            as_line: Whether to end an unfinished line before it, which a killed program may have left.

        Raises the errors of `errors`; `maybe_sent` is False where the file is as it was.
        """
        path = "/".join(parts)
        with self._appending:
            with translated(path, maybe_sent=False):
                descriptor = self._open_to_append(parts, read=as_line)
            try:
                with translated(path, maybe_sent=False):
                    before = os.fstat(descriptor)
                    if before.st_nlink > 1:
                        # Its other name may be outside of the root.
                        raise OSError(errno.ELOOP, "has several names (hard links)")
                    if as_line and _ends_within_a_line(descriptor, before.st_size):
                        content = b"\n" + content
                    append_whole(descriptor, content)
            finally:
                with translated(path):  # a file server may say only now that it has no room
                    os.close(descriptor)
            return before.st_size + len(content)

    def _open_to_append(self, parts: Sequence[str], *, read: bool) -> int:
        flags = os.O_APPEND | os.O_CREAT
        if read:
            with suppress(PermissionError):  # we may be allowed to write only
                return self.open_file(parts, os.O_RDWR | flags)
        return self.open_file(parts, os.O_WRONLY | flags)

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

    def scan(self, glob: Glob, below: Sequence[str] = (), *, directories: bool = False) -> Scan:
        """Return the regular files that match.

        What is deleted meanwhile is left out. What cannot be used is named: a directory that may not be read or is too
        deep, a name that is not UTF-8 or has control characters.

        Args:
            glob: What to match, from `below` on.
            below: Where to begin.
            directories: Whether to return matching directories, too.

        Raises the errors of `errors`.
        """
        scanning = _Scanning(glob, directories)
        with translated("/".join(below) or "."), self.opened(below) as directory:
            scanning.enter(directory, ())
        prefix = "".join(f"{part}/" for part in below)
        return Scan(
            {prefix + path: scanning.found[path] for path in sorted(scanning.found)},
            {prefix + path: why for path, why in sorted(scanning.left_out.items())},
        )


class _Scanning:
    """One scan in progress; see `Tree.scan`."""

    def __init__(self, glob: Glob, directories: bool) -> None:
        self._glob = glob
        self._directories = directories
        self.found: dict[str, os.stat_result] = {}
        self.left_out: dict[str, str] = {}

    def enter(self, directory: int, parts: tuple[str, ...]) -> None:
        """Add what is in a directory and below it; `parts` is its path."""
        inner: list[str] = []
        with closing(os.scandir(directory)) as entries:
            for entry in entries:
                try:
                    if self._add(entry, (*parts, entry.name)):
                        inner.append(entry.name)
                except OSError as error:
                    self._leave_out((*parts, entry.name), error)
        for name in inner:
            try:
                descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                try:
                    self.enter(descriptor, (*parts, name))
                finally:
                    os.close(descriptor)
            except OSError as error:
                self._leave_out((*parts, name), error)

    def _add(self, entry: "os.DirEntry[str]", path: tuple[str, ...]) -> bool:
        """Add one entry if it matches; return whether it is a directory to enter. Raises OSError."""
        is_directory = entry.is_dir(follow_symlinks=False)
        enters = is_directory and self._glob.enters(path)
        wanted = self._directories if is_directory else entry.is_file(follow_symlinks=False)
        wanted = wanted and self._glob.matches(path)
        if not (enters or wanted):
            return False
        unfit = unfit_name(entry.name)
        if unfit is None and wanted:
            self.found["/".join(path)] = entry.stat(follow_symlinks=False)
        if unfit is None and enters and len(path) >= MAX_DEPTH:
            unfit = f"is deeper than {MAX_DEPTH} levels"
        if unfit is not None:
            self.left_out[shown("/".join(path))] = unfit
        return enters and unfit is None

    def _leave_out(self, path: tuple[str, ...], error: OSError) -> None:
        if error.errno not in _GONE:
            self.left_out[shown("/".join(path))] = error.strerror or type(error).__name__


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


def _ends_within_a_line(descriptor: int, size: int) -> bool:
    try:
        return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    except OSError:  # it was opened for writing only
        return False


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
