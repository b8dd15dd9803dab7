"""Finds lost events of sources that number what they publish (`headers.seq`)."""

from typing import Final

from bridge.core.model import Event

#: Sources that are remembered at the same time. With one more, the one whose last event is oldest is forgotten.
MAX_SOURCES: Final = 1024
_MAX_DIGITS: Final = 19
#: Characters. Sources with longer names are not remembered, so that invented ones cannot fill the memory.
_MAX_NAME: Final = 255


class GapDetector:
    """Compares the number of each event with the last one of its source."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def missing(self, event: Event) -> int:
        """Return how many events of the same source were lost right before this one; 0 where that cannot be known.

        A source's first event is the beginning. A number that does not rise means that the source has restarted.
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
