"""Send HTTP requests, poll a path, and receive server-sent events: `type = "http"`.

A command makes any request (`request`). There are two topics (`feeds`): `poll` requests one path at an interval, and
`events` are server-sent events. Requests do not depend on each other, so they are tried whatever the last health check
found. A feed that ends is reported as the end of its subscription; the owner subscribes again. Redirects are never
followed. Event headers and idempotency key are sent as with JSON-RPC.
"""

import asyncio
from typing import Any, Final

import msgspec

from bridge.adapters._common.background import Background
from bridge.adapters._common.content import Codec
from bridge.adapters._common.http.client import HttpClient
from bridge.adapters._common.http.status import check_credentials
from bridge.adapters._common.http.target import SCHEMES
from bridge.adapters.http.config import HttpConfig
from bridge.adapters.http.feeds import EVENTS, POLL, EventFeed, Feed, PollFeed
from bridge.adapters.http.request import IDEMPOTENT, HttpRequest, http_method, join_path, split_method
from bridge.adapters.http.response import body_of, check_status, headers_of
from bridge.core.errors import InvalidError
from bridge.core.model import Command, Request
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Deliver,
    Subscription,
    SubscriptionOptions,
    refuse_group,
)

PROTOCOL: Final = "http"
#: Where a session leaves the last id of its server-sent events for the next one: the adapter, the source, the id.
_LEFT: Final = "http.events"


class _OpenFeed(msgspec.Struct):
    """The feed of a topic, with the subscription and its task while it runs.

    It stays when the feed has ended: it remembers what was delivered.
    """

    feed: Feed
    task: asyncio.Task[None] | None = None


class HttpAdapter(AdapterBase):
    """Send the requests and run the feeds of one integration; see `ports.ProtocolAdapter`."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Take the settings; nothing is opened yet. Raises ValueError where they contradict each other."""
        config = setup.config if isinstance(setup.config, HttpConfig) else HttpConfig()
        self._config = config
        self._client = HttpClient(
            setup, max_response=config.max_response, allow_headers=config.allow_headers, accept="*/*"
        )
        if b"?" in self._client.path:
            raise ValueError("the endpoint's path has a query; queries go into the command's `params.query`")
        self._clock = setup.clock
        self._codec = Codec(config.codec)
        self._idempotent = frozenset(config.idempotent)
        self._allowed = {name.lower(): name for name in config.allow_headers}
        self._on_subscription_ended = setup.on_subscription_ended
        self._on_dropped = setup.on_dropped
        self._session_state = setup.session_state
        self._background = Background(setup.on_lost)
        self._feeds: dict[str, _OpenFeed] = {}

    async def connect(self) -> None:
        """Open one connection and keep it in the pool.

        Raises:
            NotConnectedError: The server cannot be reached.
            BridgeError: The health check fails.
        """
        await self._client.open()
        if self._config.health_path is not None:
            await self.check()
        if not self._background.is_open:
            await self._background.open()

    async def disconnect(self) -> None:
        """Close all feeds and connections; requests in flight fail with ConnectionLostError."""
        feeds = [one.feed for one in self._feeds.values()]
        self._feeds.clear()
        await self._background.close()
        for feed in feeds:
            await feed.aclose()
        await self._client.close()

    async def check(self) -> None:
        """Make one whole HTTP exchange: a frozen server still accepts connections, but does not answer.

        Raises:
            AuthError: The server answers 401.
            BridgeError: There is no answer; or with a `health_path` the answer is not a success.
        """
        path = self._config.health_path
        response = await self._client.send("GET", join_path(self._client.path, path) if path else self._client.path)
        if path is not None:
            check_status(response, self._codec)
        check_credentials(response)

    def is_idempotent(self, command: Command) -> bool:
        """Return whether the HTTP method is idempotent (RFC 9110, 9.2.2), or `idempotent` names the method."""
        if not isinstance(command, Request):
            return False
        return http_method(command.method) in IDEMPOTENT or command.method in self._idempotent

    async def request(self, command: Request, context: Context) -> Any:
        """Send one request.

        Args:
            command: Its method is as in `GET /items/{id}`, its params are `request.Params`. With `notify` the server
                must answer with a success, whose body is not read.
            context: Its headers and idempotency key become HTTP headers.

        Returns:
            `{status, headers, body}`; None with `notify`.

        Raises:
            InvalidError: Method or params are wrong.
            BridgeError: There is no answer, or its status is not 2xx.
        """
        request = HttpRequest.make(command.method, command.params, self._client.path, self._codec, self._allowed)
        if request.headers:
            given = {self._allowed[name.lower()]: value for name, value in request.headers.items()}
            context = msgspec.structs.replace(context, headers={**context.headers, **given})
        headers = self._client.header_lines(context)
        response = await self._client.send(request.method, request.target, headers, request.body, request.content_type)
        check_status(response, self._codec)
        if command.notify:
            return None
        return {
            "status": response.status,
            "headers": headers_of(response),
            "body": body_of(response, self._codec),
        }

    async def subscribe(
        self,
        topic: str,
        deliver: Deliver,
        options: SubscriptionOptions = NO_OPTIONS,  # noqa: ARG002
    ) -> Subscription:
        """Open the feed of a topic, `poll` or `events`; a second subscription to the same topic replaces the first.

        Raises:
            InvalidError: There is no such topic, or the configuration does not name its path.
            BridgeError: The server cannot be reached, or refuses.
        """
        open_feed = self._feeds.get(topic)
        if open_feed is None:
            open_feed = self._feeds[topic] = _OpenFeed(self._make_feed(topic))
        await self._stop(open_feed)
        if not self._background.is_open:
            await self._background.open()
        subscription = Subscription(topic)
        try:
            await open_feed.feed.open()
            open_feed.task = self._background.start(self._run(open_feed, subscription, deliver))
        except BaseException:
            await open_feed.feed.aclose()
            raise
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Close the feed; nothing is delivered after this."""
        open_feed = self._feeds.pop(subscription.topic, None)
        if open_feed is None:
            return
        await self._stop(open_feed)
        if isinstance(open_feed.feed, EventFeed):
            # The next session goes on from here. In this one, to subscribe again is to begin again.
            self._session_state[_LEFT] = (self, open_feed.feed.source, open_feed.feed.last_id)

    def _make_feed(self, topic: str) -> Feed:
        config, base = self._config, self._client.path
        check_feed(topic, config)
        if topic == POLL and config.poll is not None:
            path = base if config.path is None else join_path(base, config.path)
            return PollFeed(self._client, path, config.poll, self._codec, self._clock)
        path = join_path(base, config.events or "")
        feed = EventFeed(self._client, path, self._codec, limit=config.max_response, on_dropped=self._on_dropped)
        adapter, source, last_id = self._session_state.pop(_LEFT, (self, "", ""))
        if adapter is not self and source == feed.source:
            feed.last_id = last_id
        return feed

    async def _run(self, open_feed: _OpenFeed, subscription: Subscription, deliver: Deliver) -> None:
        error = await open_feed.feed.run(deliver)
        await open_feed.feed.aclose()
        open_feed.task = None
        self._on_subscription_ended(subscription, error)

    @staticmethod
    async def _stop(open_feed: _OpenFeed) -> None:
        task, open_feed.task = open_feed.task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await open_feed.feed.aclose()


def check_names(operation: str, name: str, group: str | None, config: Any) -> None:
    """Check the method of a request, or the topic of a subscription; see `ports.NameCheck`."""
    if operation == "request":
        split_method(name)
    else:
        refuse_group(PROTOCOL, group)
        check_feed(name, config)


def check_feed(topic: str, config: HttpConfig) -> None:
    """Raise InvalidError unless there is a feed of this name, and the configuration has a setting for it."""
    if topic not in {POLL, EVENTS}:
        raise InvalidError(f'topic: there is no {topic!r}; there are "{POLL}" and "{EVENTS}"')
    if (config.poll if topic == POLL else config.events) is None:
        raise InvalidError(f'topic: "{topic}" needs `{topic}` in the `config` block')


def unfit_for_lease(topic: str, config: HttpConfig) -> str | None:  # noqa: ARG001
    """Return why only the poll can be left to one node; see `ports.AdapterSpec.unfit_for_lease`."""
    if topic == EVENTS:
        return f'the server sends its events once to each that listens; only the topic "{POLL}" can be `singleton`'
    return None


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="HTTP or HTTPS: any request, polling, server-sent events",
    operations=frozenset({"request", "subscribe", "unsubscribe"}),
    auth=frozenset({"none", "basic", "bearer", "certificate"}),
    config=HttpConfig,
    schemes=SCHEMES,
    create=HttpAdapter,
    side_by_side=True,
    has_session=False,
    check_names=check_names,
    unfit_for_lease=unfit_for_lease,
)
