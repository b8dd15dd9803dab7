"""Paths and globs below a root, as text: `a/b.txt`, `inbox/*.json`, `**/*.log`."""

import fnmatch
import re
from collections.abc import Sequence
from typing import Final

from bridge.core.errors import InvalidError

#: How deep below the root paths may go.
MAX_DEPTH: Final = 64
#: NUL no file name may hold; the others break the lines of whoever lists them.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def split_path(text: str, name: str = "path") -> tuple[str, ...]:
    """A path's segments; `.` and nothing mean the root itself.

    Raises:
        InvalidError: It is absolute, climbs with `..`, is too deep, or holds control characters.
    """
    if text.startswith("/"):
        raise InvalidError(f"{name}: paths start at the root of the integration, without a slash")
    parts = tuple(part for part in text.split("/") if part not in {"", "."})
    if ".." in parts:
        raise InvalidError(f"{name}: `..` would leave the root")
    if len(parts) > MAX_DEPTH:
        raise InvalidError(f"{name}: deeper than {MAX_DEPTH} levels")
    if _CONTROL.search(text):
        raise InvalidError(f"{name}: a file name holds no control characters")
    return parts


class Glob:
    """`*`, `?`, `[abc]` within a segment; a segment `**` stands for any number of directories.

    As in a shell, names that begin with a dot match only a segment that begins with one, and `**` enters none of them.
    """

    def __init__(self, text: str) -> None:
        """Raises InvalidError where `split_path` does, or for an empty one."""
        segments = split_path(text, "glob")
        if not segments:
            raise InvalidError("glob: is empty")
        if segments[-1] == "**":
            segments = (*segments, "*")
        self._segments = [None if one == "**" else _Segment(one) for one in segments]

    def matches(self, parts: Sequence[str]) -> bool:
        """Whether a path is one of those."""
        # The states of a small automaton: how many segments may be behind us.
        states = self._skip({0})
        for part in parts:
            following = set()
            for state in states - {len(self._segments)}:
                segment = self._segments[state]
                if segment is None:
                    following |= set() if part.startswith(".") else {state}
                elif segment.matches(part):
                    following.add(state + 1)
            states = self._skip(following)
        return len(self._segments) in states

    def _skip(self, states: set[int]) -> set[int]:
        for state in sorted(states):
            beyond = state
            while beyond < len(self._segments) and self._segments[beyond] is None:
                beyond += 1
                states.add(beyond)
        return states

    def enters(self, parts: Sequence[str]) -> bool:
        """Whether a directory may hold something that matches."""
        for segment, part in zip(self._segments, parts, strict=False):
            if segment is None:
                return not parts[-1].startswith(".")
            if not segment.matches(part):
                return False
        return len(parts) < len(self._segments)


class _Segment:
    def __init__(self, text: str) -> None:
        self._hidden = text.startswith(".")
        self._pattern = re.compile(fnmatch.translate(text))

    def matches(self, name: str) -> bool:
        return (self._hidden or not name.startswith(".")) and self._pattern.match(name) is not None
