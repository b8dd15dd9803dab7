"""Which of several servers answers first."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bridge.adapters.redis.discovery import first_answer
from bridge.core.errors import AuthError, NotConnectedError
from tests.support.clock import FakeClock


class Servers:
    """Servers that answer, fail or are silent, as their names say."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.left: list[str] = []

    def question(self, name: str) -> Callable[[], Awaitable[str]]:
        """Return what asks one of them."""

        async def ask() -> str:
            self.asked.append(name)
            try:
                match name.split("-"):
                    case ["silent", *_]:
                        await asyncio.Event().wait()
                    case ["refuses", *_]:
                        raise NotConnectedError(name)
                    case ["password", *_]:
                        raise AuthError(name, permanent=True)
            finally:
                self.left.append(name)
            return name

        return ask


async def first(clock: FakeClock, names: list[str], seconds: float = 100.0) -> tuple[asyncio.Task[str], Servers]:
    """Ask, and let time pass."""
    servers = Servers()
    task = asyncio.create_task(first_answer([servers.question(name) for name in names], clock))
    await clock.advance(seconds)
    return task, servers


async def test_the_next_is_asked_at_once_after_a_failure() -> None:
    """And those behind the one that answers are left alone."""
    task, servers = await first(FakeClock(), ["refuses-1", "refuses-2", "good", "other"], 0.0)
    assert task.result() == "good"
    assert servers.asked == ["refuses-1", "refuses-2", "good"]


async def test_a_silent_one_costs_a_second() -> None:
    """Then the next is asked, too; in the end nobody is asked any more."""
    clock = FakeClock()
    task, servers = await first(clock, ["silent-1", "silent-2", "good"], 1.5)
    assert not task.done()
    await clock.advance(1.0)
    assert task.result() == "good"
    assert sorted(servers.left) == ["good", "silent-1", "silent-2"]
    assert clock.timers == 0


async def test_none_answers() -> None:
    """The error that needs a person is told, else the first one; while one is silent, it is waited for."""
    task, _ = await first(FakeClock(), ["refuses-1", "password", "refuses-2"])
    with pytest.raises(AuthError):
        task.result()
    task, _ = await first(FakeClock(), ["refuses-1", "refuses-2"])
    with pytest.raises(NotConnectedError, match="refuses-1"):
        task.result()
    task, _ = await first(FakeClock(), [])
    with pytest.raises(NotConnectedError, match="no server"):
        task.result()
    task, servers = await first(FakeClock(), ["silent", "refuses"])
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "silent" in servers.left
