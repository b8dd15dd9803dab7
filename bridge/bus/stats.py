"""The bus in numbers."""

from dataclasses import dataclass


@dataclass(slots=True)
class BusStats:
    """Counts since the start.

    Attributes:
        received: Good events that were handed on.
        published: Events that were put on the bus, or wait for room.
        rejected: Messages not understood, or that came too fast, connections cut, and what the bridge itself stopped.
        gaps: Times that numbered events of a source were missing.
        missing: Events missing in all gaps.
        dropped: Own events lost because the broker did not take them, or the bus was closed.
    """

    received: int = 0
    published: int = 0
    rejected: int = 0
    gaps: int = 0
    missing: int = 0
    dropped: int = 0
