"""Connect a program to the bus: emit events, send requests and wait for their responses, receive events."""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

from bridge.bus import Bus, CurveClient
from bridge.client.errors import ClosedError
from bridge.client.listener import Listener
from bridge.client.pending_request import PendingRequest
from bridge.core.clock import RealClock
from bridge.core.curve_keys import own_type_prefix
from bridge.core.errors import NoBusError
from bridge.core.model import Event

#: Seconds after which a probe (an event of the client's own, `client.<name>.hello.<n>`) is sent again.
_PROBE_INTERVAL: Final = 0.05
#: Seconds that the end waits until the broker has all events.
_CLOSING_TIME: Final = 1.0
_RESPONSE: Final = "response."


class BusClient:
    """One program on the bus. Use it as an async context manager, once.

    Entering waits until the bus forwards events in both directions: what a PUB socket sends before its subscribers are
    known is lost silently (ZeroMQ's slow joiner). If the broker is restarted later, the client connects again by
    itself; events that are emitted meanwhile are lost, except requests with a key.

    Attributes:
        source: The `source` of each event.
        clock: Measures all waits; time in which the program is suspended does not count.
    """

    def __init__(
        self,
        publish: str | None = None,
        subscribe: str | None = None,
        *,
        source: str | None = None,
        prefixes: Sequence[str] = (_RESPONSE,),
        max_message: int = 1 << 20,
        bytes_as: Literal["object", "bin"] = "object",
        patience: float = 5.0,
        curve: CurveClient | None = None,
        listens: bool = True,
    ) -> None:
        """Create a client that is not connected yet.

        Args:
            publish: Endpoint that publishers connect to; None for the user's default bus.
            subscribe: Endpoint that subscribers connect to; None for the user's default bus.
            source: The `source` of each event; by default `client/` and a random name.
            prefixes: Prefixes of the event types to receive; `""` is everything.
            max_message: Bytes of the largest message that is accepted, as configured on the bus.
            bytes_as: How bytes in payloads are emitted, as `bytes` in the block `bus { … }`. Bytes are received as
                `bytes` in either case; an object `$bytes` that is not valid is received as it is.
            curve: Keys for a closed bus, as from `CurveClient.read("keys/app.key_secret", "keys/bridge.key")`.
            patience: Seconds to wait for the bus before `NoBusError` is raised.
            listens: Whether this client counts as a listener of what it receives. With False, messages that wait for a
                listener go on waiting. Then it reads everything, and `prefixes` only select what it passes on.
        """
        name = uuid.uuid4().hex[:12]
        self.source = source or f"client/{name}"
        self._own = f"client.{name}" if curve is None else f"{own_type_prefix(curve.pair.public)}.{name}"
        self.clock = RealClock()
        self._numbers = itertools.count(1)
        self._probe = f"{self._own}.hello.0"
        self._probe_number = 0
        self._patience = patience
        self._prefixes = tuple(prefixes)
        self._all_prefixes = list(prefixes)
        self._adding = asyncio.Lock()
        self._pending: dict[str, PendingRequest] = {}
        self._listeners: list[Listener] = []
        self._watchers: list[tuple[Callable[[Event], None], Callable[[], None]]] = []
        self._forwarding = asyncio.Event()
        self._open = False
        self._steady = contextlib.ExitStack()
        self._bus = Bus(
            mode="connect",
            publish=publish,
            subscribe=subscribe,
            max_message=max_message,
            source=self.source,
            clock=self.clock,
            on_event=self._on_event,
            subscriptions=(*prefixes, self._probe),
            own=lambda _: True,
            bytes_as=bytes_as,
            listens=listens,
            curve=curve,
            join_timeout=patience,
        )

    async def __aenter__(self) -> Self:
        """Connect, and wait until the bus forwards events in both directions.

        Raises:
            NoBusError: Nobody hosts the bus at these endpoints.
            BusError: An endpoint is not valid.
        """
        self._steady.enter_context(self.clock.steady())
        try:
            async with self.clock.timeout(self._patience):
                await self._bus.start()
                await self._wait_until_forwarding()
        except TimeoutError:
            await self._close()
            where = f"{self._bus.publish_endpoint} and {self._bus.subscribe_endpoint}"
            raise NoBusError(f"no bus answers at {where}; {self._bus.trouble or 'is `nemo-bridge run` up?'}") from None
        except BaseException:  # cancelled: __aexit__ is not called
            await self._close()
            raise
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until the broker has all emitted events, then disconnect; pending requests end with `ClosedError`."""
        self._open = False
        for pending in self._pending.values():
            pending.end(ClosedError("the client was closed before the answer came"))
        for listener in self._listeners:
            listener.close()
        for _, on_close in tuple(self._watchers):
            on_close()
        try:
            if kind is None:
                # A probe after all emitted events: when it comes back, the broker has all of them.
                with contextlib.suppress(TimeoutError):
                    async with self.clock.timeout(_CLOSING_TIME):
                        await self._wait_until_forwarding()
        finally:
            await self._close()

    async def _close(self) -> None:
        self._forwarding.set()  # somebody may still wait for it
        self._steady.close()
        await self._bus.stop()

    async def _wait_until_forwarding(self) -> None:
        """Send a probe repeatedly until it comes back."""
        self._probe_number = next(self._numbers)
        self._forwarding.clear()
        while not self._forwarding.is_set():
            self._bus.publish(self._probe, self._probe_number)
            with contextlib.suppress(TimeoutError):
                async with self.clock.timeout(_PROBE_INTERVAL):
                    await self._forwarding.wait()

    def _on_event(self, event: Event) -> None:
        event_type = event.event_type
        if event_type.startswith("client.") and ".hello." in event_type:
            if event_type == self._probe and event.payload == self._probe_number:
                self._forwarding.set()
            return
        if event.correlation_id is not None and event_type.startswith(_RESPONSE):
            pending = self._pending.get(event.correlation_id)
            if pending is not None:
                pending.answered(event)
        for watcher, _ in tuple(self._watchers):
            watcher(event)
        if event_type.startswith(self._prefixes):
            for listener in self._listeners:
                listener.put(event)

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError("this client is not connected: use it inside of `async with`")

    # --- events and requests

    def emit(
        self,
        event_type: str,
        payload: Any = None,
        *,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Emit one event on the bus.

        Raises:
            InvalidError: The bus cannot carry it; the message names the part that is not valid.
            ClosedError: The client is not connected.
        """
        self._check_open()
        self._bus.publish(event_type, payload, correlation_id=correlation_id, headers=headers)

    def has_listener(self, event_type: str) -> bool:
        """Return whether somebody on the bus subscribes to events of this type, or a route of a bridge takes them.

        This client counts, too, for the prefixes that it receives, unless it was made with `listens=False`. Commands
        (`integration.…`, `bridge.…`) do not show here: ask the bridge by `bridge.match`.
        """
        return self._bus.has_listener(event_type)

    @property
    def taken_patterns(self) -> frozenset[str]:
        """The patterns of the event types that set off routes of the bridges on the bus."""
        return self._bus.taken_patterns

    async def ask(
        self,
        event_type: str,
        payload: Any = None,
        *,
        timeout: float = 30.0,
        key: str | None = None,
        deadline: float | None = None,
    ) -> Event:
        """Emit an event with a fresh correlation id and wait for its response.

        Args:
            event_type: As in `integration.backend_api.request`.
            payload: The command's arguments.
            timeout: Seconds to wait.
            key: An idempotency key. With one, the event is sent again until it is answered, and the bridge runs it
                once; it also allows the bridge to repeat the call at the remote.
            deadline: Seconds after which the bridge does not begin it any more (`deadline_ms`); default `timeout`.

        Raises:
            TimeoutError: No response has arrived in time.
            InvalidError: The bus cannot carry the event.
            ClosedError: The client is not connected, or was closed meanwhile.
        """
        correlation_id = str(uuid.uuid4())
        try:
            async with self.clock.timeout(timeout):
                await self.add_prefix(f"{_RESPONSE}{event_type}")
                limit = timeout if deadline is None else deadline
                return await self.start_request(correlation_id, event_type, payload, key=key, deadline=limit).answer
        except TimeoutError:
            raise TimeoutError(f"no response to {event_type} within {timeout:g} s") from None
        finally:
            self.end_request(correlation_id)

    def start_request(
        self, correlation_id: str, event_type: str, payload: Any, *, key: str | None, deadline: float | None = None
    ) -> PendingRequest:
        """Emit a request and return it without waiting for its answer; `end_request` ends it.

        The broker must know the prefix of its response already, see `add_prefix`.

        Args:
            correlation_id: The event's.
            event_type: As in `integration.backend_api.request`.
            payload: The command's arguments.
            key: The idempotency key; with one, the event is emitted again until it is answered.
            deadline: See `ask`; None for no `deadline_ms`.

        Raises:
            InvalidError: The bus cannot carry the event.
            ClosedError: The client is not connected.
        """
        until = None if deadline is None else self.clock.monotonic() + deadline

        def emit() -> None:
            headers: dict[str, str] = {}
            if key is not None:
                headers["idempotency_key"] = key
            if until is not None:
                left = max(0.0, until - self.clock.monotonic())
                headers["deadline_ms"] = str(self.clock.wall_ms() + round(left * 1000))
            self.emit(event_type, payload, correlation_id=correlation_id, headers=headers or None)

        pending = self._pending[correlation_id] = PendingRequest(emit, self.clock, repeat=key is not None)
        return pending

    def end_request(self, correlation_id: str) -> None:
        """End a request; idempotent."""
        pending = self._pending.pop(correlation_id, None)
        if pending is not None:
            pending.end()

    # --- receiving

    @contextlib.contextmanager
    def listen(self, most: int = 10_000) -> Iterator[Listener]:
        """Collect all events that arrive inside the context, in order, also those that this client emits.

        To get the last values of `health.*`, begin before the client is entered: they arrive at once.

        Args:
            most: How many events may wait; of more, the oldest are lost and counted in `Listener.missed`.
        """
        listener = Listener(most)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    @contextlib.contextmanager
    def watch(self, watcher: Callable[[Event], None], on_close: Callable[[], None]) -> Iterator[None]:
        """Call `watcher` with each event that this client receives, and `on_close` when the client is closed.

        Neither may raise.
        """
        both = (watcher, on_close)
        self._watchers.append(both)
        try:
            yield
        finally:
            self._watchers.remove(both)

    async def add_prefix(self, prefix: str) -> None:
        """Also receive event types with this prefix, for watchers and responses; return when the broker knows it.

        Raises:
            ClosedError: The client is not connected.
        """
        self._check_open()
        if prefix.startswith(tuple(self._all_prefixes)):
            return
        async with self._adding:
            # Subscriptions reach the broker in order: when it knows a new probe, it knows those before it.
            self._probe = f"{self._own}.hello.{next(self._numbers)}"
            self._bus.read_also(prefix)
            self._bus.read_also(self._probe)
            await self._wait_until_forwarding()
            self._check_open()
            self._all_prefixes.append(prefix)

    def own_type(self, what: str) -> str:
        """Return a new event type that nobody else uses."""
        return f"{self._own}.{what}.{next(self._numbers)}"
