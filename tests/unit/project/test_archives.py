"""The archives that users install hold what they need, and nothing that a build has left."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tests.support.bus.schemas import FOLDER

ROOT = FOLDER.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the project."""
    folder = tmp_path_factory.mktemp("wheel")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


def test_the_wheel_has_the_schemas(wheel: Path):
    """All files of `schemas/` are in the package, byte for byte; beside the package there is only the manual page."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        inside = {name.removeprefix("bridge/schemas/") for name in names if name.startswith("bridge/schemas/")}
        assert inside == {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
        for name in inside:
            assert archive.read(f"bridge/schemas/{name}") == (FOLDER / name).read_bytes()
    information = next(name for name in names if "dist-info" in name).split("/")[0]
    beside = {name for name in names if name.split("/")[0] not in {"bridge", information}}
    assert beside == {f"{information.replace('dist-info', 'data')}/data/share/man/man1/nemo-bridge.1"}


def test_the_wheel_has_the_recipes(wheel: Path):
    """What `nemo-bridge init` writes is in the package."""
    with zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.startswith("bridge/recipes/")]
    assert sorted(inside) == sorted(f"bridge/recipes/{path.name}" for path in (ROOT / "bridge/recipes").iterdir())


def test_the_command_reads_them_from_the_wheel(wheel: Path, tmp_path: Path):
    """`nemo-bridge schema` of an installed wheel prints a schema; there the project's folder is not at hand."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import bridge; from bridge.cli.schema import show; "
        "assert bridge.__file__.startswith(sys.argv[1]); raise SystemExit(show('health/bridge'))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (FOLDER / "health/bridge.schema.json").read_text("utf-8")


def test_the_source_archive_has_the_workspace_without_what_it_builds(tmp_path: Path):
    """The Cargo workspace is in the source archive; its `target` folder, which has gigabytes, is not."""
    left = ROOT / "rust" / "target" / "left-by-a-build"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"")
    try:
        with tarfile.open(next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path)))) as archive:
            names = [name.partition("/")[2] for name in archive.getnames()]
    finally:
        left.unlink()
    assert {"rust/Cargo.toml", "rust/Cargo.lock", "rust/client/src/lib.rs"} <= set(names)
    assert [name for name in names if name.startswith("rust/target")] == []
