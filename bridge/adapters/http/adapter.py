"""HTTP: `type = "http"`.

Any request by command (`call`), and two topics (`feeds`): `poll`, one path asked at an interval, and
`events`, server-sent events. Calls stand for themselves and are tried whatever the last check said. A feed that breaks
is told of as a loss; `connect` opens it again, so that reconnection stays where it is for all protocols. Redirects are
never followed. Event headers and idempotency key travel as with JSON-RPC.
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from pydantic import AfterValidator, Field, model_validator

from bridge.adapters._common.background import Background
from bridge.adapters._common.content import Codec, CodecName
from bridge.adapters._common.http.client import HttpClient, check_header_name
from bridge.adapters._common.http.status import refused_credentials
from bridge.adapters._common.http.target import SCHEMES
from bridge.adapters.http.call import IDEMPOTENT, body_of, check_status, headers_of, join_path, make_call, verb
from bridge.adapters.http.feeds import EVENTS, POLL, EventFeed, Feed, PollFeed
from bridge.core.endpoint import Strict
from bridge.core.errors import InvalidError
from bridge.core.model import Command, Request
from bridge.core.ports import (
    NO_CONTEXT,
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Deliver,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.units import PositiveDuration, Size

PROTOCOL: Final = "http"


def _path(path: str) -> str:
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or any(sign in path for sign in " #\\"):
        raise ValueError(f'{path!r} is no path; it starts with "/", and what is not ASCII is percent-encoded')
    return path


Path = Annotated[str, AfterValidator(_path)]


class HttpConfig(Strict):
    """`config { … }` of an HTTP integration. Paths are below the endpoint's own."""

    idempotent: Annotated[
        tuple[str, ...],
        Field(
            description='methods, written as in commands ("POST /search"), that may be called again although the first '
            "call may have been acted on; GET, HEAD, PUT, DELETE and OPTIONS always may"
        ),
    ] = ()
    max_response: Annotated[
        Size, Field(description="the largest response body that is read, decompressed, and the largest single event")
    ] = 16 * 1024 * 1024
    allow_headers: Annotated[
        tuple[Annotated[str, AfterValidator(check_header_name)], ...],
        Field(description="headers that commands may give, and event headers that travel, besides traceparent and hop"),
    ] = ()
    codec: Annotated[
        CodecName,
        Field(
            description="how bodies are written and read; auto writes text as text and all else as JSON, and reads by "
            "the content type"
        ),
    ] = "auto"
    poll: Annotated[
        PositiveDuration | None,
        Field(description='the interval of the topic "poll", which brings what is at `path` whenever it has changed'),
    ] = None
    path: Annotated[Path | None, Field(description="what is polled; left out, the endpoint's own path")] = None
    events: Annotated[
        Path | None, Field(description='path of the server-sent events that the topic "events" brings')
    ] = None
    health_path: Annotated[
        Path | None,
        Field(
            description="path that a health check GETs, whose answer must be a success; without it the check is a GET "
            "of the endpoint, and any answer but 401 shows a living server"
        ),
    ] = None

    @model_validator(mode="after")
    def _whole(self) -> "HttpConfig":
        if self.path is not None and self.poll is None:
            raise ValueError("`path` goes with `poll`, the interval")
        return self


@dataclass(slots=True)
class _Live:
    """A subscription's feed, where its messages go, and its task while it runs."""

    feed: Feed
    deliver: Deliver
    task: asyncio.Task[None] | None = None


class HttpAdapter(AdapterBase):
    """One integration's calls and feeds; see `ports.ProtocolAdapter`. Calls run at the same time."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where endpoint, auth, TLS and config do not fit together."""
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
        self._on_lost = setup.on_lost
        self._told = False
        self._background = Background(setup.on_lost)
        self._live: dict[str, _Live] = {}

    async def connect(self) -> None:
        """Open one connection and keep it; open what has broken, and what may have without a word."""
        self._told = False
        await self._client.open()
        if self._config.health_path is not None:
            await self.check()
        if not self._background.is_open:
            await self._background.open()
        for live in tuple(self._live.values()):
            await self._stop(live)
            await self._begin(live)

    async def disconnect(self) -> None:
        """Close everything; what is in flight fails with ConnectionLostError."""
        feeds = [live.feed for live in self._live.values()]
        self._live.clear()
        await self._background.close()
        for feed in feeds:
            await feed.aclose()
        await self._client.close()

    async def check(self) -> None:
        """A whole HTTP exchange, since a frozen server still accepts connections."""
        path = self._config.health_path
        response = await self._client.send("GET", join_path(self._client.path, path) if path else self._client.path)
        if path is not None:
            check_status(response, self._codec)
        error = refused_credentials(response)
        if error is not None and error.permanent:
            raise error

    def is_idempotent(self, command: Command) -> bool:
        """Return whether the HTTP method is idempotent (RFC 9110, 9.2.2), or the configuration says so."""
        if not isinstance(command, Request):
            return False
        return verb(command.method) in IDEMPOTENT or command.method in self._idempotent

    async def request(self, command: Request, context: Context) -> Any:
        """Method as in `GET /items/{id}`, params `{path?, query?, headers?, body?}`; `{status, headers, body}`.

        With `notify` the server must take it, but its answer's body is not looked at.
        """
        call = make_call(command.method, command.params, self._client.path, self._codec, self._allowed)
        if call.headers:
            given = {self._allowed[name.lower()]: value for name, value in call.headers.items()}
            context = msgspec.structs.replace(context, headers={**context.headers, **given})
        headers = self._client.header_lines(context) if context is not NO_CONTEXT else b""
        response = await self._client.send(call.method, call.target, headers, call.body, call.content_type)
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
        """`topic` is `poll` or `events`; another subscription to the same topic takes the place of the first.

        Raises:
            InvalidError: There is no such topic, or the configuration does not say where it is.
            BridgeError: The server's refusal.
        """
        live = self._live.get(topic)
        if live is None:
            live = _Live(self._feed(topic), deliver)
        live.deliver = deliver
        await self._stop(live)
        await self._begin(live)
        self._live[topic] = live
        return Subscription(topic)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Nothing comes after this."""
        live = self._live.pop(subscription.topic, None)
        if live is not None:
            await self._stop(live)

    def _feed(self, topic: str) -> Feed:
        config, base = self._config, self._client.path
        if topic == POLL and config.poll is not None:
            path = base if config.path is None else join_path(base, config.path)
            return PollFeed(self._client, path, config.poll, self._codec, self._clock)
        if topic == EVENTS and config.events is not None:
            path = join_path(base, config.events)
            return EventFeed(self._client, path, self._codec, config.max_response, self._clock)
        if topic in {POLL, EVENTS}:
            raise InvalidError(f'topic "{topic}" needs `{topic}` in the `config` block')
        raise InvalidError(f'there is no topic {topic!r}; there are "{POLL}" and "{EVENTS}"')

    async def _begin(self, live: _Live) -> None:
        if not self._background.is_open:
            await self._background.open()
        try:
            await live.feed.open()
            live.task = self._background.start(self._run(live))
        except BaseException:
            await live.feed.aclose()
            raise

    async def _run(self, live: _Live) -> None:
        error = await live.feed.run(live.deliver)
        await live.feed.aclose()
        live.task = None
        if not self._told:
            self._told = True
            self._on_lost(error)

    @staticmethod
    async def _stop(live: _Live) -> None:
        task, live.task = live.task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await live.feed.aclose()


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="HTTP or HTTPS: any request, polling, server-sent events",
    operations=frozenset({"request", "subscribe", "unsubscribe"}),
    auth=frozenset({"none", "basic", "bearer", "certificate"}),
    config=HttpConfig,
    schemes=SCHEMES,
    create=HttpAdapter,
    has_session=False,
)
