"""Who may use a connection, and when."""

import asyncio

import pytest

from bridge.adapters._common.http.pool import _Slots


async def turns() -> None:
    """Let tasks go on."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_slots_are_given_in_order() -> None:
    """Who waits for longest gets the next one, and nobody takes it before."""
    slots = _Slots(1)
    assert slots.take()
    got: list[int] = []

    async def wait(number: int) -> None:
        await slots.wait()
        got.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(2)]
    await turns()
    slots.give()
    assert not slots.take()
    await turns()
    assert got == [0]
    slots.give()
    await asyncio.gather(*tasks)
    assert got == [0, 1]
    slots.give()
    assert slots.take()


@pytest.mark.parametrize("given", [False, True])
async def test_a_slot_is_not_lost_with_who_has_waited_for_it(given: bool) -> None:
    """Somebody gives up waiting, before the slot is given back or in the same moment."""
    slots = _Slots(1)
    await slots.wait()
    first, second = asyncio.create_task(slots.wait()), asyncio.create_task(slots.wait())
    await turns()
    if given:
        slots.give()
        first.cancel()
    else:
        first.cancel()
        slots.give()
    await second
    assert first.cancelled()
    slots.give()
    assert slots.take()
    assert not slots.take()
