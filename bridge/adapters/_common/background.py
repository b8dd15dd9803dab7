"""What a session does on its own between calls: tasks in one TaskGroup, which whoever closes the session awaits."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bridge.core.errors import ConnectionLostError, NotConnectedError


class Background:
    """Tasks of one session, from `open` to `close`.

    Work handles what the outside does by itself. An exception that it lets through is a bug: `on_bug` is told, and
    `close` raises it.
    """

    def __init__(self, on_bug: Callable[[ConnectionLostError], None]) -> None:
        self._on_bug = on_bug
        self._group: asyncio.TaskGroup | None = None
        self._owner: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether work can be started."""
        return self._group is not None

    async def open(self) -> None:
        """Get ready for work."""
        ready = asyncio.Event()
        self._owner = asyncio.create_task(self._own(ready))
        self._owner.add_done_callback(self._ended)
        await ready.wait()

    async def _own(self, ready: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as self._group:
                ready.set()
                await asyncio.Event().wait()
        finally:
            self._group = None

    def _ended(self, owner: asyncio.Task[None]) -> None:
        if not owner.cancelled() and owner.exception() is not None:
            self._on_bug(ConnectionLostError("the session's own work failed"))

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task; it ends with `close` at the latest. Raises NotConnectedError where nothing is open."""
        if self._group is None:
            work.close()
            raise NotConnectedError("there is no session")
        return self._group.create_task(work)

    async def close(self) -> None:
        """Cancel all tasks and wait until they are gone; idempotent."""
        owner = self._owner
        if owner is None:
            return
        owner.cancel()
        await asyncio.wait({owner})
        self._owner = None
        if not owner.cancelled():
            owner.result()
