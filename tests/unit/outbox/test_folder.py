"""The outbox' folder and file: whose they are, who may use them, and what is not touched."""

import os
import sqlite3
import stat

import pytest

from bridge.core.errors import OutboxError
from bridge.outbox.folder import Folder
from bridge.outbox.schema import connect
from bridge.outbox.store import Store


def test_folder_and_files_are_the_users_alone(tmp_path):
    """Folder and files get modes 0700 and 0600 with any umask; an existing folder that others may read is closed."""
    place = tmp_path / "a" / "b"
    place.parent.mkdir()
    place.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        folder = Folder(place)
        folder.take()
        store = Store(folder, max_bytes=1 << 20)
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    assert modes == dict.fromkeys(["outbox.db", "outbox.db-wal", "outbox.db.lock", "outbox.db.mark"], 0o600)
    store.close()
    folder.release()


def test_a_second_sidecar_is_told_which_folder_and_whom(tmp_path):
    """A second sidecar gets an error with the folder and the holder's process, until the lock is released."""
    first, second = Folder(tmp_path), Folder(tmp_path)
    first.take()
    with pytest.raises(OutboxError, match=rf"{tmp_path}/outbox.db: process {os.getpid()} uses it; .* `data_dir`"):
        second.take()
    first.release()
    first.release()
    second.take()
    second.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """A folder that cannot be made gives an error in one line that names it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutboxError, match=rf"outbox {tmp_path}/file/data: Not a directory"):
        Folder(tmp_path / "file" / "data").take()


def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path):
    """A damaged database is refused, and its file is not changed."""
    file = tmp_path / "outbox.db"
    file.write_bytes(b"nonsense" * 1000)
    with pytest.raises(OutboxError, match=rf"{file} cannot be used: .*not a database.*move the file"):
        connect(file, longest_log=1 << 20)
    assert file.read_bytes() == b"nonsense" * 1000


def test_other_programs_and_later_versions_are_refused(tmp_path):
    """A database of another program or of a later version is refused."""
    other, later = tmp_path / "other.db", Folder(tmp_path)
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine(x)")
    database.close()
    with pytest.raises(OutboxError, match="another program's database"):
        connect(other, longest_log=1 << 20)
    Store(later, max_bytes=1).close()
    with sqlite3.connect(later.file) as database:
        database.execute("PRAGMA user_version=2")
    database.close()
    with pytest.raises(OutboxError, match=r"later version of nemo-bridge \(format 2, this one knows 1\)"):
        connect(later.file, longest_log=1 << 20)
