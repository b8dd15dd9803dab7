"""Files on a full disk, and files that are none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.core.files import TornWriteError, append_whole, read_regular

#: Runs code with `PATH` in a process that may not make a file larger than LIMIT bytes, and prints the error.
_LIMITED = """
import os, resource, sys
from pathlib import Path
PATH = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
"""


def at_the_limit(path: Path, limit: int, code: str) -> str:
    """Run the code in a process whose files cannot grow beyond so many bytes; return what it prints."""
    command = [sys.executable, "-c", _LIMITED + code, str(path), str(limit)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def test_an_append_that_the_system_refuses_half_way(tmp_path: Path) -> None:
    """The operating system itself writes a part and then refuses; the part is taken back."""
    (tmp_path / "log").write_text("0123456789\n")
    code = """
from bridge.adapters.file.tree import Tree
from bridge.core.errors import BridgeError
try:
    Tree(PATH).append(("log",), b"more than is left\\n", as_line=True)
except BridgeError as error:
    print(error.kind, error.message, error.maybe_sent)
"""
    assert at_the_limit(tmp_path, 20, code) == "rejected log: File too large False\n"
    assert (tmp_path / "log").read_text() == "0123456789\n"


def test_half_a_key_file_is_removed(tmp_path: Path) -> None:
    """A key file that cannot be written whole is removed, so that the next attempt can make it."""
    code = """
from bridge.core.curve_keys import write_key_file
from bridge.core.errors import KeyFileError
try:
    write_key_file(PATH / "a.key", "x" * 40)
except KeyFileError as error:
    print(error)
"""
    assert at_the_limit(tmp_path, 20, code) == f"{tmp_path}/a.key: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_lock_needs_no_room(tmp_path: Path) -> None:
    """A lock is taken on a full disk, too, although the number of the process cannot be written."""
    code = """
from bridge.core.lock_file import HeldError, LockFile
LockFile(PATH / "lock").acquire()
try:
    LockFile(PATH / "lock").acquire()
except HeldError as held:
    print(held)
"""
    assert at_the_limit(tmp_path, 0, code) == "another process\n"


def test_nothing_is_taken_back_where_nothing_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without room refuses at once; there is nothing to take back."""
    monkeypatch.setattr(os, "ftruncate", lambda *_: pytest.fail("it must not be truncated"))
    descriptor = os.open("/dev/full", os.O_WRONLY | os.O_APPEND)
    try:
        with pytest.raises(OSError, match="No space left") as caught:
            append_whole(descriptor, b"abc")
    finally:
        os.close(descriptor)
    assert not isinstance(caught.value, TornWriteError)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe, a device and a directory are refused at once; a link to a file is followed; a size is a limit."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 5) == b"12345"
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match=r"not a regular file|directory"):
            read_regular(path, 100)
    for limit, shown in ((4, "4 bytes"), (1 << 10, "1 KiB"), (2 << 20, "2 MiB")):
        (tmp_path / "file").write_bytes(b"x" * (limit + 1))
        with pytest.raises(OSError, match=f"is larger than {shown}$"):
            read_regular(tmp_path / "file", limit)
