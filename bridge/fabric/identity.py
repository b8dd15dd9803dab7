"""The id of an installation in a fabric, in a file, so that a bridge that was killed has its name again at once."""

import errno
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Final

from bridge.core.files import read_regular
from bridge.core.lock_file import make_private
from bridge.core.log import structlog

#: Bytes of the file: 32 hexadecimal digits and the end of the line.
_SIZE: Final = 33

log = structlog.get_logger(__name__)


def instance_of(state_dir: Path | None, fabric: str, rng: random.Random) -> str:
    """Return the id of this installation in a fabric: 32 hexadecimal digits.

    It is in `<state_dir>/fabric-<fabric>.id`, which is written where it is missing or holds something else. Where that
    cannot be, the log says so, and the id is one for this process alone.

    Args:
        state_dir: The folder; None: nothing is read or written.
        fabric: The fabric's label.
        rng: For a new id.
    """
    new = f"{rng.getrandbits(128):032x}"
    if state_dir is None:
        return new
    path = state_dir / f"fabric-{fabric}.id"
    try:
        return _read(path) or _write(path, new)
    except OSError as error:
        log.warning(
            "installation id not kept",
            fabric=fabric,
            path=str(path),
            error=error.strerror or str(error),
        )
        return new


def _read(path: Path) -> str | None:
    """Return the id in a file; None where there is none in it. Raises OSError where it cannot be read."""
    try:
        text = read_regular(path, _SIZE).decode("ascii", "replace").strip()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EFBIG}:
            return None
        raise
    is_id = len(text) == _SIZE - 1 and set(text) <= set("0123456789abcdef")
    return text if is_id else None


def _write(path: Path, new: str) -> str:
    """Put an id into a file, whole or not at all, and return it. Raises OSError where it cannot be written."""
    make_private(path.parent)
    draft = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        draft.unlink()
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "wb") as opened:
        opened.write(f"{new}\n".encode())
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(path)
    return new
