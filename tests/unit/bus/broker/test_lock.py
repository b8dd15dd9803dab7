"""One broker at a time may use an endpoint."""

import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.bus.broker.lock import SocketLock
from bridge.core.errors import BusError


def test_second_is_refused_by_name(tmp_path: Path) -> None:
    """The second one's error names the process that holds the endpoint; after the release it succeeds."""
    path = tmp_path / "run" / "nemo" / "bus.sock"
    first, second = SocketLock(path), SocketLock(path)
    first.acquire()
    with pytest.raises(BusError, match=rf"{path}: process {os.getpid()} hosts"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_directory_is_private(tmp_path: Path) -> None:
    """Missing directories are made for this user only, whatever the umask; no warning."""
    old = os.umask(0)
    try:
        with capture_logs() as logs:
            lock = SocketLock(tmp_path / "a" / "b" / "bus.sock")
            lock.acquire()
    finally:
        os.umask(old)
    lock.release()
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")] == [0o700, 0o700]
    assert stat.S_IMODE((tmp_path / "a/b/bus.sock.lock").stat().st_mode) == 0o600
    assert logs == []


def test_open_directory_is_warned_of(tmp_path: Path) -> None:
    """An existing directory that others may enter works, with a warning."""
    tmp_path.chmod(0o755)
    lock = SocketLock(tmp_path / "bus.sock")
    with capture_logs() as logs:
        lock.acquire()
    lock.release()
    assert [(log["log_level"], log["directory"], log["mode"]) for log in logs] == [("warning", str(tmp_path), "0755")]


def test_impossible_directory(tmp_path: Path) -> None:
    """A directory that cannot be made is a clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BusError, match=r"ipc://.*: (Not a directory|File exists)"):
        SocketLock(tmp_path / "file" / "bus.sock").acquire()


def test_foreign_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of another user, who could put another socket there, is refused."""
    owned = tmp_path / "nemo"
    owned.mkdir(0o700)
    if os.getuid() == 0:
        os.chown(owned, 12345, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(BusError, match="another user"):
        SocketLock(owned / "bus.sock").acquire()
