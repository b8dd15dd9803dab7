"""A socket of the event loop that notes whether it is read."""

import asyncio


class FakeSocket(asyncio.Transport):
    """Takes whatever is written, and is closed by `abort`."""

    def __init__(self) -> None:
        super().__init__()
        self._reading = True
        self._closed = False

    def is_reading(self) -> bool:
        """Whether more would come."""
        return self._reading

    def pause_reading(self) -> None:
        """Nothing comes any more."""
        self._reading = False

    def resume_reading(self) -> None:
        """More comes."""
        assert not self._closed
        self._reading = True

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self._closed

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""

    def abort(self) -> None:
        """Close it."""
        self._closed = True
