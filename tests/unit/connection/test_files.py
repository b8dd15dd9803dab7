"""Show how a change of a file is noticed that the settings of an integration name."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from bridge.connection import file_states
from bridge.core.endpoint import AuthCertificate, AuthCredentials, AuthNone, Strict, Tls
from tests.support.adapters.memory_adapter import SPEC
from tests.unit.connection.test_manager import Settings


class Nested(Strict):
    """A part of a config block."""

    key: Path


class Config(Strict):
    """A config block with files in several places."""

    root: Path
    parts: tuple[Nested, ...] = ()
    by_name: Annotated[dict[str, Nested], Field(default_factory=dict)]
    secret: SecretStr = SecretStr("/etc/passwd")


def test_all_files_of_the_settings_are_seen(tmp_path: Path):
    """Files of all blocks, at any depth; directories and texts are left out, and a missing file has no state."""
    names = ["ca", "cert", "key", "listed", "named"]
    for name in names:
        (tmp_path / name).write_text(name)
    config = Config(
        root=tmp_path,
        parts=(Nested(key=tmp_path / "listed"),),
        by_name={"x": Nested(key=tmp_path / "named"), "y": Nested(key=tmp_path / "missing")},
    )
    auth = AuthCertificate(type="certificate", cert=tmp_path / "cert", key=tmp_path / "key")
    settings = Settings("a", SPEC, auth=auth, tls=Tls(ca=tmp_path / "ca"), config=config)
    states = dict(file_states(settings))
    assert set(states) == {str(tmp_path / name) for name in [*names, "missing"]}
    assert states[str(tmp_path / "missing")] is None
    assert file_states(settings) == file_states(settings)
    assert file_states(dataclasses.replace(settings, auth=AuthNone(type="none"), tls=Tls(), config=None)) == ()


def test_each_way_to_renew_a_file_is_noticed(tmp_path: Path):
    """Written over with the same length, replaced, removed, and behind a symbolic link that changes."""
    file, link = tmp_path / "credentials", tmp_path / "link"
    file.write_text("one")
    link.symlink_to(file)
    settings = Settings("a", SPEC, auth=AuthCredentials(type="credentials", file=link))
    seen = [file_states(settings)]
    os.utime(file, ns=(1, 1))
    file.write_text("two")
    seen.append(file_states(settings))
    other = tmp_path / "other"
    other.write_text("two")
    other.replace(file)
    seen.append(file_states(settings))
    (tmp_path / "third").write_text("two")
    link.unlink()
    link.symlink_to(tmp_path / "third")
    seen.append(file_states(settings))
    link.unlink()
    seen.append(file_states(settings))
    assert len(set(seen)) == 5


def test_what_cannot_be_opened_is_not_opened(tmp_path: Path):
    """A pipe does not hold up the reload."""
    os.mkfifo(tmp_path / "pipe")
    settings = Settings("a", SPEC, auth=AuthCredentials(type="credentials", file=tmp_path / "pipe"))
    assert file_states(settings)[0][1] is not None
