"""What a PONG confirms, and what becomes of the rest."""

import asyncio
from typing import Any

import pytest

from bridge.adapters.nats.confirmed import Confirmed
from bridge.adapters.nats.protocol import PING
from bridge.core.errors import BridgeError, ConnectionLostError, RejectedError


class Wire:
    """Stands for the transport and notes what is written; the test answers the PINGs."""

    def __init__(self) -> None:
        self.pending: list[bytes] = []
        self.written: list[bytes] = []
        self.confirmed = Confirmed(self)

    def flush(self) -> None:
        self.written += self.pending
        self.pending.clear()

    def expect(self) -> None:
        """It reads at once anyway."""

    def publish(self, data: bytes, subject: str = "a") -> asyncio.Future[Any]:
        promise: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.confirmed.publish(data, promise, subject)
        return promise


async def turn() -> None:
    """One turn of the loop, and what it has set off."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_one_ping_for_a_turn() -> None:
    """All that one turn publishes has one PING behind it, and its PONG confirms that and nothing later."""
    wire = Wire()
    first = [wire.publish(b"1"), wire.publish(b"2"), wire.publish(b"")]
    await turn()
    later = wire.publish(b"3")
    await turn()
    assert wire.written == [b"1", b"2", PING, b"3", PING]
    assert not any(promise.done() for promise in first)
    wire.confirmed.pong()
    await turn()
    assert [promise.result() for promise in first] == [{}] * 3
    assert not later.done()
    wire.confirmed.pong()
    await turn()
    assert later.result() == {}


async def test_who_has_given_up_is_passed_over() -> None:
    """A promise that nobody waits for any more holds up nobody."""
    wire = Wire()
    gone, other = wire.publish(b"1"), wire.publish(b"2")
    await turn()
    gone.cancel()
    wire.confirmed.pong()
    await turn()
    assert other.result() == {}


async def test_a_lost_connection_fails_what_is_not_confirmed() -> None:
    """What was asked for, what was only written, and nothing twice."""
    wire = Wire()
    asked = wire.publish(b"1")
    await turn()
    written = wire.publish(b"2")

    def error() -> BridgeError:
        return ConnectionLostError("gone")

    wire.confirmed.fail(error)
    wire.confirmed.fail(error)
    await turn()
    for promise in (asked, written):
        with pytest.raises(ConnectionLostError):
            promise.result()
    wire.confirmed.pong()
    await turn()
    assert wire.written == [b"1", PING, b"2"]


async def test_a_pong_that_nobody_asked_for() -> None:
    """It confirms nothing, and the next PING is answered by the next PONG."""
    wire = Wire()
    wire.confirmed.pong()
    promise = wire.publish(b"1")
    wire.confirmed.pong()
    await turn()
    assert not promise.done()
    wire.confirmed.pong()
    assert promise.result() == {}


async def test_a_forbidden_subject_fails_alone() -> None:
    """All that was published to it fails at once, and others go on; the answer says whether there was any."""
    wire = Wire()
    bad, good, same = wire.publish(b"1", "Secret.A"), wire.publish(b"2", "open"), wire.publish(b"3", "Secret.A")
    await turn()
    assert not wire.confirmed.forbid("secret.a", lambda: RejectedError("no"))
    assert wire.confirmed.forbid("Secret.A", lambda: RejectedError("no"))
    assert not wire.confirmed.forbid("Secret.A", lambda: RejectedError("again"))
    assert [promise.done() for promise in (bad, good, same)] == [True, False, True]
    wire.confirmed.pong()
    await turn()
    assert good.result() == {}
    for promise in (bad, same):
        with pytest.raises(RejectedError):
            promise.result()


async def test_what_is_forbidden_before_its_ping() -> None:
    """Nothing is left to ask for; what is published in the same turn has its PING all the same."""
    wire = Wire()
    bad = wire.publish(b"1", "secret")
    wire.confirmed.forbid("secret", lambda: RejectedError("no"))
    good = wire.publish(b"2", "open")
    await turn()
    wire.confirmed.pong()
    assert good.result() == {}
    assert wire.written == [b"1", b"2", PING]
    with pytest.raises(RejectedError):
        bad.result()
