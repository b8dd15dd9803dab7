"""Parse paths and globs below a root, written as text: `a/b.txt`, `inbox/*.json`, `**/*.log`."""

import fnmatch
import os
import re
from collections.abc import Sequence
from typing import Final

from bridge.core.errors import InvalidError

#: How deep below the root paths may go.
MAX_DEPTH: Final = 64
#: No file name may hold NUL; the other control characters break the lines of programs that list names.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def split_path(text: str, name: str = "path") -> tuple[str, ...]:
    """Split a path into its segments; `.` and an empty text mean the root itself.

    Args:
        text: The path, with `/` between segments.
        name: What it is called in an error's message.

    Raises:
        InvalidError: It is absolute, climbs with `..`, is too deep, or holds control characters.
    """
    if text.startswith("/"):
        raise InvalidError(f"{name}: must be relative to the root of the integration, without a slash at the start")
    parts = tuple(part for part in text.split("/") if part not in {"", "."})
    if ".." in parts:
        raise InvalidError(f"{name}: `..` would leave the root")
    if len(parts) > MAX_DEPTH:
        raise InvalidError(f"{name}: is deeper than {MAX_DEPTH} levels")
    if _CONTROL.search(text):
        raise InvalidError(f"{name}: a file name must not hold control characters")
    return parts


def unfit_name(name: str) -> str | None:
    """Return why a name that was found in a directory cannot be used; None where it can."""
    try:
        name.encode()
    except UnicodeEncodeError:  # Python represents other bytes by halves of surrogate pairs
        return "its name is not UTF-8"
    return "its name has control characters" if _CONTROL.search(name) else None


def shown(path: str) -> str:
    """Return a path as a person may read it, with escapes for what is no text, and cut after 200 characters."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)[:200]


class Glob:
    """Matches paths by `*`, `?`, `[abc]` within a segment; a segment `**` stands for any number of directories.

    As in a shell, names that begin with a dot match only a segment that begins with one, and `**` enters none of them.
    """

    def __init__(self, text: str, name: str = "glob") -> None:
        """Parse the pattern. Raises InvalidError where `split_path` does, or where it is empty; `name` as there."""
        segments = split_path(text, name)
        if not segments:
            raise InvalidError(f"{name}: must not be empty")
        if segments[-1] == "**":
            segments = (*segments, "*")
        self._segments = [None if one == "**" else _Segment(one) for one in segments]

    def matches(self, parts: Sequence[str]) -> bool:
        """Return whether a path, as segments, matches."""
        # The states of a finite automaton: how many segments of the pattern may have been matched so far.
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
        """Return whether something inside this directory, given as segments, could match."""
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
