"""The filters of a session that the broker keeps, in a file, so that they are known after a restart.

MQTT cannot list a session's subscriptions. The filter of one that has left the configuration can be found by the topics
of its messages, but not the group of a shared one.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from bridge.core.lock_file import make_private

#: Bytes of the file that are read at most.
_MOST_BYTES: Final = 4 << 20


class _Content(msgspec.Struct):
    server: str
    client_id: str
    filters: list[str]


class SessionFile:
    """The file of one integration; it holds what one session at one broker has subscribed to."""

    def __init__(self, path: Path, *, server: str, client_id: str) -> None:
        """Remember the path; nothing is read before `read`."""
        self._path = path
        self._server = server
        self._client_id = client_id

    def read(self) -> set[str]:
        """Return the filters; none where the file is missing, or is that of another session.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not such a file.
        """
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return set()
        with os.fdopen(file, "rb") as opened:
            content = msgspec.json.decode(opened.read(_MOST_BYTES), type=_Content)
        is_ours = (content.server, content.client_id) == (self._server, self._client_id)
        return set(content.filters) if is_ours else set()

    def write(self, filters: Iterable[str]) -> None:
        """Replace what is in the file; after a crash it is the old or the new content.

        Raises:
            OSError: It cannot be written.
        """
        make_private(self._path.parent)
        data = msgspec.json.encode(_Content(self._server, self._client_id, sorted(filters)))
        draft = self._path.with_suffix(".new")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(file, "wb") as opened:
            opened.write(data)
        draft.replace(self._path)
