"""Notice that a file which the settings name has changed: a certificate, a key, credentials."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bridge.core.files import identity
from bridge.core.setup import IntegrationSettings

FileStates = tuple[tuple[str, tuple[int, ...] | None], ...]
"""Each file with what identifies its content (`core.files.identity`); None where there is none."""


def file_states(settings: IntegrationSettings) -> FileStates:
    """Return the state of each file that the settings of an integration name; see `named_files`."""
    return named_files(settings.endpoint, settings.auth, settings.tls, settings.config)


def named_files(*parts: object) -> FileStates:
    """Return the state of each file that parts of the settings name; directories are left out.

    It looks each file up, which may take long where a file system does not answer: call it in a thread.

    Args:
        parts: Models, maps and lists of them, or None.
    """
    paths = sorted({str(path) for part in parts for path in _paths(part)})
    states = ((path, _state(path)) for path in paths)
    return tuple((path, state) for path, state in states if state != ())


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from _paths(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _paths(one)


def _state(path: str) -> tuple[int, ...] | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(found.st_mode):
        return ()
    return identity(found)
