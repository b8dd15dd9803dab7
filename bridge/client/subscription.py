"""A subscription at the bridge, kept alive over its restarts, and the messages that come by it."""

import asyncio
import contextlib
import uuid
from typing import Any, Final, Self

import msgspec

from bridge.client.bus import BusClient
from bridge.client.command import command
from bridge.client.errors import CallFailedError, ClosedError
from bridge.client.listener import Listener
from bridge.core.model import Event
from bridge.core.timer import Timer

BRIDGE: Final = "health.bridge"
_CONNECTED: Final = frozenset({"connected", "degraded"})
#: Seconds without word from the bridge after which it is asked again: three of its usual heartbeats.
_SILENCE: Final = 15.0
#: Seconds until a refused subscription is tried again.
_PAUSE: Final = 1.0
#: Seconds that the end may take.
_FAREWELL: Final = 2.0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message from outside.

    Attributes:
        topic: The concrete topic it came by.
        message: Its content.
        headers: The outside protocol's headers.
        message_id: For `PubSubClient.ack`, where the protocol acknowledges.
        attempts: How often it was delivered, where the protocol counts.
        missed: How many messages this program was too slow for, right before this one.
    """

    topic: str
    message: Any
    headers: dict[str, str] = {}
    message_id: str | None = None
    attempts: int | None = None
    missed: int = 0


class Subscription:
    """An async iterator of messages; `PubSubClient.subscribe` makes it.

    The bridge answers a `subscribe` that it knows already with the same name, so it is simply said again whenever the
    subscription might be gone: another process speaks for the integration, the integration has come back (a reload
    makes it anew), or nothing was heard for a while.

    Attributes:
        event_type: The type by which the messages come on the bus.
    """

    def __init__(
        self, bus: BusClient, integration: str, topic: str, *, event_type: str, qos: int | None, most: int
    ) -> None:
        """Nothing is subscribed yet."""
        self.event_type = event_type
        self._bus = bus
        self._integration = integration
        self._command: dict[str, Any] = {"topic": topic, "emit": event_type}
        if qos is not None:
            self._command["qos"] = qos
        self._messages = Listener(most)
        self._bridge: tuple[Any, Any] | None = None
        self._was_connected = True
        self._asking: str | None = None
        self._subscribed = False
        self._watching = contextlib.ExitStack()
        self._timer = Timer(bus.clock)

    # --- life

    async def begin(self, timeout: float) -> None:
        """Subscribe; returns when the remote has confirmed.

        Raises:
            CallFailedError: The bridge answered with an error that will not pass.
            TimeoutError: The bridge did not answer.
        """
        self._watching.enter_context(self._bus.watch(self._see, self._stop))
        await self._subscribe(timeout)
        self._subscribed = True
        self._listen_for(_SILENCE)

    async def end(self, *, unsubscribe: bool) -> None:
        """Read no more, and unsubscribe if nobody else may live on it; a bridge that is gone needs no word."""
        self._watching.close()
        self._stop()
        if not unsubscribe or not self._subscribed:
            return
        with contextlib.suppress(CallFailedError, ClosedError, TimeoutError):
            async with self._bus.clock.timeout(_FAREWELL):
                # Names are of one life of the bridge. Asked again, it tells the one that is ours now.
                name = await self._subscribe(_FAREWELL)
                payload = {"subscription": name}
                key = str(uuid.uuid4())
                await command(self._bus, self._integration, "unsubscribe", payload, timeout=_FAREWELL, key=key)

    def _stop(self) -> None:
        self._messages.close()
        self._calm()

    async def _subscribe(self, timeout: float) -> str:
        result = await command(
            self._bus,
            self._integration,
            "subscribe",
            self._command,
            timeout=timeout,
            key=str(uuid.uuid4()),
            patient=True,
        )
        name: str = result["subscription"]
        return name

    # --- upkeep

    def _see(self, event: Event) -> None:
        if event.event_type == self.event_type:
            if event.source != self._bus.source:
                self._messages.put(event)
        elif event.event_type == BRIDGE:
            self._hear_bridge(event.source, event.payload)

    def _hear_bridge(self, source: str | None, health: Any) -> None:
        states = health.get("integrations") if isinstance(health, dict) else None
        if not isinstance(states, dict) or self._integration not in states or health.get("status") == "stopped":
            return
        bridge = (source, health.get("pid"))
        connected = states[self._integration] in _CONNECTED
        news = bridge != self._bridge or (connected and not self._was_connected)
        self._bridge, self._was_connected = bridge, connected
        if self._subscribed:
            self._listen_for(_SILENCE)
            if news:
                self._again()

    def _listen_for(self, seconds: float) -> None:
        """Subscribe again unless the bridge is heard of within so many seconds."""
        self._timer.set(seconds, self._again)

    def _again(self) -> None:
        """Say it once more; until it is answered, however long that takes."""
        self._calm()
        self._listen_for(_SILENCE)
        event_type = f"integration.{self._integration}.subscribe"
        self._asking = str(uuid.uuid4())
        asking = self._bus.begin(self._asking, event_type, self._command, key=self._asking)
        asking.answer.add_done_callback(self._answered)

    def _answered(self, answer: "asyncio.Future[Event]") -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        self._calm()
        self._listen_for(_SILENCE if answer.result().payload["ok"] else _PAUSE)

    def _calm(self) -> None:
        self._timer.cancel()
        if self._asking is not None:
            asking, self._asking = self._asking, None
            self._bus.end(asking)

    # --- reading

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.get()
        except ClosedError:
            raise StopAsyncIteration from None

    async def get(self) -> Message:
        """The next message; waits for it.

        Raises:
            ClosedError: The subscription has ended, and nothing waits any more.
        """
        missed = 0
        while True:
            event = await self._messages.get()
            missed += self._messages.missed
            try:
                message = _MESSAGE.decode(event.raw)
            except msgspec.DecodeError:
                continue  # somebody else's, of the same type
            return msgspec.structs.replace(message, missed=missed)


_MESSAGE: Final = msgspec.msgpack.Decoder(Message)
