"""A program's place on the bus: emit events, ask and be answered, listen."""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from bridge.bus import Bus, CurveClient
from bridge.client.asking import Asking
from bridge.client.errors import ClosedError
from bridge.client.listener import Listener
from bridge.core.clock import RealClock
from bridge.core.curve_keys import own_type_prefix
from bridge.core.errors import BusError
from bridge.core.model import Event

#: Seconds after which a hello is sent again.
_HELLO_AGAIN: Final = 0.05
#: Seconds that leaving waits for the broker to have everything.
_FAREWELL: Final = 1.0
_RESPONSE: Final = "response."


class BusClient:
    """One program on the bus. Use as an async context manager, once.

    Entering waits until the bus carries both ways, because what a PUB socket sends before its subscribers are known
    is lost without a word (ZeroMQ's slow joiner). Where the broker is restarted later, the client finds it again by
    itself; what is emitted meanwhile is lost, but for what is asked with a key.

    Attributes:
        source: Goes into each event.
        clock: For all waiting; a suspended program misses nothing.
    """

    def __init__(
        self,
        publish: str | None = None,
        subscribe: str | None = None,
        *,
        source: str | None = None,
        prefixes: Sequence[str] = (_RESPONSE,),
        max_message: int = 1 << 20,
        patience: float = 5.0,
        curve: CurveClient | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            publish: Endpoint that publishers connect to; None for the user's default bus.
            subscribe: Endpoint that subscribers connect to; None for the user's default bus.
            source: Goes into each event; default `client/` and a random name.
            prefixes: Event types to listen to, by how they start; `""` is everything.
            max_message: Bytes of the largest message that is taken, as configured on the bus.
            curve: Keys, where the bus is closed, as from `CurveClient.read("keys/app.key_secret", "keys/bridge.key")`.
            patience: Seconds to wait for the bus to answer before `BusError`.
        """
        name = uuid.uuid4().hex[:12]
        self.source = source or f"client/{name}"
        self._own = f"client.{name}" if curve is None else f"{own_type_prefix(curve.pair.public)}.{name}"
        self.clock = RealClock()
        self._numbers = itertools.count(1)
        self._hello = f"{self._own}.hello.0"
        self._greeting = 0
        self._patience = patience
        self._prefixes = tuple(prefixes)
        self._heard = list(prefixes)
        self._hearing = asyncio.Lock()
        self._asking: dict[str, Asking] = {}
        self._listeners: list[Listener] = []
        self._watchers: list[tuple[Callable[[Event], None], Callable[[], None]]] = []
        self._carried = asyncio.Event()
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
            subscriptions=(*prefixes, self._hello),
            own=True,
            curve=curve,
        )

    async def __aenter__(self) -> Self:
        """Connect, and wait until the bus carries both ways.

        Raises:
            BusError: Nobody hosts the bus at these endpoints.
        """
        self._steady.enter_context(self.clock.steady())
        try:
            async with self.clock.timeout(self._patience):
                await self._bus.start()
                await self._carries_both_ways()
        except TimeoutError:
            await self._close()
            where = f"{self._bus.publish_endpoint} and {self._bus.subscribe_endpoint}"
            raise BusError(f"no bus answers at {where}; is `nemo-bridge run` up?") from None
        except BaseException:  # cancelled: nobody will leave what was not entered
            await self._close()
            raise
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until what was emitted has left, then disconnect. Whoever still asks or listens gets `ClosedError`."""
        self._open = False
        for asking in self._asking.values():
            asking.end(ClosedError("the client was left before the answer came"))
        for listener in self._listeners:
            listener.close()
        for _, left in tuple(self._watchers):
            left()
        try:
            if kind is None:
                # One more hello behind everything that was emitted: when it is back, the broker has all of it.
                with contextlib.suppress(TimeoutError):
                    async with self.clock.timeout(_FAREWELL):
                        await self._carries_both_ways()
        finally:
            await self._close()

    async def _close(self) -> None:
        self._carried.set()  # whoever still waits for it
        self._steady.close()
        await self._bus.stop()

    async def _carries_both_ways(self) -> None:
        """Say hello until this very hello comes back."""
        self._greeting = next(self._numbers)
        self._carried.clear()
        while not self._carried.is_set():
            self._bus.publish(self._hello, self._greeting)
            with contextlib.suppress(TimeoutError):
                async with self.clock.timeout(_HELLO_AGAIN):
                    await self._carried.wait()

    def _on_event(self, event: Event) -> None:
        event_type = event.event_type
        if event_type.startswith("client.") and ".hello." in event_type:
            if event_type == self._hello and event.payload == self._greeting:
                self._carried.set()
            return
        if event.correlation_id is not None and event_type.startswith(_RESPONSE):
            asking = self._asking.get(event.correlation_id)
            if asking is not None:
                asking.answered(event)
        for watcher, _ in tuple(self._watchers):
            watcher(event)
        if event_type.startswith(self._prefixes):
            for listener in self._listeners:
                listener.put(event)

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError("this client is not connected: use it inside of `async with`")

    # --- emitting and asking

    def emit(
        self,
        event_type: str,
        payload: Any = None,
        *,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Put one event on the bus.

        Raises:
            InvalidError: The bus cannot carry it; the message says where.
            ClosedError: The client is not connected.
        """
        self._check_open()
        self._bus.publish(event_type, payload, correlation_id=correlation_id, headers=headers)

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
                once; it also tells the bridge that the remote may safely see the call twice.
            deadline: Seconds after which the bridge need not act on it any more (`deadline_ms`); default `timeout`.

        Raises:
            TimeoutError: No response in time.
            InvalidError: The bus cannot carry the event.
            ClosedError: The client is not connected, or was left meanwhile.
        """
        correlation_id = str(uuid.uuid4())
        try:
            async with self.clock.timeout(timeout):
                await self.hear(f"{_RESPONSE}{event_type}")
                limit = timeout if deadline is None else deadline
                return await self.begin(correlation_id, event_type, payload, key=key, deadline=limit).answer
        except TimeoutError:
            raise TimeoutError(f"no response to {event_type} within {timeout:g} s") from None
        finally:
            self.end(correlation_id)

    def begin(
        self, correlation_id: str, event_type: str, payload: Any, *, key: str | None, deadline: float | None = None
    ) -> Asking:
        """Ask without waiting; what the answer is to be taken from, until `end`.

        Raises:
            InvalidError: The bus cannot carry the event.
            ClosedError: The client is not connected.
        """
        until = None if deadline is None else self.clock.monotonic() + deadline

        def say() -> None:
            headers: dict[str, str] = {}
            if key is not None:
                headers["idempotency_key"] = key
            if until is not None:
                left = max(0.0, until - self.clock.monotonic())
                headers["deadline_ms"] = str(self.clock.wall_ms() + round(left * 1000))
            self.emit(event_type, payload, correlation_id=correlation_id, headers=headers or None)

        asking = self._asking[correlation_id] = Asking(say, self.clock, again=key is not None)
        return asking

    def end(self, correlation_id: str) -> None:
        """Ask no more; idempotent."""
        asking = self._asking.pop(correlation_id, None)
        if asking is not None:
            asking.end()

    # --- listening

    @contextlib.contextmanager
    def listen(self, most: int = 10_000) -> Iterator[Listener]:
        """All events that arrive inside the context, in order, with those that this client emits.

        Begin to listen before entering the client where the last values of `health.*` are wanted: they come at once.

        Args:
            most: How many events may wait; beyond, the oldest are lost, and `Listener.missed` says how many.
        """
        listener = Listener(most)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    @contextlib.contextmanager
    def watch(self, watcher: Callable[[Event], None], left: Callable[[], None]) -> Iterator[None]:
        """Call `watcher` with each event that this client hears, as it arrives, and `left` when the client is left.

        Neither may raise.
        """
        both = (watcher, left)
        self._watchers.append(both)
        try:
            yield
        finally:
            self._watchers.remove(both)

    async def hear(self, prefix: str) -> None:
        """Receive event types that start with `prefix`, too, for watchers and answers; returns when the broker knows.

        Raises:
            ClosedError: The client is not connected.
        """
        self._check_open()
        if prefix.startswith(tuple(self._heard)):
            return
        async with self._hearing:
            # Subscriptions reach the broker in order: when it knows a fresh hello, it knows what was before it.
            self._hello = f"{self._own}.hello.{next(self._numbers)}"
            self._bus.read_also(prefix)
            self._bus.read_also(self._hello)
            await self._carries_both_ways()
            self._check_open()
            self._heard.append(prefix)

    def own_type(self, what: str) -> str:
        """A fresh event type that nobody else uses."""
        return f"{self._own}.{what}.{next(self._numbers)}"
