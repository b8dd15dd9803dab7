"""The id of an installation, which outlives the process."""

import os
import random
import stat

import pytest
from structlog.testing import capture_logs

from bridge.fabric.identity import instance_of


def test_the_id_stays_the_same_and_each_fabric_has_its_own(tmp_path):
    """It is made once, in a folder that is made, too, and only this user can read it."""
    folder = tmp_path / "state" / "bridge"
    rng = random.Random(1)
    first = instance_of(folder, "plant", rng)
    assert instance_of(folder, "plant", rng) == first
    assert instance_of(folder, "office", rng) != first
    assert stat.S_IMODE((folder / "fabric-plant.id").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["fabric-office.id", "fabric-plant.id"]


def test_without_a_folder_each_process_has_an_id_of_its_own():
    """Nothing is written anywhere."""
    rng = random.Random(1)
    assert instance_of(None, "plant", rng) != instance_of(None, "plant", rng)


@pytest.mark.parametrize("content", [b"", b"x" * 32, b"0" * 31, b"0" * 32 + b"\nx", b"\xff" * 33, b"0" * 100_000])
def test_a_file_that_holds_something_else_is_replaced(tmp_path, content):
    """An editor's or a disk's fault costs one wait, not the start."""
    path = tmp_path / "fabric-plant.id"
    path.write_bytes(content)
    found = instance_of(tmp_path, "plant", random.Random(1))
    assert len(found) == 32
    assert path.read_text() == f"{found}\n"


def test_a_draft_that_a_crash_has_left_is_no_obstacle(tmp_path):
    """The file is written in one step, so what remains of an earlier try is thrown away."""
    (tmp_path / "fabric-plant.new").write_text("half")
    found = instance_of(tmp_path, "plant", random.Random(1))
    assert (tmp_path / "fabric-plant.id").read_text() == f"{found}\n"


@pytest.mark.parametrize("what", ["directory", "pipe", "file in the way"])
def test_where_nothing_can_be_kept_the_log_says_so_and_the_bridge_goes_on(tmp_path, what):
    """A folder that cannot be used is no failure; nothing waits for a pipe."""
    folder = tmp_path
    if what == "directory":
        (tmp_path / "fabric-plant.id").mkdir()
    elif what == "pipe":
        os.mkfifo(tmp_path / "fabric-plant.id")
    else:
        folder = tmp_path / "taken"
        folder.write_text("")
    with capture_logs() as logs:
        assert len(instance_of(folder, "plant", random.Random(1))) == 32
    assert [(one["log_level"], one["path"]) for one in logs] == [("warning", str(folder / "fabric-plant.id"))]
