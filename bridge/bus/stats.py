"""Counts of a bus client."""

import msgspec


class BusStats(msgspec.Struct):
    """Counts since the start.

    Attributes:
        received: Valid events that were passed on.
        published: Events that were published, or wait for room.
        rejected: Messages that are not valid or came too fast, connections that were closed, and events that the bridge
            itself stopped.
        gaps: Times that numbered events of a source were missing.
        missing: Events missing in all gaps.
        dropped: Own events that were lost because there was no room for them to wait, or the bus was closed.
    """

    received: int = 0
    published: int = 0
    rejected: int = 0
    gaps: int = 0
    missing: int = 0
    dropped: int = 0
