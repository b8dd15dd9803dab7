"""Keep one integration connected: connect, check, notice that the connection is dead, connect again.

An adapter's session lives once; when it dies a new one is made. Nothing else in the bridge reconnects. The wait
between two tries grows from 100 ms to 5 s with jitter, or is a whole minute where a person is needed (bad credentials,
bad certificate), so that nothing loops hot and everything is back within 10 s of its remote. A session that ends soon
after it was opened counts as a failed try (`core.backoff`).

A session that lives, but is not the right one any more, is replaced: its server says that another one is in charge, or
its settings or files have changed. What is in flight then ends on the old session.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from bridge.core.backoff import Backoff
from bridge.core.cancel import BoundedTasks
from bridge.core.errors import AttemptTimeoutError, BridgeError, ConnectionLostError, NotConnectedError
from bridge.core.model import ConnectionStatus
from bridge.core.ports import AdapterSetup, AdapterSpec, Clock, ProtocolAdapter
from bridge.core.settings import HealthSettings
from bridge.core.timer import Timer

#: Suspicions raised by failing calls lead to at most one check in this time, in seconds.
_CHECK_SPACING: Final = 1.0
#: Seconds that closing a session may take.
_LONGEST_CLOSE: Final = 1.0
#: How many warnings of a session are kept.
_MOST_WARNINGS: Final = 20
_OTHER_WARNINGS: Final = ("more", f"there are more than {_MOST_WARNINGS} warnings")
#: How often in a row a connection must have ended soon after it was opened, to be reported as one that does not last.
_SHORT_LIVES: Final = 3
#: Seconds that a session that asked for another one is kept while no other can be opened.
_LONGEST_OUTDATED: Final = 30.0
#: Kinds of errors, of a call or a subscription, after which the session may be dead.
SUSPICIOUS: Final = frozenset({"not_connected", "connection_lost", "timeout"})
#: Errors that say no more than that the connection is gone.
_NO_REASON: Final = frozenset({"connection_lost", "not_connected"})

StatusListener = Callable[[ConnectionStatus, BridgeError | None], None]


class SessionOwner(Protocol):
    """What a `SessionKeeper` needs of the rest of its integration."""

    def setup(self, events: "SessionEvents") -> AdapterSetup:
        """Return the setup of a new session, from the settings as they are now."""
        ...

    def on_status(self, status: ConnectionStatus, error: BridgeError | None) -> None:
        """Take the status after each step; it may be the same as before."""
        ...

    def on_warning(self, name: str, text: str | None) -> None:
        """Report a new warning of a session, or that one is gone."""
        ...

    async def on_session(self, session: ProtocolAdapter) -> bool:
        """Put a new session in order (its subscriptions) before it counts as connected.

        Return whether it has shown that it works; if not, it must pass a check.

        Raises:
            BridgeError: The session is of no use.
        """
        ...

    def on_session_over(self, session: ProtocolAdapter) -> None:
        """Note that a session has ended that was put in order."""
        ...

    async def before_replacing(self, session: ProtocolAdapter) -> None:
        """End the subscriptions of a session that goes on until its operations have ended. Raises nothing."""
        ...

    async def operations_ended(self) -> None:
        """Return when all operations have ended that are in flight now, or may wait no longer."""
        ...

    def quiet(self) -> AbstractAsyncContextManager[None]:
        """Let no operation start inside; it is entered as soon as those in flight have ended, or may wait no longer."""
        ...


class SessionEvents(Protocol):
    """What an adapter tells of its session by itself; see the attributes of `AdapterSetup`."""

    def on_lost(self, error: BridgeError) -> None:
        """See `AdapterSetup.on_lost`."""
        ...

    def on_outdated(self, error: BridgeError) -> None:
        """See `AdapterSetup.on_outdated`."""
        ...

    def on_warning(self, name: str, text: str | None) -> None:
        """See `AdapterSetup.on_warning`."""
        ...


class Session:
    """One session of the adapter.

    Attributes:
        adapter: It.
        lost: Why its connection broke by itself, or a part of it.
        outdated: Why it is not the right one any more, although it may work.
        in_order: Whether its subscriptions were made.
        warnings: What it has to say to a person, by name.
    """

    __slots__ = ("_keeper", "adapter", "in_order", "lost", "outdated", "warnings")

    adapter: ProtocolAdapter

    def __init__(self, keeper: "SessionKeeper") -> None:
        """Create it without an adapter, which needs its callbacks to be made."""
        self._keeper = keeper
        self.lost: BridgeError | None = None
        self.outdated: BridgeError | None = None
        self.in_order = False
        self.warnings: dict[str, str] = {}

    def on_lost(self, error: BridgeError) -> None:
        """See `AdapterSetup.on_lost`."""
        if self.lost is None:
            self.lost = error
        self._keeper.session_lost(self)

    def on_outdated(self, error: BridgeError) -> None:
        """See `AdapterSetup.on_outdated`."""
        if self.outdated is None:
            self.outdated = error
        self._keeper.session_outdated(self)

    def on_warning(self, name: str, text: str | None) -> None:
        """See `AdapterSetup.on_warning`."""
        if text is None:
            if self.warnings.pop(name, None) is not None:
                self._keeper.warning_changed(self, name)
            return
        if name not in self.warnings and len(self.warnings) >= _MOST_WARNINGS:
            name, text = _OTHER_WARNINGS
        if self.warnings.get(name) != text:
            self.warnings[name] = text
            self._keeper.warning_changed(self, name)


class SessionKeeper:
    """Keep one integration connected.

    `current` is the session that operations go to. A protocol without sessions (`AdapterSpec.has_session` false) has
    one from the first moment and keeps it, so that calls are tried while the status is *disconnected*, too.
    """

    def __init__(
        self,
        spec: AdapterSpec,
        owner: SessionOwner,
        health: HealthSettings,
        *,
        connect_timeout: float,
        clock: Clock,
        rng: random.Random,
        tasks: BoundedTasks,
    ) -> None:
        """Create the first session, and open nothing.

        Raises:
            ValueError: A setting cannot work with this adapter.

        Args:
            spec: The protocol.
            owner: Told what happens.
            health: Interval and time limit of checks, in seconds.
            connect_timeout: Seconds that opening a session may take.
            clock: For all waiting.
            rng: For jitter.
            tasks: Run the adapter's code.
        """
        self._spec = spec
        self._owner = owner
        self._health = health
        self._connect_timeout = connect_timeout
        self._clock = clock
        self._tasks = tasks
        self._backoff = Backoff(clock, rng)
        self._lives = Timer(clock)
        self._wake = asyncio.Event()
        self._retry = asyncio.Event()
        self._connected = False
        self._proved = False
        self._renewing = False
        #: Why the last connections ended that did not last, oldest first.
        self._short_lives: deque[BridgeError] = deque(maxlen=_SHORT_LIVES)
        self._open_sessions: dict[Session, None] = {}  # in the order of their opening
        # Made now, so that a setting that cannot work is reported before anything runs.
        self._next: Session | None = self._make()
        self._session: Session | None = None
        self.current: ProtocolAdapter | None = None
        if not spec.has_session:
            self._use(self._next)
            self._next = None
        self.latency: float | None = None
        """Seconds that the last good check took."""

    def _make(self, setup: Callable[[SessionEvents], AdapterSetup] | None = None) -> Session:
        session = Session(self)
        session.adapter = self._spec.create((setup or self._owner.setup)(session))
        return session

    def _use(self, session: Session | None) -> None:
        self._session = session
        self.current = None if session is None else session.adapter

    # --- what sessions tell

    def session_lost(self, session: Session) -> None:
        """Note that a session has lost its connection."""
        if self._spec.has_session:
            self._owner.on_session_over(session.adapter)
        if session is self._session and self._connected:
            self._wake.set()

    def session_outdated(self, session: Session) -> None:
        """Replace a session, with backoff, because it is not the right one any more."""
        # One that is being opened is replaced as soon as it is open.
        if session is self._session and self._connected:
            self._wake.set()

    def outdated(self, adapter: ProtocolAdapter, error: BridgeError) -> None:
        """Replace the session with this adapter, with backoff, because it is not the right one any more."""
        for session in self._open_sessions:
            if session.adapter is adapter:
                session.on_outdated(error)

    def warning_changed(self, session: Session, name: str) -> None:
        """Report a new warning of a session, or that one is gone."""
        if session not in self._open_sessions:  # it is over
            return
        self._owner.on_warning(name, session.warnings.get(name))

    # --- what operations tell

    def suspect(self) -> None:
        """Check soon, because a call failed as it does when the connection is dead."""
        if self._connected:
            self._wake.set()

    def alive(self) -> None:
        """Count as connected, because a call succeeded although the status is another.

        It proves nothing where the session itself has reported a loss, for example of a stream beside the calls.
        """
        # Where there is no session, the call was one of a session that has ended.
        if self._session is None or self._session.lost is not None:
            return
        if self._connected:
            self._owner.on_status(ConnectionStatus.CONNECTED, None)
        else:
            self._proved = True
            self._retry.set()

    @property
    def warnings(self) -> list[str]:
        """What a person should know of the session although it is connected."""
        found = []
        if len(self._short_lives) >= _SHORT_LIVES and self._connected and not self._backoff.lasts:
            found.append(f"the connection does not last; the one before ended with: {self._short_lives[-1].message}")
        session = self._session
        if session is None:
            return found
        if session.outdated is not None and self._connected:
            found.append(f"another session is needed: {session.outdated.message}")
        return [*found, *session.warnings.values()]

    # --- other settings

    def prepare(self, setup: Callable[[SessionEvents], AdapterSetup]) -> Session:
        """Create a session from other settings, for `change`, and open nothing.

        Raises:
            ValueError: A setting cannot work with this adapter.
        """
        return self._make(setup)

    def change(self, health: HealthSettings, connect_timeout: float, session: Session | None) -> None:
        """Use other settings from now on.

        Args:
            health: Interval and time limit of checks, in seconds.
            connect_timeout: Seconds that opening a session may take.
            session: What to replace the current session by; None where that can stay.
        """
        self._health = health
        self._connect_timeout = connect_timeout
        if session is not None:
            self.renew(session)
        self._wake.set()  # the next check may be due sooner

    def renew(self, session: Session | None = None) -> None:
        """Replace the current session, by `session` or else by a new one from the same settings."""
        self._next = session
        self._renewing = True
        self._wake.set()
        self._retry.set()

    # --- life

    async def run(self) -> None:
        """Connect and stay connected until cancelled; then disconnect."""
        try:
            await self._keep()
        finally:
            self._lives.cancel()
            self._use(None)
            # A session that was being opened may have come to be connected although that was cancelled.
            async with asyncio.TaskGroup() as closing:
                for session in self._open_sessions:
                    closing.create_task(self._close(session))

    async def _keep(self) -> None:
        self._owner.on_status(ConnectionStatus.CONNECTING, None)
        while True:
            proved, self._proved = self._proved, False
            if proved and self._session is not None:
                error = await self._put_in_order(self._session)
            else:
                error = await self._open()
            if error is None:
                error = await self._stay_connected()
                if self._backoff.lasts:
                    self._short_lives.clear()
                else:
                    self._short_lives.append(error)
            wait = self._backoff.failed(error)
            self._owner.on_status(ConnectionStatus.FAILED if error.permanent else ConnectionStatus.DISCONNECTED, error)
            if self._spec.has_session:
                await self._end_current()
            await self._pause(wait, self._retry)

    async def _stay_connected(self) -> BridgeError:
        """Count as connected; return why that is over."""
        self._connected = True
        self._retry.clear()
        if not self._renewing:
            self._wake.clear()
        self._begin_to_live()
        self._owner.on_status(ConnectionStatus.CONNECTED, None)
        try:
            return await self._watch()
        finally:
            self._lives.cancel()
            self._connected = False

    def _begin_to_live(self) -> None:
        self._backoff.opened()
        self._lives.set(self._backoff.lives_after, lambda: self._owner.on_status(ConnectionStatus.CONNECTED, None))

    async def _end_current(self) -> None:
        session = self._session
        if session is None:
            return
        self._use(None)
        self._owner.on_session_over(session.adapter)
        await self._close(session)

    # --- opening

    async def _open(self) -> BridgeError | None:
        """Open a session and use it; return why that failed, or None.

        After a failure it must also pass a check, since a frozen remote still accepts connections.
        """
        try:
            session = self._session_to_open()
        except ValueError as unfit:  # a file that was good at the start
            return NotConnectedError(str(unfit), permanent=True)
        self._open_sessions[session] = None
        # A session without a connection is opened again, and what it has lost before is to be made again.
        before, session.lost = session.lost, None
        error = await self._begin(session, verify=self._backoff.failures > 0)
        if error is None:
            self._use(session)
            return None
        if session.lost is None:
            session.lost = before
        if session is not self._session:
            self._owner.on_session_over(session.adapter)
            await self._close(session)
        return error

    def _session_to_open(self) -> Session:
        """Return the session to open next: a new one, where the current one does not stay.

        Raises:
            ValueError: A setting cannot work with this adapter.
        """
        renewing, self._renewing = self._renewing, False
        old = self._session
        if old is not None and not renewing:
            return old
        prepared, self._next = self._next, None
        session = prepared or self._make()
        if old is not None:  # there are no sessions, and calls are tried although it is not connected
            self._use(session)
            self._owner.on_session_over(old.adapter)
            self._retire(old)
        return session

    async def _begin(self, session: Session, *, verify: bool) -> BridgeError | None:
        """Connect a session and put it in order; return why that failed.

        Args:
            session: The session.
            verify: Check it before its subscriptions are made, which may open connections of their own.
        """
        error = await self._connect(session)
        if error is None and verify:
            error = await self._check(session.adapter)
        return _reason(error, session.lost) or await self._put_in_order(session)

    async def _connect(self, session: Session) -> BridgeError | None:
        try:
            await self._tasks.run(session.adapter.connect(), "connect", limit=self._connect_timeout)
        except TimeoutError:
            return NotConnectedError(f"no connection within {self._connect_timeout:g} s")
        except BridgeError as error:
            return error
        return None

    async def _put_in_order(self, session: Session) -> BridgeError | None:
        """Restore the subscriptions of a session, and check it where that has not shown that it works."""
        if session.in_order:
            return session.lost
        try:
            works = await self._owner.on_session(session.adapter)
        except BridgeError as refused:
            session.lost = _reason(refused, session.lost)
            return session.lost
        session.in_order = True
        error = None if works or session.lost is not None else await self._check(session.adapter)
        return _reason(error, session.lost)

    # --- replacing

    async def _replace(self, session: Session, why: BridgeError) -> BridgeError | None:
        """Change to another session, as the current one asked for; return why there is none now."""
        give_up = self._clock.monotonic() + _LONGEST_OUTDATED
        error: BridgeError | None = why
        while error is not None:
            until = self._clock.monotonic() + self._backoff.failed(error)
            while session.lost is None and (left := until - self._clock.monotonic()) > 0:
                await self._pause(left, self._wake)
            if session.lost is not None:
                return session.lost
            if until > give_up:
                return error
            error = await self._open_another(session)
        return None

    async def _open_another(self, old: Session) -> BridgeError | None:
        """Open a new session in place of one that works, and use it; return why that failed, or None.

        What is in flight on the old session ends there. Where both may be open at the same time, operations go to the
        old one until the new one works; else they wait.
        """
        self._renewing = False
        if not self._spec.side_by_side:
            async with self._owner.quiet():
                self._owner.on_status(ConnectionStatus.CONNECTING, None)
                await self._end_current()
                error = await self._open()
                old.lost = error
        else:
            error = await self._open_beside(old)
        if error is None:
            self._begin_to_live()
            self._owner.on_status(ConnectionStatus.CONNECTED, None)
        return error

    async def _open_beside(self, old: Session) -> BridgeError | None:
        prepared, self._next = self._next, None
        try:
            new = prepared or self._make()
        except ValueError as unfit:
            return NotConnectedError(str(unfit), permanent=True)
        self._open_sessions[new] = None
        failure = _reason(await self._connect(new) or await self._check(new.adapter), new.lost)
        if failure is not None:
            await self._close(new)
            return failure
        await self._owner.before_replacing(old.adapter)
        error = await self._put_in_order(new)
        if error is not None:  # the old one has no subscriptions any more
            self._owner.on_session_over(new.adapter)
            old.lost = error
            await self._close(new)
            return error
        self._use(new)
        self._retire(old)
        return None

    async def _renew(self, old: Session) -> BridgeError | None:
        """Change to a session with other settings; if it cannot be opened the old one ends all the same."""
        error = await self._open_another(old)
        if error is None or self._session is not old:
            return error
        self._use(None)
        if not self._spec.has_session:
            with contextlib.suppress(ValueError):
                self._use(self._make())
        self._owner.on_session_over(old.adapter)
        self._retire(old)
        return error

    def _retire(self, session: Session) -> None:
        async def close() -> None:
            await self._owner.operations_ended()
            await self._close(session)

        self._tasks.start(close(), "close")

    # --- staying connected

    async def _watch(self) -> BridgeError:
        """Check at the interval, or sooner on suspicion; return why the connection is dead."""
        last = self._clock.monotonic()
        while True:
            if self._session is None or self._session.outdated is None:
                await self._pause(self._health.interval, self._wake)
            session = self._session
            if session is None:
                return NotConnectedError("the session is gone")
            if session.lost is not None:
                return session.lost
            if self._renewing:
                error = await self._renew(session)
                if error is not None:
                    return error
                continue
            if session.outdated is not None:
                error = await self._replace(session, session.outdated)
                if error is not None:
                    return error
                continue
            since = self._clock.monotonic() - last
            if since < _CHECK_SPACING:
                await self._clock.sleep(_CHECK_SPACING - since)
            last = self._clock.monotonic()
            error = _reason(await self._check(session.adapter), session.lost)
            if error is not None:
                return error
            self._owner.on_status(ConnectionStatus.CONNECTED, None)

    async def _pause(self, seconds: float, wake: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(seconds):
                await wake.wait()
        wake.clear()

    async def _check(self, session: ProtocolAdapter) -> BridgeError | None:
        limit = self._health.timeout
        started = self._clock.monotonic()
        try:
            await self._tasks.run(session.check(), "check", limit=limit)
        except TimeoutError:
            # The answer may wait behind the data that comes: a remote that sends is alive.
            if not heard_since(session, started):
                return AttemptTimeoutError(f"the health check had no answer within {limit:g} s")
        except BridgeError as error:
            return error
        self.latency = self._clock.monotonic() - started
        return None

    async def _close(self, session: Session) -> None:
        """Disconnect within a time limit: a frozen remote must not hold up the next try or the end."""
        # ConnectionLostError: its library cancelled it.
        with contextlib.suppress(TimeoutError, ConnectionLostError):
            await self._tasks.run(session.adapter.disconnect(), "disconnect", limit=_LONGEST_CLOSE)
        self._open_sessions.pop(session, None)


def heard_since(session: ProtocolAdapter, moment: float) -> bool:
    """Return whether data has come from the remote after a moment of the session's clock."""
    heard = session.last_heard
    return heard is not None and heard > moment


def _reason(error: BridgeError | None, lost: BridgeError | None) -> BridgeError | None:
    """Return which of two errors says more: that of the step that failed, or that with which the connection ended."""
    if error is None or (lost is not None and not error.permanent and error.kind in _NO_REASON):
        return lost
    return error
