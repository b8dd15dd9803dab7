"""Receive messages from an HTTP server: by polling one path, or as server-sent events.

A feed is opened, runs until it fails, and may be opened again: it remembers what it has delivered. When it is opened
again is decided by its owner, who knows from the error how long the server asks to wait.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from bridge.adapters._common.content import Codec
from bridge.adapters._common.http.client import HttpClient
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.stream import ResponseStream
from bridge.adapters.http.events import EventParser, ServerEvent
from bridge.adapters.http.response import body_of, check_status, headers_of
from bridge.core.errors import BridgeError, ConnectionLostError, ProtocolError, RejectedError
from bridge.core.model import Inbound
from bridge.core.ports import Clock, Deliver

#: Topics of an HTTP integration.
POLL: Final = "poll"
EVENTS: Final = "events"
#: The longest entity tag or date that is sent back, in bytes; a server may refuse a longer header.
_MOST_CONDITION: Final = 1024
#: Statuses by which a server may refuse the id of the last event: malformed, gone, does not hold, too far, too long.
_REFUSES_ID: Final = frozenset({400, 410, 412, 416, 431})
#: Server-sent events that are delivered before other tasks of the process have their turn.
_IN_A_TURN: Final = 32


class Feed(Protocol):
    """Receives the messages of one topic: `PollFeed` or `EventFeed`."""

    async def open(self) -> None:
        """Make the first request. Raises BridgeError where the server refuses or does not answer."""
        ...

    async def run(self, deliver: Deliver) -> BridgeError:
        """Deliver messages until the feed fails; return why it failed."""
        ...

    async def aclose(self) -> None:
        """Close what `open` and `run` hold; the feed can be opened again."""
        ...


class PollFeed:
    """Requests one path at an interval, and delivers the body when it has changed, and the first time."""

    def __init__(self, client: HttpClient, path: bytes, interval: float, codec: Codec, clock: Clock) -> None:
        """Make the feed; nothing is requested yet.

        Args:
            client: Makes the requests.
            path: The target of the requests, percent-encoded.
            interval: Seconds from the end of one answer to the next request.
            codec: Decodes the body.
            clock: Measures the interval.
        """
        self._client = client
        self._path = path
        self._interval = interval
        self._codec = codec
        self._clock = clock
        self._conditions = b""
        self._seen: bytes | None = None
        self._changed: Inbound | None = None

    async def open(self) -> None:
        """Make one request; see `Feed.open`."""
        await self._request()

    async def _request(self) -> None:
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
        """Deliver each change until a request fails; see `Feed.run`."""
        while True:
            message, self._changed = self._changed, None
            if message is not None:
                await deliver(message)
            await self._clock.sleep(self._interval)
            try:
                await self._request()
            except BridgeError as error:
                return error

    async def aclose(self) -> None:
        """Do nothing: between two requests nothing is open."""


def _conditions(response: Response) -> bytes:
    """Return the headers that ask for a changed body only (RFC 9110, 13.1), by entity tag or else by date."""
    for name, condition in ((b"etag", b"if-none-match"), (b"last-modified", b"if-modified-since")):
        value = response.header(name)
        if value is not None and len(value) <= _MOST_CONDITION:
            return b"%b: %b\r\n" % (condition, value.encode("latin-1"))
    return b""


class EventFeed:
    """Receives server-sent events (WHATWG HTML, section 9.2), from the one after the last that was delivered."""

    def __init__(
        self,
        client: HttpClient,
        path: bytes,
        codec: Codec,
        *,
        limit: int,
        on_dropped: Callable[[BridgeError, str], None],
    ) -> None:
        """Make the feed; nothing is requested yet.

        Args:
            client: Makes the requests.
            path: The target of the requests, percent-encoded.
            codec: Decodes the data of events.
            limit: The largest event, in bytes.
            on_dropped: Told of an event that cannot be delivered.
        """
        self._client = client
        self._path = path
        self._codec = codec
        self._limit = limit
        self._on_dropped = on_dropped
        self.source = f"{client.origin}{path.decode('ascii')}"
        """Where the events come from; ids of another source mean nothing here."""
        self.last_id = ""
        """The id of the last event that was delivered, or that has nothing to deliver."""
        self._stream: ResponseStream | None = None

    async def open(self) -> None:
        """Request the stream, and check that the answer is one; see `Feed.open`."""
        headers = b"last-event-id: %b\r\n" % self.last_id.encode() if self.last_id else b""
        answer = await self._client.stream(self._path, "text/event-stream", headers)
        if isinstance(answer, ResponseStream):
            kind = headers_of(answer.response).get("content-type", "") if answer.response is not None else ""
            if kind.partition(";")[0].strip().lower() == "text/event-stream":
                self._stream = answer
                return
            await answer.aclose()
            raise ProtocolError("the answer is not a stream of events (its content type is not text/event-stream)")
        if self.last_id and answer.status in _REFUSES_ID:
            self.last_id = ""  # else it would be refused for ever
            lost = f"the server refuses the id of the last event (HTTP {answer.status}); events may be missing"
            self._on_dropped(ProtocolError(lost), EVENTS)
        check_status(answer, self._codec)
        # WHATWG HTML 9.2.3: 204 tells a client to stop, and any other success is a failure.
        raise RejectedError(f"the server sends no events (HTTP {answer.status})", code=answer.status)

    async def run(self, deliver: Deliver) -> BridgeError:
        """Deliver events until the stream ends; see `Feed.run`."""
        stream = self._stream
        if stream is None:
            return ConnectionLostError("there is no stream of events")
        parser = EventParser(self._limit, self.last_id)
        try:
            while piece := await stream.read():
                for number, event in enumerate(parser.feed(piece), 1):
                    if number % _IN_A_TURN == 0:
                        await asyncio.sleep(0)
                    if event.data is not None:
                        await deliver(self._message(event, event.data))
                    elif event.fault is not None:
                        # With its id remembered, the server does not send it again after each reconnection.
                        self._on_dropped(ProtocolError(event.fault), EVENTS)
                    self.last_id = event.last_id
        except BridgeError as error:
            return error
        return ConnectionLostError("the server ended the stream of events")

    async def aclose(self) -> None:
        """Close the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    def _message(self, event: ServerEvent, data: str) -> Inbound:
        headers, value = {"event": event.kind}, data
        if event.last_id:
            headers["id"] = event.last_id
        if event.fault is not None:
            headers["codec_error"] = event.fault
        try:
            value = self._codec.decode(data.encode(), name="the event's data")
        except ProtocolError as error:
            # Ending the stream here would bring the same event again after each reconnection.
            headers["codec_error"] = error.message
        return Inbound(topic=EVENTS, message=value, headers=headers)
