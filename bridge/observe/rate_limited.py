"""Keeps a remote that is down for hours, or one that says something else each time, from filling the disk."""

from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

#: So many lines about the same pass in so many seconds; the rest is counted.
BURST: Final = 10
WINDOW: Final = 60.0
#: Things that are remembered at a time.
_MOST: Final = 1000


@dataclass(slots=True)
class _Count:
    since: float
    passed: int = 0
    left_out: int = 0


class Repeats:
    """A processor of structlog that lets only so many lines about the same thing pass.

    The same thing is the same event of the same integration, at the same level, whatever else the line says. The
    first line after a pause says how many were left out (`left_out`). A crash always passes.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` tells seconds that never go back."""
        self._now = now
        self._counts: OrderedDict[tuple[str, str, str], _Count] = OrderedDict()

    def __call__(self, _: Any, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The line, or `DropEvent`."""
        if level == "critical":
            return line
        key = (level, str(line.get("event")), str(line.get("integration")))
        now = self._now()
        count = self._counts.get(key)
        if count is None or now - count.since >= WINDOW:
            if count is not None and count.left_out:
                line["left_out"] = count.left_out
            count = self._counts[key] = _Count(now)
            self._counts.move_to_end(key)
            if len(self._counts) > _MOST:
                self._counts.popitem(last=False)
        if count.passed >= BURST:
            count.left_out += 1
            raise structlog.DropEvent
        count.passed += 1
        return line
