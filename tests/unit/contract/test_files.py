"""The folder `schemas/` is what the models say, and drift is found and repaired."""

import subprocess
import sys
from pathlib import Path

from bridge.contract import drift, files, rust_types, write
from bridge.contract.reference import reference
from bridge.registry import AdapterRegistry
from tests.support.bus.schemas import FOLDER

RUST = FOLDER.parent / "rust" / "client" / "src" / "contract.rs"
REFERENCE = FOLDER.parent / "docs" / "reference"


def test_the_rust_types_are_up_to_date():
    """The Rust types are those of the schemas; otherwise run scripts/schemas."""
    assert RUST.read_text("utf-8") == rust_types(AdapterRegistry(bundled=True))


def test_the_folder_is_up_to_date():
    """No file differs from the models, none is missing, none is left over; otherwise run scripts/schemas."""
    assert drift(FOLDER, files(AdapterRegistry(bundled=True))) == []


def test_the_reference_is_up_to_date():
    """No page of docs/reference differs from the models; otherwise run scripts/schemas."""
    assert drift(REFERENCE, reference(AdapterRegistry(bundled=True))) == []


def test_the_same_models_give_the_same_bytes():
    """Another process, with another hash seed, writes the same bytes."""
    command = [sys.executable, "-m", "bridge.contract", str(FOLDER), str(RUST), str(REFERENCE), "--check"]
    for seed in ("1", "2"):
        done = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_drift_is_found_and_repaired(tmp_path: Path):
    """A changed, a missing and a surplus file are found, and writing corrects all three."""
    texts = {"a/one.json": "1\n", "two.json": "2\n"}
    assert write(tmp_path, texts) == ["a/one.json", "two.json"]
    assert drift(tmp_path, texts) == []
    (tmp_path / "a/one.json").unlink()
    (tmp_path / "two.json").write_text("3\n")
    (tmp_path / "old.json").write_text("")
    assert drift(tmp_path, texts) == ["a/one.json", "old.json", "two.json"]
    write(tmp_path, texts)
    assert drift(tmp_path, texts) == []
    assert (tmp_path / "two.json").read_text() == "2\n"


def test_check_fails_on_drift(tmp_path: Path):
    """`--check` on an empty folder names every file, writes none, and exits with 1."""
    command = [sys.executable, "-m", "bridge.contract", str(tmp_path), str(tmp_path / "a.rs"), str(tmp_path), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "scripts/schemas" in done.stderr
    adapters = AdapterRegistry(bundled=True)
    assert len(done.stdout.splitlines()) == len(files(adapters)) + len(reference(adapters)) + 1
    assert not list(tmp_path.iterdir())
