"""Ask several servers the same, and take the first answer."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from bridge.core.errors import BridgeError, NotConnectedError
from bridge.core.ports import Clock

#: Seconds without an answer after which the next server is asked, too: one whose address leads nowhere would else use
#: up the time for all of them.
_PATIENCE: Final = 1.0

_T = TypeVar("_T")


async def first_answer(questions: Iterable[Callable[[], Awaitable[_T]]], clock: Clock) -> _T:
    """Return the first answer. The next server is asked where one has failed, or has not answered within a second.

    Args:
        questions: Each asks one server.
        clock: Measures the second.

    Raises:
        BridgeError: All have failed. The error is the first one that is permanent, or else the first one.
    """
    failures: list[BridgeError] = []
    found: list[_T] = []
    changed = asyncio.Event()

    async def ask(question: Callable[[], Awaitable[_T]]) -> None:
        try:
            found.append(await question())
        except BridgeError as error:
            failures.append(error)
        changed.set()

    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []
        for question in questions:
            changed.clear()
            tasks.append(group.create_task(ask(question)))
            with contextlib.suppress(TimeoutError):
                async with clock.timeout(_PATIENCE):
                    await changed.wait()
            if found:
                break
        while not found and len(failures) < len(tasks):
            changed.clear()
            await changed.wait()
        for task in tasks:
            task.cancel()
    if found:
        return found[0]
    if not failures:
        raise NotConnectedError("there is no server to ask")
    raise next((error for error in failures if error.permanent), failures[0])
