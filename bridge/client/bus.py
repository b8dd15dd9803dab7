"""A program's place on the bus: emit events, ask and be answered, listen."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from bridge.bus import Bus
from bridge.clock import RealClock
from bridge.errors import BusError
from bridge.model import Event

#: How often a hello, or a keyed request, is sent again until it is answered, in seconds.
_AGAIN: Final = 0.25


class BusClient:
    """One program on the bus. Use as an async context manager.

    Entering waits until the bus carries both ways, because what a PUB socket sends before its subscribers are known
    is lost without a word (ZeroMQ's slow joiner).
    """

    def __init__(
        self,
        publish: str | None = None,
        subscribe: str | None = None,
        *,
        source: str | None = None,
        prefixes: Sequence[str] = ("response.",),
        max_message: int = 1 << 20,
        patience: float = 5.0,
    ) -> None:
        """Nothing is opened yet.

        Args:
            publish: Endpoint that publishers connect to; None for the user's default bus.
            subscribe: Endpoint that subscribers connect to; None for the user's default bus.
            source: Goes into each event; default `client/` and a random name.
            prefixes: Event types to receive, by how they start; `""` is everything.
            max_message: Bytes of the largest message that is taken, as configured on the bus.
            patience: Seconds to wait for the bus to answer before `BusError`.
        """
        self._name = uuid.uuid4().hex[:12]
        self.source = source or f"client/{self._name}"
        self._hello = f"client.{self._name}.hello"
        self._patience = patience
        self._waiting: dict[str, asyncio.Future[Event]] = {}
        self._listeners: list[asyncio.Queue[Event]] = []
        self._carried = asyncio.Event()
        self._endpoints = (publish, subscribe)
        self._bus = Bus(
            mode="connect",
            publish=publish,
            subscribe=subscribe,
            max_message=max_message,
            source=self.source,
            clock=RealClock(),
            on_event=self._on_event,
            subscriptions=(*prefixes, self._hello),
            own=True,
        )

    async def __aenter__(self) -> Self:
        """Connect, and wait until the bus carries both ways.

        Raises:
            BusError: Nobody hosts the bus at these endpoints.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._bus.start()
                while not self._carried.is_set():
                    self._bus.publish(self._hello, None)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._carried.wait(), 0.05)
        except TimeoutError:
            await self._bus.stop()
            where = f"{self._bus.publish_endpoint} and {self._bus.subscribe_endpoint}"
            raise BusError(f"no bus answers at {where}; is `nemo-bridge run` up?") from None
        except BaseException:  # cancelled: nobody will leave what was not entered
            await self._bus.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until what was emitted has left, then disconnect."""
        try:
            if kind is None:
                # One more hello behind everything that was emitted: when it is back, the broker has all of it.
                self._carried.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        self._bus.publish(self._hello, None)
                        await self._carried.wait()
        finally:
            await self._bus.stop()

    def _on_event(self, event: Event) -> None:
        if event.event_type == self._hello:
            self._carried.set()
            return
        if event.event_type.startswith("client.") and event.event_type.endswith(".hello"):
            return  # another client's
        if event.correlation_id is not None and event.event_type.startswith("response."):
            answer = self._waiting.get(event.correlation_id)
            if answer is not None and not answer.done():
                answer.set_result(event)
        for listener in self._listeners:
            listener.put_nowait(event)

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
        """
        self._bus.publish(event_type, payload, correlation_id=correlation_id, headers=headers)

    async def ask(
        self, event_type: str, payload: Any = None, *, timeout: float = 30.0, key: str | None = None
    ) -> Event:
        """Emit an event with a fresh correlation id and wait for its response.

        Args:
            event_type: As in `integration.backend_api.request`.
            payload: The command's arguments.
            timeout: Seconds to wait.
            key: An idempotency key. With one, the event is sent again until it is answered, and the bridge runs it
                once; it also tells the bridge that the remote may safely see the call twice.

        Raises:
            TimeoutError: No response in time.
            InvalidError: The bus cannot carry the event.
        """
        correlation_id = str(uuid.uuid4())
        headers = None if key is None else {"idempotency_key": key}
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = answer
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self.emit(event_type, payload, correlation_id=correlation_id, headers=headers)
                    await asyncio.wait({answer}, timeout=None if key is None else _AGAIN)
                    if answer.done():
                        return await answer
        finally:
            del self._waiting[correlation_id]

    @contextlib.contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Event]]:
        """A queue of all events that arrive inside the context, in order, with those that this client emits.

        Begin to listen before entering the client where the last values of `health.*` are wanted: they come at once.
        """
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            yield queue
        finally:
            self._listeners.remove(queue)
