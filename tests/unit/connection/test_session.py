"""The session keeper connects, checks, notices a dead connection, and connects again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Self

import pytest

from bridge.connection.session import SessionKeeper
from bridge.core.cancel import BoundedTasks
from bridge.core.endpoint import Strict
from bridge.core.errors import AuthError, BridgeError, ConnectionLostError, NotConnectedError, RejectedError
from bridge.core.ports import AdapterBase, AdapterSetup, AdapterSpec
from bridge.core.settings import HealthSettings
from tests.support.adapters.setup import adapter_setup
from tests.support.clock import FakeClock


class Remote:
    """The remote of the sessions: each field is the error that a step raises, or None."""

    def __init__(self) -> None:
        self.connect: BridgeError | None = None
        self.check: BridgeError | None = None
        self.frozen = False
        self.sessions: list[Session] = []
        self.checks = 0


class Session(AdapterBase):
    """One session with the remote."""

    def __init__(self, remote: Remote, setup: AdapterSetup) -> None:
        self.remote = remote
        self.setup = setup
        self.connects = 0
        self.closed = False
        remote.sessions.append(self)

    async def connect(self) -> None:
        self.connects += 1
        if self.remote.connect is not None:
            raise self.remote.connect

    async def disconnect(self) -> None:
        self.closed = True

    async def check(self) -> None:
        self.remote.checks += 1
        if self.remote.frozen:
            await asyncio.Event().wait()
        if self.remote.check is not None:
            raise self.remote.check


class RunningKeeper:
    """A keeper that runs, its remote, and all statuses that it reported, without repeats."""

    def __init__(
        self, *, has_session: bool = True, order: Callable[[AdapterBase], Awaitable[None]] | None = None
    ) -> None:
        self.clock = FakeClock()
        self.remote = Remote()
        self.told: list[str] = []
        self.errors: list[BridgeError | None] = []
        self.ordered: list[AdapterBase] = []
        spec = AdapterSpec(
            protocol="fake",
            summary="",
            operations=frozenset(),
            auth=frozenset(),
            config=Strict,
            schemes={},
            create=lambda setup: Session(self.remote, setup),
            has_session=has_session,
        )

        async def put_in_order(session: AdapterBase) -> None:
            self.ordered.append(session)
            if order is not None:
                await order(session)

        self.keeper = SessionKeeper(
            spec,
            lambda on_lost: adapter_setup(integration="x", endpoint=None, on_lost=on_lost),
            HealthSettings(interval=30.0, timeout=5.0),
            connect_timeout=10.0,
            clock=self.clock,
            rng=random.Random(1),
            tasks=BoundedTasks(clock=self.clock),
            on_status=self._on_status,
            on_session=put_in_order,
        )

    def _on_status(self, status: str, error: BridgeError | None) -> None:
        if not self.told or self.told[-1] != status:
            self.told.append(str(status))
            self.errors.append(error)

    async def __aenter__(self) -> Self:
        self.task = asyncio.ensure_future(self.keeper.run())
        await self.clock.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_it_connects_and_reports_it():
    """The status is first `connecting`, then `connected`; at the end the session is closed."""
    async with RunningKeeper() as running:
        assert running.told == ["connecting", "connected"]
        assert running.keeper.current is running.remote.sessions[0]
    assert running.remote.sessions[0].closed
    assert running.keeper.current is None


async def test_it_checks_at_the_interval():
    """It checks at the configured interval and measures how long a check takes."""
    async with RunningKeeper() as running:
        await running.clock.advance(29.9)
        assert running.remote.checks == 0
        await running.clock.advance(0.2)
        assert running.remote.checks == 1
        assert running.keeper.latency == 0.0


async def test_a_frozen_remote_is_found_within_interval_and_limit():
    """After a check without an answer, the connection counts as dead and operations get no session."""
    async with RunningKeeper() as running:
        running.remote.frozen = True
        await running.clock.advance(35.1)
        assert running.told == ["connecting", "connected", "disconnected"]
        assert running.errors[-1].kind == "timeout"
        assert running.keeper.current is None
        assert running.remote.sessions[0].closed


async def test_after_a_death_a_new_session_must_pass_a_check():
    """After a failure, connecting is not enough, because a frozen remote still accepts connections."""
    async with RunningKeeper() as running:
        running.remote.frozen = True
        await running.clock.advance(120.0)
        assert running.told == ["connecting", "connected", "disconnected"]
        running.remote.frozen = False
        await running.clock.advance(12.0)
        assert running.told[-1] == "connected"
        assert running.keeper.current is running.remote.sessions[-1]


async def test_a_lost_session_is_replaced_at_once():
    """When the adapter reports the loss, the next session is created without waiting for a check."""
    async with RunningKeeper() as running:
        first = running.remote.sessions[0]
        first.setup.on_lost(ConnectionLostError("gone"))
        await running.clock.advance(1.2)
        assert running.told == ["connecting", "connected", "disconnected", "connected"]
        assert len(running.remote.sessions) == 2
        assert first.closed


async def test_reconnection_backs_off_to_five_seconds_at_most():
    """The wait between two tries grows, but never beyond five seconds."""
    async with RunningKeeper() as running:
        running.remote.connect = NotConnectedError("refused")
        running.remote.sessions[0].setup.on_lost(ConnectionLostError("gone"))
        await running.clock.advance(60.0)
        few = len(running.remote.sessions)
        assert 12 <= few <= 40
        running.remote.connect = None
        await running.clock.advance(5.1)
        assert running.told[-1] == "connected"


async def test_a_permanent_failure_is_tried_slowly():
    """With bad credentials the status is `failed`, and the next try comes after a minute."""
    running = RunningKeeper()
    running.remote.connect = AuthError("no", permanent=True)
    async with running:
        await running.clock.advance(59.0)
        assert running.told == ["connecting", "failed"]
        assert len(running.remote.sessions) == 1
        running.remote.connect = None
        await running.clock.advance(2.0)
        assert running.told[-1] == "connected"


async def test_suspicion_leads_to_one_check_a_second_at_most():
    """Thousands of failing calls cause one check a second at most."""
    async with RunningKeeper() as running:
        for _ in range(50):
            running.keeper.suspect()
            await running.clock.advance(0.1)
        assert 3 <= running.remote.checks <= 6


async def test_without_sessions_there_is_one_from_the_start_and_for_ever():
    """A protocol without sessions, such as HTTP, tries each call, also while disconnected."""
    running = RunningKeeper(has_session=False)
    only = running.keeper.current
    assert only is not None
    running.remote.connect = NotConnectedError("refused")
    async with running:
        assert running.told == ["connecting", "disconnected"]
        assert running.keeper.current is only
        await running.clock.advance(20.0)
        assert running.remote.sessions == [only]


async def test_a_call_that_gets_through_ends_the_wait():
    """A successful call makes the integration connected without waiting for the next try."""
    running = RunningKeeper(has_session=False)
    running.remote.connect = NotConnectedError("refused")
    async with running:
        await running.clock.advance(30.0)
        running.remote.connect = None
        running.keeper.alive()
        await running.clock.settle()
        assert running.told == ["connecting", "disconnected", "connected"]


async def test_a_call_proves_nothing_about_a_loss_that_the_session_reported():
    """After a reported loss, such as of an event stream, only connecting again makes it connected."""
    running = RunningKeeper(has_session=False)
    async with running:
        running.remote.connect = NotConnectedError("no stream")
        running.remote.sessions[0].setup.on_lost(ConnectionLostError("the stream ended"))
        await running.clock.advance(20.0)
        running.keeper.alive()
        await running.clock.settle()
        assert running.told == ["connecting", "connected", "disconnected"]
        running.remote.connect = None
        await running.clock.advance(10.0)
        assert running.told[-1] == "connected"


async def test_subscriptions_are_made_where_a_call_was_first_to_get_through():
    """A successful call replaces the next try but not the subscriptions; if these fail, it is not connected."""
    answers: list[BridgeError | None] = [RejectedError("no such topic"), None]

    async def order(_: AdapterBase) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    running = RunningKeeper(has_session=False, order=order)
    running.remote.connect = NotConnectedError("refused")
    async with running:
        await running.clock.advance(30.0)
        running.keeper.alive()
        await running.clock.settle()
        assert running.told == ["connecting", "disconnected"]
        running.remote.connect = None
        await running.clock.advance(10.0)
        assert running.told == ["connecting", "disconnected", "connected"]
        assert running.ordered == running.remote.sessions * 2


async def test_a_session_is_put_in_order_before_it_counts():
    """A session counts as connected only when its subscriptions are restored."""

    async def refuse(_: AdapterBase) -> None:
        raise NotConnectedError("no such topic")

    async with RunningKeeper(order=refuse) as running:
        assert running.told == ["connecting", "disconnected"]
    async with RunningKeeper() as running:
        running.remote.sessions[0].setup.on_lost(ConnectionLostError("gone"))
        await running.clock.advance(1.2)
        assert running.ordered == running.remote.sessions


async def test_connecting_has_a_time_limit():
    """If the remote never answers the greeting, the status is `disconnected` after the time limit."""
    running = RunningKeeper()

    async def hang(self: Session) -> None:
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "connect", hang)
        async with running:
            await running.clock.advance(10.1)
            assert running.told == ["connecting", "disconnected"]
