"""Messages of one subscription, in order, one after another."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.nats.delivery import NatsSubscription
from bridge.adapters.nats.protocol import NatsMessage


def _message(number: int, flaw: str = "") -> NatsMessage:
    return NatsMessage(1, f"s.{number}", "", b"x", flaw=flaw)


async def test_messages_wait_for_those_before_them() -> None:
    """Where one is to be awaited, the next ones come after it, and in order."""
    got: list[str] = []
    go_on = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def slowly(message: NatsMessage) -> None:
        await go_on.wait()
        got.append(message.subject)

    def take(message: NatsMessage) -> Coroutine[Any, Any, None] | None:
        if message.subject == "s.1":
            return slowly(message)
        got.append(message.subject)
        return None

    delivery = NatsSubscription(1, take, lambda work: tasks.append(asyncio.ensure_future(work)))
    for number in range(4):
        delivery.put(_message(number))
    assert got == ["s.0"]
    go_on.set()
    await asyncio.gather(*tasks)
    delivery.put(_message(4))
    assert got == [f"s.{number}" for number in range(5)]


@pytest.mark.parametrize(("flaws", "times"), [(("", ""), 0), (("bad", "bad", "worse"), 1)])
def test_a_flaw_is_told_once(flaws: tuple[str, ...], times: int) -> None:
    """The messages are delivered all the same. Whoever may publish may send any number of them."""
    got: list[NatsMessage] = []
    delivery = NatsSubscription(1, got.append, lambda _: None)
    with capture_logs() as logs:
        for number, flaw in enumerate(flaws):
            delivery.put(_message(number, flaw))
    assert len(got) == len(flaws)
    assert [log["flaw"] for log in logs] == ["bad"] * times
