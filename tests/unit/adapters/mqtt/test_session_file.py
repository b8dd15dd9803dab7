"""The filters of a kept session, in a file: known after a restart, and harmless whatever is in it."""

import asyncio
from pathlib import Path

import pytest

from bridge.adapters.mqtt.session_file import SessionFile
from bridge.adapters.mqtt.stale import FILE, LOST, KnownFilters


def session_file(folder: Path, client_id: str = "c") -> SessionFile:
    """The file of one client id."""
    return SessionFile(folder / "state" / "mqtt-x.json", server="h:1883", client_id=client_id)


def known(folder: Path, *, present: bool = True, client_id: str = "c") -> tuple[KnownFilters, dict[str, str | None]]:
    """The filters of a new process, and its warnings."""
    warnings: dict[str, str | None] = {}
    filters = KnownFilters()
    filters.begin(session_file(folder, client_id), warnings.__setitem__, present=present)
    return filters, warnings


async def test_filters_are_known_after_a_restart(tmp_path: Path) -> None:
    """Those that were not ended, for the same session only, in a file that nobody else reads."""
    first, warnings = known(tmp_path)
    for topic in ("$share/g/a", "b/#", "c"):
        first.add(topic)
    first.remove("c")
    await asyncio.sleep(0)
    assert known(tmp_path)[0].topics == {"$share/g/a", "b/#"}
    assert known(tmp_path, client_id="another")[0].topics == set()
    assert known(tmp_path, present=False)[0].topics == set()
    assert warnings == {}
    (file,) = (tmp_path / "state").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_session_that_the_broker_has_lost(tmp_path: Path) -> None:
    """A person is told, by this process and by a later one, that messages are missing; the first time is no loss."""
    warnings: dict[str, str | None] = {}
    filters = KnownFilters()

    def begin(known_filters: KnownFilters, **more: bool) -> set[str]:
        warnings.clear()
        known_filters.begin(session_file(tmp_path), warnings.__setitem__, present=False, **more)
        return set(warnings)

    assert begin(filters, expected=True) == set()
    filters.add("a")
    await asyncio.sleep(0)
    assert begin(KnownFilters(), expected=True) == {LOST}
    assert begin(filters, expected=False) == set()
    filters.add("a")
    assert begin(filters, expected=True) == {LOST}
    assert begin(filters, expected=True) == set()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"server": 1}', b"[" * 100_000])
async def test_a_file_that_makes_no_sense(tmp_path: Path, content: bytes) -> None:
    """Costs nothing but what it should have said, and a person is told; the next change replaces it."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "mqtt-x.json").write_bytes(content)
    filters, warnings = known(tmp_path)
    assert filters.topics == set()
    assert warnings[FILE]
    filters.add("a")
    await asyncio.sleep(0)
    assert known(tmp_path)[0].topics == {"a"}


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The session goes on, with a warning."""
    (tmp_path / "state").write_bytes(b"a file in its place")
    filters, warnings = known(tmp_path)
    filters.add("a")
    await asyncio.sleep(0)
    assert filters.topics == {"a"}
    assert "cannot be kept in a file" in (warnings[FILE] or "")
