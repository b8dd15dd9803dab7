"""Run the tasks of a session in one TaskGroup, which ends with the session."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bridge.core.errors import ConnectionLostError, NotConnectedError


class Background:
    """Runs the tasks of one session, from `open` to `close`.

    The tasks handle the errors of the outside themselves. An exception that one raises is a bug: it ends all tasks,
    `on_bug` is called, and `close` raises it.
    """

    def __init__(self, on_bug: Callable[[ConnectionLostError], None]) -> None:
        """Begin closed; `on_bug` is called with the error to report as the loss of the session."""
        self._on_bug = on_bug
        self._group: asyncio.TaskGroup | None = None
        self._owner: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Return whether tasks can be started."""
        return self._group is not None

    async def open(self) -> None:
        """Open the group; tasks can be started from now on."""
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
        """Start a task; `close` cancels it. Raises NotConnectedError where the group is not open."""
        if self._group is None:
            work.close()
            raise NotConnectedError("there is no session")
        return self._group.create_task(work)

    async def close(self) -> None:
        """Cancel all tasks and wait for their end; idempotent. Raises the exception of a bug, in an ExceptionGroup."""
        owner = self._owner
        if owner is None:
            return
        owner.cancel()
        await asyncio.wait({owner})
        self._owner = None
        if not owner.cancelled():
            owner.result()
