"""What an HTTP server says by itself: one path asked at an interval, and server-sent events.

A feed is opened, runs until it breaks, and may be opened again: it remembers what it has seen.
"""

from typing import Final, Protocol

from bridge.adapters._common.content import Codec
from bridge.adapters._common.http.client import HttpClient
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.stream import ResponseStream
from bridge.adapters.http.call import body_of, check_status, headers_of
from bridge.adapters.http.events import EventParser, ServerEvent
from bridge.core.errors import BridgeError, ConnectionLostError, ProtocolError, RejectedError, ThrottledError
from bridge.core.model import Inbound
from bridge.core.ports import Clock, Deliver

#: Topics of an HTTP integration.
POLL: Final = "poll"
EVENTS: Final = "events"


class Feed(Protocol):
    """Messages of one topic."""

    async def open(self) -> None:
        """See that it works. Raises BridgeError."""
        ...

    async def run(self, deliver: Deliver) -> BridgeError:
        """Deliver until it breaks; returns why."""
        ...

    async def aclose(self) -> None:
        """Let go of what `open` and `run` hold; it can be opened again."""
        ...


class _Patience:
    """Keeps a feed from asking before the time that the server named."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = 0.0

    def check(self) -> None:
        """Raises ThrottledError where it is too early."""
        left = self._until - self._clock.monotonic()
        if left > 0:
            raise ThrottledError("the server asked to wait", retry_after_ms=round(left * 1000))

    def learn(self, error: BridgeError) -> None:
        """Take note of a wait that was asked for."""
        if error.retry_after_ms is not None:
            self._until = self._clock.monotonic() + error.retry_after_ms / 1000


class PollFeed:
    """Asks one path at an interval, and delivers the body where it is another than before; the first one, too."""

    def __init__(self, client: HttpClient, path: bytes, interval: float, codec: Codec, clock: Clock) -> None:
        """`interval` in seconds."""
        self._client = client
        self._path = path
        self._interval = interval
        self._codec = codec
        self._clock = clock
        self._patience = _Patience(clock)
        self._conditions = b""
        self._seen: bytes | None = None
        self._changed: Inbound | None = None

    async def open(self) -> None:
        """Ask for the first time, or again."""
        self._patience.check()
        try:
            await self._ask()
        except BridgeError as error:
            self._patience.learn(error)
            raise

    async def _ask(self) -> None:
        response = await self._client.send("GET", self._path, self._conditions)
        if response.status == 304:
            return
        check_status(response, self._codec)
        headers = headers_of(response)
        try:
            body = body_of(response, self._codec)
        except ProtocolError as error:
            body, headers["codec_error"] = response.body, error.message
        self._conditions = _conditions(response)
        if response.body != self._seen:
            self._seen, self._changed = response.body, Inbound(topic=POLL, message=body, headers=headers)

    async def run(self, deliver: Deliver) -> BridgeError:
        """See `Feed.run`. The interval is counted from the end of one answer to the next question."""
        while True:
            message, self._changed = self._changed, None
            if message is not None:
                await deliver(message)
            await self._clock.sleep(self._interval)
            try:
                await self._ask()
            except BridgeError as error:
                self._patience.learn(error)
                return error

    async def aclose(self) -> None:
        """It holds nothing between two questions."""


def _conditions(response: Response) -> bytes:
    """The headers that ask for news only (RFC 9110, 13.1): the entity tag, or else the date of the last change."""
    for name, condition in ((b"etag", b"if-none-match"), (b"last-modified", b"if-modified-since")):
        value = response.header(name)
        if value is not None:
            return b"%b: %b\r\n" % (condition, value.encode("latin-1"))
    return b""


class EventFeed:
    """Server-sent events (WHATWG HTML, section 9.2), going on after the last one that was delivered."""

    def __init__(self, client: HttpClient, path: bytes, codec: Codec, limit: int, clock: Clock) -> None:
        """`limit` is what one event may have, in bytes."""
        self._client = client
        self._path = path
        self._codec = codec
        self._limit = limit
        self._last_id = ""
        self._patience = _Patience(clock)
        self._stream: ResponseStream | None = None

    async def open(self) -> None:
        """Ask for the stream and see that it is one."""
        self._patience.check()
        headers = b"last-event-id: %b\r\n" % self._last_id.encode() if self._last_id else b""
        answer = await self._client.stream(self._path, "text/event-stream", headers)
        if isinstance(answer, ResponseStream):
            kind = headers_of(answer.response).get("content-type", "") if answer.response is not None else ""
            if kind.partition(";")[0].strip().lower() == "text/event-stream":
                self._stream = answer
                return
            await answer.aclose()
            raise ProtocolError("the answer is no stream of events (its content type is not text/event-stream)")
        try:
            check_status(answer, self._codec)
        except BridgeError as error:
            self._patience.learn(error)
            raise
        # WHATWG HTML 9.2.3: 204 tells a client to stop, and any other success is a failure.
        raise RejectedError(f"the server has no events for us (HTTP {answer.status})", code=answer.status)

    async def run(self, deliver: Deliver) -> BridgeError:
        """See `Feed.run`."""
        stream = self._stream
        if stream is None:
            return ConnectionLostError("there is no stream of events")
        parser = EventParser(self._limit, self._last_id)
        try:
            while piece := await stream.read():
                for event in parser.feed(piece):
                    await deliver(self._message(event))
                    self._last_id = event.last_id
        except BridgeError as error:
            return error
        return ConnectionLostError("the server ended the stream of events")

    async def aclose(self) -> None:
        """Close the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    def _message(self, event: ServerEvent) -> Inbound:
        headers, value = _headers(event), event.data
        try:
            value = self._codec.decode(event.data.encode(), name="the event's data")
        except ProtocolError as error:
            # To break off would bring the same event again, for ever.
            headers["codec_error"] = error.message
        return Inbound(topic=EVENTS, message=value, headers=headers)


def _headers(event: ServerEvent) -> dict[str, str]:
    return {"event": event.kind, "id": event.last_id} if event.last_id else {"event": event.kind}
