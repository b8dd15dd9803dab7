"""Keep a subscription at the bridge, also when the bridge restarts, and read its messages."""

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
#: Seconds without an event of the bridge after which the subscription is made again: three of its usual heartbeats.
_SILENCE: Final = 15.0
#: Seconds until a refused subscription is tried again.
_PAUSE: Final = 1.0
#: Seconds that the end may take.
_CLOSING_TIME: Final = 2.0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message from a remote.

    Attributes:
        topic: The topic it was published to; never a pattern.
        message: Its content.
        headers: The protocol's headers.
        message_id: For `PubSubClient.ack`, where the protocol acknowledges.
        attempts: How often it was delivered, where the protocol counts.
        missed: How many messages were lost right before this one, because the program read too slowly.
    """

    topic: str
    message: Any
    headers: dict[str, str] = {}
    message_id: str | None = None
    attempts: int | None = None
    missed: int = 0


class Subscription:
    """Iterate asynchronously over the messages of a subscription; `PubSubClient.subscribe` makes it.

    The bridge answers a repeated `subscribe` with the same name. So the command is sent again whenever the subscription
    may have ended: another process publishes the integration's health, the integration is connected again (a reload
    makes a new one), or no event of the bridge has arrived for a while.

    Attributes:
        event_type: The type of the events that carry the messages.
    """

    def __init__(
        self, bus: BusClient, integration: str, topic: str, *, event_type: str, qos: int | None, most: int
    ) -> None:
        """Create it; nothing is subscribed yet."""
        self.event_type = event_type
        self._bus = bus
        self._integration = integration
        self._command: dict[str, Any] = {"topic": topic, "emit": event_type}
        if qos is not None:
            self._command["qos"] = qos
        self._messages = Listener(most)
        self._bridge: tuple[Any, Any] | None = None
        self._was_connected = True
        self._pending: str | None = None
        self._subscribed = False
        self._watch = contextlib.ExitStack()
        self._timer = Timer(bus.clock)

    # --- begin and end

    async def begin(self, timeout: float) -> None:
        """Subscribe; return when the remote has confirmed.

        Raises:
            CallFailedError: The bridge answered with an error that will not pass by itself.
            TimeoutError: The bridge did not answer.
        """
        self._watch.enter_context(self._bus.watch(self._on_event, self._stop))
        await self._subscribe(timeout)
        self._subscribed = True
        self._resubscribe_after(_SILENCE)

    async def end(self, *, unsubscribe: bool) -> None:
        """End the iteration; unsubscribe if asked to. A bridge that does not answer is no error."""
        self._watch.close()
        self._stop()
        if not unsubscribe or not self._subscribed:
            return
        with contextlib.suppress(CallFailedError, ClosedError, TimeoutError):
            async with self._bus.clock.timeout(_CLOSING_TIME):
                # A restart of the bridge changes the names. A repeated `subscribe` returns the present one.
                name = await self._subscribe(_CLOSING_TIME)
                payload = {"subscription": name}
                key = str(uuid.uuid4())
                await command(self._bus, self._integration, "unsubscribe", payload, timeout=_CLOSING_TIME, key=key)

    def _stop(self) -> None:
        self._messages.close()
        self._cancel_pending()

    async def _subscribe(self, timeout: float) -> str:
        result = await command(
            self._bus,
            self._integration,
            "subscribe",
            self._command,
            timeout=timeout,
            key=str(uuid.uuid4()),
            retry=True,
        )
        name: str = result["subscription"]
        return name

    # --- subscribing again

    def _on_event(self, event: Event) -> None:
        if event.event_type == self.event_type:
            if event.source != self._bus.source:
                self._messages.put(event)
        elif event.event_type == BRIDGE:
            self._on_bridge_health(event.source, event.payload)

    def _on_bridge_health(self, source: str | None, health: Any) -> None:
        states = health.get("integrations") if isinstance(health, dict) else None
        if not isinstance(states, dict) or self._integration not in states or health.get("status") == "stopped":
            return
        bridge = (source, health.get("pid"))
        connected = states[self._integration] in _CONNECTED
        news = bridge != self._bridge or (connected and not self._was_connected)
        self._bridge, self._was_connected = bridge, connected
        if self._subscribed:
            self._resubscribe_after(_SILENCE)
            if news:
                self._resubscribe()

    def _resubscribe_after(self, seconds: float) -> None:
        """Subscribe again after so many seconds, unless an event of the bridge arrives before."""
        self._timer.set(seconds, self._resubscribe)

    def _resubscribe(self) -> None:
        """Subscribe again, and repeat the command until it is answered, however long that takes."""
        self._cancel_pending()
        self._resubscribe_after(_SILENCE)
        event_type = f"integration.{self._integration}.subscribe"
        self._pending = str(uuid.uuid4())
        pending = self._bus.start_request(self._pending, event_type, self._command, key=self._pending)
        pending.answer.add_done_callback(self._answered)

    def _answered(self, answer: "asyncio.Future[Event]") -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        self._cancel_pending()
        self._resubscribe_after(_SILENCE if answer.result().payload["ok"] else _PAUSE)

    def _cancel_pending(self) -> None:
        self._timer.cancel()
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._bus.end_request(pending)

    # --- reading

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.get()
        except ClosedError:
            raise StopAsyncIteration from None

    async def get(self) -> Message:
        """Wait for the next message and return it.

        Raises:
            ClosedError: The subscription has ended, and no message waits any more.
        """
        missed = 0
        while True:
            event = await self._messages.get()
            missed += self._messages.missed
            try:
                message = _MESSAGE.decode(event.raw)
            except msgspec.DecodeError:
                continue  # an event of somebody else, of the same type
            return msgspec.structs.replace(message, missed=missed)


_MESSAGE: Final = msgspec.msgpack.Decoder(Message)
