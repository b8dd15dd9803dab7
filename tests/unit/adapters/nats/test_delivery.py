"""Messages of one subscription, in order, one after another."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.adapters.nats import delivery as module
from bridge.adapters.nats.delivery import NatsSubscription, OnMessage
from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.errors import BridgeError, RejectedError


def _message(number: int, flaw: str = "") -> NatsMessage:
    return NatsMessage(1, f"s.{number}", "", b"x", flaw=flaw)


class Subscribed:
    """A subscription, and what it has told of."""

    def __init__(self, on_message: OnMessage) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.ended: list[BridgeError] = []
        self.dropped: list[str] = []
        self.subscription = NatsSubscription(
            *(1, "s.*", "", on_message),
            start=self.start,
            on_ended=self.ended.append,
            on_dropped=lambda _, subject: self.dropped.append(subject),
        )

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]


async def test_messages_wait_for_those_before_them() -> None:
    """Where one is to be awaited, the next ones come after it, and in order."""
    got: list[str] = []
    go_on = asyncio.Event()

    async def slowly(message: NatsMessage) -> None:
        await go_on.wait()
        got.append(message.subject)

    def take(message: NatsMessage) -> Coroutine[Any, Any, None] | None:
        if message.subject == "s.1":
            return slowly(message)
        got.append(message.subject)
        return None

    subscribed = Subscribed(take)
    for number in range(4):
        subscribed.subscription.put(_message(number))
    assert got == ["s.0"]
    go_on.set()
    await asyncio.gather(*subscribed.tasks)
    subscribed.subscription.put(_message(4))
    assert got == [f"s.{number}" for number in range(5)]


@pytest.mark.parametrize(("flaws", "times"), [(("", ""), 0), (("bad", "bad", "worse"), 1)])
def test_a_flaw_is_told_once(flaws: tuple[str, ...], times: int) -> None:
    """The messages are delivered all the same. Whoever may publish may send any number of them."""
    got: list[NatsMessage] = []
    subscription = Subscribed(got.append).subscription
    with capture_logs() as logs:
        for number, flaw in enumerate(flaws):
            subscription.put(_message(number, flaw))
    assert len(got) == len(flaws)
    assert [log["flaw"] for log in logs] == ["bad"] * times


HEADER = {"name": "x" * 1000}


@pytest.mark.parametrize(
    ("message", "most", "most_bytes", "kept"),
    [
        (NatsMessage(1, "s", "", b"x"), 3, 1 << 20, 3),
        (NatsMessage(1, "s", "", b"x" * 1000), 100, 2500, 3),
        (NatsMessage(1, "s", "", b"", HEADER), 100, 2500, 3),
        (NatsMessage(1, "s", "", b"", {str(n): "" for n in range(100)}), 100, 30_000, 2),
    ],
)
async def test_what_waits_is_bounded(
    message: NatsMessage, most: int, most_bytes: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In number and in bytes, headers among them; each message beyond that is told, and what waits is delivered."""
    monkeypatch.setattr(module, "_MOST", most)
    monkeypatch.setattr(module, "_MOST_BYTES", most_bytes)
    go_on = asyncio.Event()
    got: list[NatsMessage] = []

    async def take(one: NatsMessage) -> None:
        await go_on.wait()
        got.append(one)

    subscribed = Subscribed(take)
    for _ in range(10):
        subscribed.subscription.put(message)
    assert subscribed.dropped == ["s"] * (10 - 1 - kept)
    go_on.set()
    await asyncio.gather(*subscribed.tasks)
    assert len(got) == 1 + kept
    subscribed.subscription.put(message)
    assert len(subscribed.dropped) == 10 - 1 - kept


def test_its_end_is_told_once() -> None:
    """Not before it was confirmed: until then who subscribes hears of it."""
    for confirmed, times in ((True, 1), (False, 0)):
        subscribed = Subscribed(lambda _: None)
        subscribed.subscription.is_confirmed = confirmed
        subscribed.subscription.check()
        for text in ("first", "second"):
            subscribed.subscription.end(RejectedError(text))
        assert [error.message for error in subscribed.ended] == ["first"] * times
        with pytest.raises(RejectedError, match="first"):
            subscribed.subscription.check()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_waits_at_the_end_is_told(cancelled: bool) -> None:
    """Of a session, which has cancelled the delivery, or of a subscription: nothing more is delivered, and all is told.

    Nobody sends it again. What was delivered before is not told.
    """
    go_on = [asyncio.Event(), asyncio.Event()]
    got: list[str] = []

    async def take(message: NatsMessage) -> None:
        await go_on[message.subject != "s.0"].wait()
        got.append(message.subject)

    subscribed = Subscribed(take)
    for number in range(4):
        subscribed.subscription.put(_message(number))
    go_on[0].set()
    for _ in range(5):
        await asyncio.sleep(0)
    if cancelled:
        subscribed.tasks[0].cancel()
        await asyncio.gather(*subscribed.tasks, return_exceptions=True)
    go_on[1].set()
    for _ in range(2):
        subscribed.subscription.discard()
    await asyncio.gather(*subscribed.tasks, return_exceptions=True)
    assert (got, subscribed.dropped) == (["s.0"], ["s.1", "s.2", "s.3"])
