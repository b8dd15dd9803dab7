"""Finds events that were lost, for sources that number what they publish (`headers.seq`)."""

from typing import Final

from bridge.core.model import Event

#: Sources that are followed at the same time; the one unheard for longest is forgotten.
MAX_SOURCES: Final = 1024
_MAX_DIGITS: Final = 19
#: Longer names than this are not followed, so that invented ones cannot fill the memory.
_MAX_NAME: Final = 255


class GapDetector:
    """Remembers the last number of each source."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def missing(self, event: Event) -> int:
        """How many events of this one's source were lost right before it; 0 where that cannot be known.

        The first event of a source sets the start. A number that does not rise is a restart of the source.
        """
        if event.headers is None or event.source is None or len(event.source) > _MAX_NAME:
            return 0
        text = event.headers.get("seq")
        if text is None or len(text) > _MAX_DIGITS or not (text.isascii() and text.isdigit()):
            return 0
        number = int(text)
        last = self._last.pop(event.source, None)
        if last is None and len(self._last) >= MAX_SOURCES:
            del self._last[next(iter(self._last))]
        self._last[event.source] = number
        return 0 if last is None or number <= last else number - last - 1
