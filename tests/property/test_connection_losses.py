"""Operations that end their connection, among many that do not: the former are dead letters, the latter arrive."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.outbox import Selection
from tests.support.folders import folder_in_memory
from tests.support.guard.outbox import OutboxHarness
from tests.support.guard.remote import CuttingRemote

_EVENTS = 100
_POISONS = st.frozensets(st.integers(1, _EVENTS), max_size=4)


def _run(act: Callable[[OutboxHarness, CuttingRemote], Awaitable[None]], **options: Any) -> None:
    """Run a test with an outbox whose one integration is a remote that ends its connections."""

    async def run(folder: Path) -> None:
        box = OutboxHarness(folder / "data")
        remote = CuttingRemote(box.clock, on_change=box.outbox.wake, **options)
        box.connections["api"] = remote  # type: ignore[assignment]
        await box.open()
        try:
            await act(box, remote)
            assert not remote.bugs
            sums = remote.accounting
            assert sums.in_flight == 0
        finally:
            await box.outbox.close()

    with folder_in_memory() as folder:
        asyncio.run(run(Path(folder)))


async def _until_empty(box: OutboxHarness, seconds: float) -> None:
    """Let time pass until nothing is pending."""
    await box.settle()
    for _ in range(round(seconds * 10)):
        if not box.pending:
            return
        await box.clock.advance(0.1)
    raise AssertionError(f"{box.pending} still wait after {seconds} s")


async def _dead(box: OutboxHarness) -> dict[int, str]:
    letters = (await box.outbox.letters(Selection(), 1000)).letters
    return {one.event.id: one.error.kind for one in letters}


@given(poison=_POISONS, shared=st.booleans(), keyed=st.booleans(), seed=st.integers(0, 1000))
@example(poison=frozenset({1}), shared=True, keyed=False, seed=1)
@example(poison=frozenset({50, 51, 52}), shared=True, keyed=True, seed=1)
@example(poison=frozenset(), shared=True, keyed=False, seed=1)
@settings(max_examples=30, deadline=None)
def test_poison_is_found_and_the_others_go_on(poison: frozenset[int], shared: bool, keyed: bool, seed: int) -> None:
    """Exactly the poison is rejected, at whatever place, within few connections and soon; all others arrive."""

    async def act(box: OutboxHarness, remote: CuttingRemote) -> None:
        for number in range(1, _EVENTS + 1):
            box.accept(number, key=f"k{number % 10 if keyed else number}")
        await _until_empty(box, 60 + 30 * len(poison))
        assert await _dead(box) == dict.fromkeys(poison, "rejected")
        assert sorted(set(remote.answered)) == [one for one in range(1, _EVENTS + 1) if one not in poison]
        # Each poison may have to wait for what is learnt about the others.
        assert max((remote.tried.count(number) for number in poison), default=0) <= 4 + 2 * len(poison)
        assert remote.cuts <= 5 * len(poison)

    _run(act, poison=poison, shared=shared, seed=seed)


@given(seconds=st.floats(0.5, 120), shared=st.booleans(), seed=st.integers(0, 1000), most=st.integers(1, 64))
@settings(max_examples=20, deadline=None)
def test_an_outage_is_nobodys_doing(seconds: float, shared: bool, seed: int, most: int) -> None:
    """A remote that accepts connections, passes checks and ends every operation's connection rejects nobody."""

    async def act(box: OutboxHarness, remote: CuttingRemote) -> None:
        remote.cuts_all = True
        for number in range(1, _EVENTS + 1):
            box.accept(number, key=str(number))
        await box.clock.advance(seconds)
        assert await _dead(box) == {}
        remote.cuts_all = False
        await _until_empty(box, 400)
        assert await _dead(box) == {}
        assert sorted(set(remote.answered)) == list(range(1, _EVENTS + 1))

    _run(act, shared=shared, seed=seed, limit={"max_in_flight": most})


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_a_remote_that_is_killed_at_random_rejects_nobody(shared: bool, seed: int) -> None:
    """However often and whenever the remote is killed, all arrive and nothing is a dead letter."""

    async def act(box: OutboxHarness, remote: CuttingRemote) -> None:
        rng = random.Random(seed)
        for number in range(1, 301):
            box.accept(number, key=f"k{number % 50}")
            await box.clock.advance(rng.uniform(0, 0.02))
            if rng.random() < 0.015:
                remote.cut()
        await _until_empty(box, 400)
        assert await _dead(box) == {}
        assert sorted(set(remote.answered)) == list(range(1, 301))
        assert remote.cuts > 1

    _run(act, shared=shared, seed=seed)
