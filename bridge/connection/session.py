"""Keep one integration connected: connect, check, notice that the connection is dead, connect again.

An adapter's session lives once; when it dies a new one is made. Nothing else in the bridge reconnects. The wait
between two tries grows from 100 ms to 5 s with jitter, or is a whole minute where a person is needed (bad credentials,
bad certificate), so that nothing loops hot and everything is back within 10 s of its remote.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from bridge.core.backoff import backoff
from bridge.core.cancel import BoundedTasks
from bridge.core.errors import AttemptTimeoutError, BridgeError, ConnectionLostError, NotConnectedError
from bridge.core.model import ConnectionStatus
from bridge.core.ports import AdapterSetup, AdapterSpec, Clock, ProtocolAdapter
from bridge.core.settings import HealthSettings

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
_WAIT_FOR_A_PERSON: Final = 60.0
#: Suspicions raised by failing calls lead to at most one check in this time, in seconds.
_CHECK_SPACING: Final = 1.0
#: Seconds that closing a session may take.
_LONGEST_CLOSE: Final = 1.0

StatusListener = Callable[[ConnectionStatus, BridgeError | None], None]


class SessionKeeper:
    """Keep one integration connected.

    `current` is the session that operations go to. A protocol without sessions (`AdapterSpec.has_session` false) has
    one from the first moment and keeps it, so that calls are tried while the status is *disconnected*, too.
    """

    def __init__(
        self,
        spec: AdapterSpec,
        setup: Callable[[Callable[[BridgeError], None]], AdapterSetup],
        health: HealthSettings,
        *,
        connect_timeout: float,
        clock: Clock,
        rng: random.Random,
        tasks: BoundedTasks,
        on_status: StatusListener,
        on_session: Callable[[ProtocolAdapter], Awaitable[None]],
    ) -> None:
        """Create the first session, and open nothing.

        Raises:
            ValueError: A setting cannot work with this adapter.

        Args:
            spec: The protocol.
            setup: Makes the setup of one session from the function that it calls when its connection breaks.
            health: Interval and time limit of checks, in seconds.
            connect_timeout: Seconds that opening a session may take.
            clock: For all waiting.
            rng: For jitter.
            tasks: Run the adapter's code.
            on_status: Told the status after each step; it may be the same as before.
            on_session: Puts a new session in order (its subscriptions) before it counts as connected.
        """
        self._spec = spec
        self._setup = setup
        self._health = health
        self._connect_timeout = connect_timeout
        self._clock = clock
        self._rng = rng
        self._tasks = tasks
        self._on_status = on_status
        self._on_session = on_session
        self._in_order: ProtocolAdapter | None = None
        self._wake = asyncio.Event()
        self._lost: BridgeError | None = None
        self._connected = False
        self._proved = False
        # Made now, so that a setting that cannot work is reported before anything runs.
        self._next: ProtocolAdapter | None = self._make()
        self.current: ProtocolAdapter | None = None if spec.has_session else self._next
        self._unclosed = self.current
        self.latency: float | None = None
        """Seconds that the last good check took."""

    def _make(self) -> ProtocolAdapter:
        return self._spec.create(self._setup(self._session_lost))

    def _session_lost(self, error: BridgeError) -> None:
        self._lost = error
        self._wake.set()

    def suspect(self) -> None:
        """Check soon, because a call failed as it does when the connection is dead."""
        if self._connected:
            self._wake.set()

    def alive(self) -> None:
        """Count as connected, because a call succeeded although the status is another.

        It proves nothing where the session itself has reported a loss, for example of a stream beside the calls.
        """
        if self._lost is not None:
            return
        if self._connected:
            self._on_status(ConnectionStatus.CONNECTED, None)
        else:
            self._proved = True
            self._wake.set()

    async def run(self) -> None:
        """Connect and stay connected until cancelled; then disconnect."""
        try:
            await self._keep()
        finally:
            self.current = None
            # A session that was being opened may have come to be connected although that was cancelled.
            if self._unclosed is not None:
                await self._close(self._unclosed)

    async def _keep(self) -> None:
        self._on_status(ConnectionStatus.CONNECTING, None)
        failures = 0
        while True:
            error = await (self._put_in_order() if self._proved else self._open(verify=failures > 0))
            if error is None:
                failures, self._connected = 0, True
                self._on_status(ConnectionStatus.CONNECTED, None)
                error = await self._watch()
                self._connected = self._proved = False
            failures += 1
            self._on_status(ConnectionStatus.FAILED if error.permanent else ConnectionStatus.DISCONNECTED, error)
            if self._spec.has_session and self.current is not None:
                session, self.current = self.current, None
                await self._close(session)
            await self._pause(self._wait(failures, error))

    def _wait(self, failures: int, error: BridgeError) -> float:
        if error.permanent:
            return _WAIT_FOR_A_PERSON
        return backoff(_FIRST_WAIT, _LONGEST_WAIT, failures, rng=self._rng)

    async def _open(self, *, verify: bool) -> BridgeError | None:
        """Open a session; return why that failed, or None.

        Args:
            verify: Also ask for a good check, since a frozen remote still accepts connections.
        """
        lost, self._lost = self._lost, None
        self._wake.clear()
        session = self.current or self._next or self._make()
        self._next = None
        self._unclosed = session
        try:
            async with self._clock.timeout(self._connect_timeout):
                await self._tasks.run(session.connect(), "connect")
                if session is not self._in_order:
                    await self._on_session(session)
                    self._in_order = session
        except TimeoutError:
            error: BridgeError | None = NotConnectedError(f"no connection within {self._connect_timeout:g} s")
        except BridgeError as refused:
            error = refused
        else:
            error = await self._check(session) if verify else None
        if error is None:
            self.current = session
            return None
        if self._lost is None:
            self._lost = lost
        if session is not self.current:
            await self._close(session)
        return error

    async def _put_in_order(self) -> BridgeError | None:
        """Restore the subscriptions of a session that works although its opening failed.

        Return the error if restoring them fails, else None.
        """
        session = self.current
        if session is None or session is self._in_order:
            return None
        try:
            async with self._clock.timeout(self._connect_timeout):
                await self._on_session(session)
        except TimeoutError:
            self._lost = NotConnectedError(f"no subscriptions within {self._connect_timeout:g} s")
        except BridgeError as refused:
            self._lost = refused
        else:
            self._in_order = session
        return self._lost

    async def _watch(self) -> BridgeError:
        """Check at the interval, or sooner on suspicion; return why the connection is dead."""
        last = self._clock.monotonic()
        while True:
            await self._pause(self._health.interval)
            if self._lost is not None:
                return self._lost
            since = self._clock.monotonic() - last
            if since < _CHECK_SPACING:
                await self._clock.sleep(_CHECK_SPACING - since)
            last = self._clock.monotonic()
            session = self.current
            if session is None:
                return NotConnectedError("the session is gone")
            error = await self._check(session)
            if error is not None:
                return error
            self._on_status(ConnectionStatus.CONNECTED, None)

    async def _pause(self, seconds: float) -> None:
        try:
            async with self._clock.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _check(self, session: ProtocolAdapter) -> BridgeError | None:
        limit = self._health.timeout
        started = self._clock.monotonic()
        try:
            async with self._clock.timeout(limit):
                await self._tasks.run(session.check(), "check")
        except TimeoutError:
            return AttemptTimeoutError(f"the health check had no answer within {limit:g} s")
        except BridgeError as error:
            return error
        self.latency = self._clock.monotonic() - started
        return None

    async def _close(self, session: ProtocolAdapter) -> None:
        """Disconnect within a time limit: a frozen remote must not hold up the next try or the end."""
        try:
            async with self._clock.timeout(_LONGEST_CLOSE):
                await self._tasks.run(session.disconnect(), "disconnect")
        except (TimeoutError, ConnectionLostError):  # the second: its library cancelled it
            pass
        self._unclosed = None
