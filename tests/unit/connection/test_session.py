"""The session keeper connects, checks, notices a dead connection, and connects again."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import pytest

from bridge.connection.session import SessionEvents, SessionKeeper
from bridge.core.cancel import BoundedTasks
from bridge.core.endpoint import Strict
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    NotConnectedError,
    RejectedError,
    UnavailableError,
)
from bridge.core.ports import AdapterBase, AdapterSetup, AdapterSpec, ProtocolAdapter
from bridge.core.settings import HealthSettings
from tests.support.adapters.setup import adapter_setup
from tests.support.clock import FakeClock


class Remote:
    """The remote of the sessions: each field is the error that a step raises, or None."""

    def __init__(self) -> None:
        self.connect: BridgeError | None = None
        self.check: BridgeError | None = None
        self.frozen = False
        self.unfit: str | None = None
        self.dies: BridgeError | None = None
        self.heard: float | None = None
        self.sessions: list[Session] = []
        self.checks = 0


class Session(AdapterBase):
    """One session with the remote."""

    def __init__(self, remote: Remote, setup: AdapterSetup) -> None:
        if remote.unfit is not None:
            raise ValueError(remote.unfit)
        self.remote = remote
        self.setup = setup
        self.connects = 0
        self.closed = False
        remote.sessions.append(self)

    async def connect(self) -> None:
        self.connects += 1
        if self.remote.dies is not None:
            self.setup.on_lost(self.remote.dies)
        if self.remote.connect is not None:
            raise self.remote.connect

    @property
    def last_heard(self) -> float | None:
        return self.remote.heard

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
        self,
        *,
        has_session: bool = True,
        order: Callable[[ProtocolAdapter], Awaitable[bool]] | None = None,
        side_by_side: bool = False,
    ) -> None:
        self.clock = FakeClock()
        self.remote = Remote()
        self.told: list[str] = []
        self.errors: list[BridgeError | None] = []
        self.ordered: list[ProtocolAdapter] = []
        self.over: list[ProtocolAdapter] = []
        self.left: list[ProtocolAdapter] = []
        self.warned: list[tuple[str, str | None]] = []
        self.idle = asyncio.Event()
        self.idle.set()
        spec = AdapterSpec(
            protocol="fake",
            summary="",
            operations=frozenset(),
            auth=frozenset(),
            config=Strict,
            schemes={},
            create=lambda setup: Session(self.remote, setup),
            has_session=has_session,
            side_by_side=side_by_side,
        )

        self.order = order
        self.keeper = SessionKeeper(
            spec,
            self,
            HealthSettings(interval=30.0, timeout=5.0),
            connect_timeout=10.0,
            clock=self.clock,
            rng=random.Random(1),
            tasks=BoundedTasks(clock=self.clock),
        )

    def setup(self, events: SessionEvents) -> AdapterSetup:
        return adapter_setup(
            integration="x", on_lost=events.on_lost, on_outdated=events.on_outdated, on_warning=events.on_warning
        )

    def on_warning(self, name: str, text: str | None) -> None:
        self.warned.append((name, text))

    async def on_session(self, session: ProtocolAdapter) -> bool:
        self.ordered.append(session)
        return self.order is None or await self.order(session)

    def on_session_over(self, session: ProtocolAdapter) -> None:
        self.over.append(session)

    async def before_replacing(self, session: ProtocolAdapter) -> None:
        self.left.append(session)

    async def operations_ended(self) -> None:
        await self.idle.wait()

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        await self.idle.wait()
        yield

    def on_status(self, status: str, error: BridgeError | None) -> None:
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


async def test_calls_of_a_session_that_has_ended_do_not_end_the_wait():
    """They may be answered after its loss, and say nothing about the next session: tries stay as rare as they are."""
    async with RunningKeeper() as running:
        running.remote.connect = NotConnectedError("refused")
        running.remote.sessions[0].setup.on_lost(ConnectionLostError("gone"))
        for _ in range(1000):
            running.keeper.alive()
            await running.clock.advance(0.01)
        assert len(running.remote.sessions) <= 10


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

    async def order(_: ProtocolAdapter) -> bool:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return True

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

    async def refuse(_: ProtocolAdapter) -> bool:
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


@pytest.mark.parametrize("says", [None, NotConnectedError("closed"), ConnectionLostError("closed")])
async def test_a_session_that_dies_while_it_opens_is_followed_by_a_wait(says: BridgeError | None):
    """The loss of a session that is being opened does not skip the wait, and its reason is the one that is told."""
    running = RunningKeeper()
    running.remote.dies = ConnectionLostError("session taken over")
    running.remote.connect = says
    async with running:
        await running.clock.advance(10.0)
        assert 5 <= len(running.remote.sessions) <= 10
        assert running.told == ["connecting", "disconnected"]
        assert running.errors[-1] is running.remote.dies


async def test_a_refusal_says_more_than_the_loss_that_follows_it():
    """A remote that refuses the credentials and closes is `failed`, whichever comes first."""
    running = RunningKeeper()
    running.remote.dies = ConnectionLostError("closed")
    running.remote.connect = AuthError("wrong password", permanent=True)
    async with running:
        assert running.told == ["connecting", "failed"]
        assert running.errors[-1] is running.remote.connect


async def test_a_session_that_never_lasts_is_opened_less_and_less_often():
    """Each connection is good and ends at once: ten in ten seconds at most, and a warning says why."""
    async with RunningKeeper() as running:
        opened: list[float] = []
        while running.clock.monotonic() < 1060.0:
            current = running.keeper.current
            if current is not None:
                opened.append(running.clock.monotonic())
                if len(opened) > 4:
                    assert running.keeper.warnings == [
                        "the connection does not last; the one before ended with: session taken over"
                    ]
                running.remote.sessions[-1].setup.on_lost(ConnectionLostError("session taken over"))
            await running.clock.advance(0.01)
        assert max(sum(since <= one < since + 10.0 for one in opened) for since in opened) <= 10
        assert 12 <= len(opened) <= 36
        await running.clock.advance(17.0)
        assert running.told[-1] == "connected"
        assert running.keeper.warnings == []
        await running.clock.advance(1.0)
        running.remote.sessions[-1].setup.on_lost(ConnectionLostError("restarted"))
        await running.clock.advance(0.11)
        assert running.told[-1] == "connected", "a session that has lived is replaced at once"


async def test_a_remote_that_was_away_has_connections_that_last():
    """Tries that found no remote say nothing about how long connections last."""
    async with RunningKeeper() as running:
        running.remote.connect = NotConnectedError("refused")
        running.remote.sessions[-1].setup.on_lost(ConnectionLostError("gone"))
        await running.clock.advance(60.0)
        running.remote.connect = None
        await running.clock.advance(6.0)
        assert running.told[-1] == "connected"
        assert running.keeper.warnings == []


async def test_a_check_without_an_answer_has_not_failed_while_data_arrives():
    """A remote that sends is alive, also at the check that follows a failure; one that has become silent is not."""
    async with RunningKeeper() as running:
        running.remote.frozen = True
        running.remote.sessions[0].setup.on_lost(ConnectionLostError("cut"))
        for _ in range(80):
            await running.clock.advance(0.5)
            running.remote.heard = running.clock.monotonic()
        assert running.told == ["connecting", "connected", "disconnected", "connected"]
        assert running.remote.checks == 2
        assert running.keeper.latency == 5.0
        await running.clock.advance(40.0)
        assert running.told[-1] == "disconnected"


async def test_a_restoring_that_proves_nothing_is_followed_by_a_check():
    """If the subscriptions do not show that the session works, a check decides."""
    works = [False, True]

    async def order(_: ProtocolAdapter) -> bool:
        return works.pop(0)

    async with RunningKeeper(order=order) as running:
        assert running.told == ["connecting", "connected"]
        assert running.remote.checks == 1


async def test_the_reason_of_the_loss_is_told_and_not_that_of_the_check():
    """If a check fails because the session has ended, the reason for that end is what health shows."""
    async with RunningKeeper() as running:
        running.remote.check = ConnectionLostError("the session is closed")
        original = Session.check

        async def check(self: Session) -> None:
            self.setup.on_lost(RejectedError("NOPERM"))
            await original(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "check", check)
            await running.clock.advance(30.1)
        assert running.told == ["connecting", "connected", "disconnected"]
        assert running.errors[-1].message == "NOPERM"


async def test_settings_that_a_file_has_made_unfit():
    """A certificate that has become unreadable is `failed` and tried again, and does not end the process."""
    async with RunningKeeper() as running:
        running.remote.unfit = "ca.pem: no certificate"
        running.remote.sessions[0].setup.on_lost(ConnectionLostError("gone"))
        await running.clock.advance(1.0)
        assert running.told[-1] == "failed"
        assert running.errors[-1].message == "ca.pem: no certificate"
        running.remote.unfit = None
        await running.clock.advance(60.0)
        assert running.told[-1] == "connected"


READONLY = UnavailableError("READONLY You can't write against a read only replica")


async def test_an_outdated_session_is_replaced_while_it_works():
    """The new session is open before the old one ends, and the old one ends when its operations have."""
    async with RunningKeeper(side_by_side=True) as running:
        first = running.remote.sessions[0]
        running.idle.clear()
        first.setup.on_outdated(READONLY)
        first.setup.on_outdated(READONLY)
        assert running.keeper.warnings == [f"another session is needed: {READONLY.message}"]
        await running.clock.advance(0.11)
        first, second = running.remote.sessions
        assert running.keeper.current is second
        assert running.left == [first]
        assert running.ordered == [first, second]
        assert not first.closed
        assert running.keeper.warnings == []
        running.idle.set()
        await running.clock.settle()
        assert first.closed
        assert running.told == ["connecting", "connected"]
        first.setup.on_lost(ConnectionLostError("of the one before"))
        first.setup.on_outdated(READONLY)
        await running.clock.advance(10.0)
        assert running.keeper.current is second
        assert len(running.remote.sessions) == 2


@pytest.mark.parametrize("side_by_side", [True, False])
async def test_a_session_that_is_outdated_before_it_is_open(side_by_side: bool):
    """What a session says of itself while it opens holds as soon as it is open, also where it replaces another one."""
    running = RunningKeeper(side_by_side=side_by_side)
    outdated = 2

    async def order(session: ProtocolAdapter) -> bool:
        if len(running.ordered) <= outdated:
            assert isinstance(session, Session)
            session.setup.on_outdated(READONLY)
        return True

    running.order = order
    async with running:
        await running.clock.advance(5.0)
        assert [session.closed for session in running.remote.sessions] == [True, True, False]
        assert running.keeper.warnings == []
        await running.clock.advance(60.0)
        assert running.keeper.current is running.remote.sessions[2]


async def test_a_session_of_which_the_owner_has_had_enough_before_it_is_open():
    """The owner names the session that is to be replaced; others stay."""
    running = RunningKeeper(side_by_side=True)

    async def order(session: ProtocolAdapter) -> bool:
        if len(running.ordered) == 1:
            running.keeper.outdated(session, NotConnectedError("a subscription does not end"))
        return True

    running.order = order
    async with running:
        await running.clock.advance(1.0)
        first, second = running.remote.sessions
        running.keeper.outdated(first, NotConnectedError("a subscription does not end"))
        await running.clock.advance(10.0)
        assert running.keeper.current is second


async def test_the_end_waits_once_for_all_sessions_that_do_not_close():
    """A session that was replaced may still be open; both may hang, and the end of the process has two seconds."""

    async def hang(_: Session) -> None:
        await asyncio.Event().wait()

    running = RunningKeeper(side_by_side=True)
    running.idle.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "disconnect", hang)
        async with running:
            for _ in range(3):
                running.keeper.renew()
                await running.clock.advance(0.5)
            assert len(running.remote.sessions) == 4
            running.task.cancel()
            await running.clock.advance(0.9)
            assert not running.task.done()
            await running.clock.advance(0.5)
            assert running.task.done()


async def test_an_outdated_session_of_which_there_is_only_one():
    """Where the second session would end the first, operations end before, and no other starts meanwhile."""
    async with RunningKeeper() as running:
        first = running.remote.sessions[0]
        running.idle.clear()
        first.setup.on_outdated(READONLY)
        await running.clock.advance(5.0)
        assert running.keeper.current is first
        running.idle.set()
        await running.clock.advance(0.01)
        assert first.closed
        assert running.over == [first]
        assert running.keeper.current is running.remote.sessions[1]
        assert running.told == ["connecting", "connected", "connecting", "connected"]


@pytest.mark.parametrize("side_by_side", [True, False])
async def test_a_server_that_is_outdated_at_once_is_left_less_and_less_often(side_by_side: bool):
    """A new session that is outdated, too, waits as after a failure."""
    async with RunningKeeper(side_by_side=side_by_side) as running:
        for _ in range(1000):
            running.remote.sessions[-1].setup.on_outdated(READONLY)
            await running.clock.advance(0.01)
        assert 5 <= len(running.remote.sessions) <= 10


async def test_an_outdated_session_is_kept_until_another_can_be_opened():
    """Operations go to it meanwhile; after half a minute it counts as dead."""
    async with RunningKeeper(side_by_side=True) as running:
        first = running.remote.sessions[0]
        running.remote.connect = NotConnectedError("no other")
        first.setup.on_outdated(READONLY)
        await running.clock.advance(20.0)
        assert running.keeper.current is first
        assert all(session.closed for session in running.remote.sessions[1:])
        await running.clock.advance(20.0)
        assert running.keeper.current is None
        assert running.told == ["connecting", "connected", "disconnected"]
        assert first.closed
        running.remote.connect = None
        await running.clock.advance(5.1)
        assert running.told[-1] == "connected"


async def test_an_outdated_session_that_is_lost_before_another_is_open():
    """Its loss is a loss like any other."""
    async with RunningKeeper(side_by_side=True) as running:
        running.remote.connect = NotConnectedError("no other")
        running.remote.sessions[0].setup.on_outdated(READONLY)
        await running.clock.advance(2.0)
        running.remote.sessions[0].setup.on_lost(ConnectionLostError("gone"))
        await running.clock.advance(0.01)
        assert running.told == ["connecting", "connected", "disconnected"]
        assert running.errors[-1].message == "gone"
