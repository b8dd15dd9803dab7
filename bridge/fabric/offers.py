"""Offer integrations of this bridge: execute the commands of other nodes as if they had come from the bus."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec

from bridge.core.backoff import Backoff, backoff
from bridge.core.cluster import Asked, ClusterSession
from bridge.core.errors import (
    BridgeError,
    InvalidError,
    OverloadedError,
    ProtocolError,
    UnavailableError,
)
from bridge.core.model import ConnectionStatus, Event, Outcome
from bridge.core.ports import Clock
from bridge.core.settings import ResilienceSettings
from bridge.fabric.context import FabricContext
from bridge.fabric.names import GROUP
from bridge.fabric.requests import LONGEST, UseRequest, decode_request, encode_error, encode_result

#: With these statuses an integration is offered: nodes with another one would only refuse.
_SERVES: Final = frozenset({ConnectionStatus.CONNECTED, ConnectionStatus.DEGRADED})
#: Commands of other nodes that are executed, or wait for it, at the same time.
_MOST: Final = 20_000
#: Seconds between two looks at whether the process stood still, the seconds from which on it did, and those after it
#: in which what is read may have come meanwhile.
_LOOK: Final = 0.25
_STANDSTILL: Final = 0.5
_READING: Final = 1.0
#: Seconds that the broker has to confirm that it sends no more.
_UNSERVE: Final = 1.0

Execute = Callable[[Event, str, Callable[[Outcome], None]], None]
"""Executes a command of another node; see `Dispatcher.execute_for_node`."""


def longest(resilience: ResilienceSettings) -> float:
    """Return the seconds that an operation may take at an integration that does not answer, with all its attempts.

    The time that it waits for a slot is not in it, nor the time that a remote asks to wait (`retry_after_ms`).
    """
    retry = resilience.retry
    waits = (
        backoff(retry.initial_delay, retry.max_delay, attempt, growth=retry.backoff, rng=None)
        for attempt in range(1, retry.max_attempts)
    )
    return min(retry.max_attempts * resilience.timeout + sum(waits), LONGEST)


class Offers:
    """The integrations of this bridge that the other nodes of one fabric may use."""

    def __init__(
        self,
        context: FabricContext,
        *,
        execute: Execute,
        status: Callable[[str], ConnectionStatus | None],
    ) -> None:
        """Create it; nothing is served before `run`.

        Args:
            context: What all parts of the fabric share.
            execute: Executes a command of another node.
            status: Returns the status of an integration; None where there is none of that name now.
        """
        self._context = context
        self._execute = execute
        self._status = status
        self._draining = False
        self._touched = asyncio.Event()
        self._serving: set[str] = set()
        self._opening = 0
        self._errors: dict[str, BridgeError] = {}
        self._running = 0
        self._served_less = asyncio.Event()

    @property
    def serving(self) -> list[str]:
        """The integrations that other nodes can ask for now."""
        return sorted(self._serving)

    def problems(self) -> list[str]:
        """Return one line for each integration that cannot be offered although it works."""
        return [f"{name!r} is not offered: {error.message}" for name, error in sorted(self._errors.items())]

    def touch(self) -> None:
        """Note that the status of an integration may be another one."""
        touched, self._touched = self._touched, asyncio.Event()
        touched.set()

    async def drain(self) -> None:
        """Take no more commands; return when the broker sends no more, after two seconds at the latest.

        Those that were taken go on to their end, and are answered while there is a session.
        """
        self._draining = True
        self.touch()
        with suppress(TimeoutError):
            async with self._context.clock.timeout(2 * _UNSERVE):
                while self._serving or self._opening:
                    await self._served_less.wait()

    async def run(self, session: ClusterSession) -> None:
        """Serve on this session, while their status allows it, the integrations of `offer`, until it is cancelled."""
        age = _AgeOfRead(self._context.clock)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(age.watch())
            for integration in self._context.settings.offers:
                tasks.create_task(self._offer(session, integration, age))

    # --- serving

    def _wanted(self, integration: str) -> bool:
        return not self._draining and self._status(integration) in _SERVES

    async def _offer(self, session: ClusterSession, integration: str, age: "_AgeOfRead") -> None:
        """Serve an integration while it is wanted; one that cannot be served holds up no other."""
        tries = Backoff(self._context.clock, self._context.rng)
        while True:
            if not self._wanted(integration):
                self._note(integration, None)
            await self._until(lambda: self._wanted(integration))
            try:
                await self._serve(session, integration, age, tries)
            except BridgeError as error:
                self._note(integration, error)
                wait = tries.failed(error, for_a_person=error.kind in {"rejected", "auth"})
                await self._context.clock.sleep(wait)

    async def _serve(self, session: ClusterSession, integration: str, age: "_AgeOfRead", tries: Backoff) -> None:
        """Serve an integration until it is not wanted any more.

        Raises:
            BridgeError: It cannot be served, or the broker has ended that.
        """
        ended: asyncio.Future[BridgeError] = asyncio.get_running_loop().create_future()

        def on_ended(error: BridgeError) -> None:
            if not ended.done():
                ended.set_result(error)
                self.touch()

        on_asked = partial(self._on_asked, session, integration, age)
        self._opening += 1
        try:
            begun = session.serve(self._context.names.use(integration), GROUP, on_asked, on_ended)
            stop = await self._context.call(begun, f"offering {integration!r}")
            self._serving.add(integration)
        finally:
            self._opening -= 1
            self._serve_less()
        tries.opened()
        self._note(integration, None)
        try:
            await self._until(lambda: ended.done() or not self._wanted(integration))
        finally:
            try:
                await self._stop(stop)
            finally:
                self._serving.discard(integration)
                self._serve_less()
        if ended.done():
            raise ended.result()

    def _serve_less(self) -> None:
        """Wake `drain`."""
        served_less, self._served_less = self._served_less, asyncio.Event()
        served_less.set()

    async def _stop(self, stop: Callable[[], Awaitable[None]]) -> None:
        with suppress(BridgeError, TimeoutError):  # then it ends with the session
            async with self._context.clock.timeout(_UNSERVE):
                await stop()

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            await self._touched.wait()

    def _note(self, integration: str, error: BridgeError | None) -> None:
        if error is not None:
            self._errors[integration] = error
        elif self._errors.pop(integration, None) is None:
            return
        self._context.changed()

    # --- commands

    def _on_asked(self, session: ClusterSession, integration: str, age: "_AgeOfRead", asked: Asked) -> None:
        """Execute a command of another node, and answer it then."""
        late = age.now()
        try:
            request = decode_request(asked.body)
        except ValueError as unfit:
            self._context.garbage(f"a request for {integration}: {unfit}")
            refused = InvalidError(f"this is no request that a node of a fabric sends: {unfit}")
            asked.answer(encode_error(refused, 0))
            return
        left_ms = request.left_ms - late * 1000
        if left_ms <= 0:
            stale = UnavailableError("the node stood still, and may have read the command too late", maybe_sent=False)
            asked.answer(encode_error(stale, 0))
            return
        event = self._event(integration, request, left_ms)
        if event is None:
            self._context.garbage(f"a request for {integration} whose event is not valid on the bus")
            refused = InvalidError("the command is not valid on the bus of the node: too large, or nested too deeply")
            asked.answer(encode_error(refused, 0))
            return
        if self._running >= _MOST:
            asked.answer(encode_error(OverloadedError("the node has too many commands of others already"), 0))
            return
        self._running += 1
        # Two routes of the asker may send the same key of one event.
        scope = f"use {self._context.settings.name} {request.route or ''}"
        self._execute(event, scope, partial(self._answer, session, asked))

    def _event(self, integration: str, request: UseRequest, left_ms: float) -> Event | None:
        """Return a request as the command that it would be on this bus; None where it cannot be one."""
        wall_ms = self._context.clock.wall_ms()
        event_type = f"integration.{integration}.{request.operation}"
        node, source = request.node, request.source
        event = Event(
            id=request.id,
            event_type=event_type,
            raw=request.payload,
            timestamp=wall_ms,
            source=node if source is None else f"{node}/{source}",
            correlation_id=request.correlation_id,
            headers={**request.headers, "deadline_ms": str(wall_ms + round(min(left_ms, LONGEST * 1000)))},
        )
        try:
            body = msgspec.msgpack.encode(event)
        except (msgspec.MsgspecError, ValueError, OverflowError):  # an id of more than 64 bits
            return None
        return self._context.bus.read(event_type.encode(), body)

    def _answer(self, session: ClusterSession, asked: Asked, outcome: Outcome) -> None:
        """Answer a command with its outcome."""
        self._running -= 1
        self._context.counts.served += 1
        asked.answer(self._body(session, outcome))

    def _body(self, session: ClusterSession, outcome: Outcome) -> bytes:
        if outcome.error is not None:
            body = encode_error(outcome.error, outcome.attempts)
            if len(body) > session.max_payload:
                body = encode_error(outcome.error, outcome.attempts, shortened=True)
            return body
        try:
            body = encode_result(self._context.bus.encode(outcome.result), outcome.attempts)
            if len(body) <= session.max_payload:
                return body
            misfit = f"{len(body)} bytes, the limit of the broker is {session.max_payload} (`max_payload`)"
        except InvalidError as error:
            misfit = error.message
        return encode_error(ProtocolError(f"the answer does not fit into a message: {misfit}"), outcome.attempts)


class _AgeOfRead:
    """How old a command may be that is read now, because the process stood still after it had come.

    Whoever has sent it then may have been told that nobody answers, so it must not be executed any more. A command has
    only the time that was left when it was sent: the clocks of two machines differ.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left_out = self._skew()
        self._pause = 0.0
        self._until = 0.0

    def _skew(self) -> float:
        """Return how many seconds the steady clock has left out."""
        monotonic = self._clock.monotonic()  # first, as this notices a standstill
        return self._clock.elapsed() - monotonic

    async def watch(self) -> None:
        """Notice each standstill when it is over."""
        while True:
            self.now()
            await self._clock.sleep(_LOOK)

    def now(self) -> float:
        """Return the seconds that a command may have waited here before it is read now."""
        skew, elapsed = self._skew(), self._clock.elapsed()
        if skew - self._left_out >= _STANDSTILL:
            self._pause, self._until = skew - self._left_out, elapsed + _READING
        self._left_out = max(self._left_out, skew)
        return self._pause if elapsed < self._until else 0.0
