"""An adapter for Lines: one JSON array a line over TCP, both ways."""

import asyncio
import itertools
import json
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from msgspec import UNSET
from pydantic import Field

from bridge.sdk import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    BridgeError,
    Command,
    ConnectionLostError,
    Context,
    Deliver,
    Inbound,
    InvalidError,
    NotConnectedError,
    Publish,
    RejectedError,
    Request,
    Size,
    Strict,
    Subscription,
    SubscriptionOptions,
    Tls,
)

PORT: Final = 7070


class LinesConfig(Strict):
    """`config { … }` of a Lines integration."""

    idempotent: Annotated[tuple[str, ...], Field(description="methods that may safely be called twice")] = ()
    max_line: Annotated[Size, Field(description="the longest line that is read; a longer one ends the session")] = 65536


def _address(setup: AdapterSetup) -> tuple[str, int]:
    endpoint = setup.endpoint
    if endpoint is None:
        raise ValueError("there is no endpoint")
    if endpoint.tls or setup.tls != Tls():
        raise ValueError("Lines has no TLS; leave `tls` out")
    text = endpoint.url or endpoint.address or ""
    if "://" not in text:
        return text, endpoint.port or PORT
    parts = urlsplit(text)
    return parts.hostname or "", endpoint.port or parts.port or PORT


class LinesAdapter(AdapterBase):
    """One session: one TCP connection and the task that reads from it."""

    protocol = "lines"

    def __init__(self, setup: AdapterSetup) -> None:
        self._config = setup.config if isinstance(setup.config, LinesConfig) else LinesConfig()
        self._host, self._port = _address(setup)
        self._on_lost = setup.on_lost
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._deliver: dict[int, Deliver] = {}

    async def connect(self) -> None:
        try:
            reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=self._config.max_line)
        except OSError as error:
            raise NotConnectedError(f"{self._host}:{self._port}: {error}") from None
        self._reading = asyncio.create_task(self._read(reader))

    async def disconnect(self) -> None:
        reading, self._reading = self._reading, None
        writer = self._end(ConnectionLostError("the session was closed"))
        if writer is not None:
            try:
                writer.close()
                await writer.wait_closed()
            except OSError:
                pass  # it was broken already
            finally:
                writer.transport.abort()  # a frozen server never takes what is still unsent
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.result()  # raises only what is a bug

    def _end(self, error: BridgeError) -> asyncio.StreamWriter | None:
        writer, self._writer = self._writer, None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
        return writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        error = ConnectionLostError("the server closed the connection")
        try:
            async for line in reader:
                await self._take(line)
        except OSError as broken:
            error = ConnectionLostError(str(broken))
        except (ValueError, RecursionError):
            error = ConnectionLostError("the server sent what is not Lines, or a line that is too long")
        finally:
            writer = self._end(error)
            if writer is not None:  # nobody asked for the end
                writer.transport.abort()
                self._on_lost(error)

    async def _take(self, line: bytes) -> None:
        match json.loads(line):
            case ["ok", int(number), result]:
                answer = self._waiting.get(number)
                if answer is not None and not answer.done():
                    answer.set_result(result)
            case ["error", int(number), int() | str() as code, str(message), data]:
                answer = self._waiting.get(number)
                if answer is not None and not answer.done():
                    answer.set_exception(RejectedError(message, code=code, data=data))
            case ["message", int(number), str(topic), message]:
                deliver = self._deliver.get(number)
                if deliver is not None:
                    await deliver(Inbound(topic=topic, message=message))
            case _:
                raise ValueError

    def _send(self, *line: Any) -> None:
        try:
            data = json.dumps(line, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InvalidError(f"JSON cannot carry it: {error}") from None
        if self._writer is None:
            raise NotConnectedError("there is no connection")
        self._writer.write(data + b"\n")

    async def _ask(self, verb: str, *arguments: Any, number: int | None = None) -> Any:
        number = next(self._numbers) if number is None else number
        self._send(verb, number, *arguments)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            return await answer
        finally:
            del self._waiting[number]

    async def check(self) -> None:
        await self._ask("ping")

    def is_idempotent(self, command: Command) -> bool:
        return isinstance(command, Request) and command.method in self._config.idempotent

    async def request(self, command: Request, context: Context) -> Any:
        arguments = [] if command.params is UNSET else [command.params]
        if command.notify:
            self._send("notify", command.method, *arguments)
            return None
        return await self._ask("call", command.method, *arguments)

    async def publish(self, command: Publish, context: Context) -> dict[str, Any]:
        return {"receivers": await self._ask("publish", command.topic, command.message)}

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        number = next(self._numbers)
        self._deliver[number] = deliver  # before the question: a message may come right behind the answer
        try:
            await self._ask("subscribe", topic, number=number)
        except BaseException:
            del self._deliver[number]
            raise
        return Subscription(topic, number)

    async def unsubscribe(self, subscription: Subscription) -> None:
        self._deliver.pop(subscription.handle, None)
        await self._ask("unsubscribe", subscription.handle)


SPEC: Final = AdapterSpec(
    protocol="lines",
    summary="Lines: one JSON array a line over TCP",
    operations=frozenset({"request", "publish", "subscribe", "unsubscribe"}),
    auth=frozenset({"none"}),
    config=LinesConfig,
    schemes={"lines": (PORT, False)},
    create=LinesAdapter,
)
