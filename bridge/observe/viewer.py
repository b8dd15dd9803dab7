"""The connection to one open console, as what serves it sees it."""

from typing import Protocol


class GoneError(Exception):
    """The viewer has gone, or was dropped."""


class Viewer(Protocol):
    """The connection to one open console."""

    async def send(self, frame: bytes) -> None:
        """Send a frame as text, and wait until there is room for the next one. Raises GoneError."""
        ...

    async def receive(self) -> str | bytes:
        """Wait for the next frame: str where it is text. Raises GoneError."""
        ...

    def drop(self) -> None:
        """End the connection at once."""
        ...
