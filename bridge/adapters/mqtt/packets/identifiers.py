"""Packet identifiers: one supply for all packets that wait for an answer of the broker (MQTT 5, 2.2.1)."""

from collections.abc import Iterable
from typing import Final

from bridge.core.errors import OverloadedError

_HIGHEST: Final = 65_535


class Identifiers:
    """Gives out packet identifiers that are not in use.

    Attributes:
        used: Those in use.
    """

    def __init__(self) -> None:
        self.used: set[int] = set()
        self._last = 0

    def take(self) -> int:
        """Return an identifier that is free, which is used until `release`.

        Raises:
            OverloadedError: All are in use.
        """
        if len(self.used) >= _HIGHEST:
            raise OverloadedError("the broker owes an answer to 65535 packets, and MQTT has no more identifiers")
        used, identifier = self.used, self._last % _HIGHEST + 1
        while identifier in used:
            identifier = identifier % _HIGHEST + 1
        used.add(identifier)
        self._last = identifier
        return identifier

    def reserve(self, identifiers: Iterable[int]) -> None:
        """Take identifiers that are in use at the broker already."""
        self.used.update(identifiers)

    def release(self, identifier: int) -> None:
        """Make an identifier free again; nothing happens where it is."""
        self.used.discard(identifier)
