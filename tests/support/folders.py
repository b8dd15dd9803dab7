"""Folders for tests."""

import os
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")


def folder_in_memory() -> "tempfile.TemporaryDirectory[str]":
    """Make a folder in memory, where the system has a file system for that, else on disk.

    An outbox waits for the disk at each commit: for most of the time of a test that makes thousands and does not end
    the process.
    """
    return tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
