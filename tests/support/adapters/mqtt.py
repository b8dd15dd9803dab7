"""MQTT sessions for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bridge.adapters.mqtt.acks import Acks
from bridge.adapters.mqtt.adapter import MqttAdapter
from bridge.adapters.mqtt.config import MqttConfig
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.core.endpoint import NO_AUTH, Endpoint, Tls
from bridge.core.errors import BridgeError
from bridge.core.model import Inbound
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup


def adapter(
    url: str,
    *,
    auth: Any = NO_AUTH,
    tls: Tls | None = None,
    on_lost: Callable[[BridgeError], None] = lambda _: None,
    told: dict[str, Any] | None = None,
    **config: Any,
) -> MqttAdapter:
    """An adapter, not yet connected; `config` as in the configuration, `told` more of `AdapterSetup`."""
    more = {"on_lost": on_lost, **(told or {})}
    return MqttAdapter(adapter_setup("test", Endpoint(url=url), auth, tls or Tls(), MqttConfig(**config), **more))


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Direct]:
    """The same, connected, and disconnected in the end."""
    session = adapter(url, **options)
    try:
        await session.connect()
        yield Direct(session)
    finally:
        await session.disconnect()


class Mailbox:
    """Takes messages; while `closed` it takes them without ever saying that it has."""

    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self.closed = False

    async def deliver(self, inbound: Inbound) -> None:
        """See `ports.Deliver`."""
        self.messages.append(inbound)
        if self.closed:
            await asyncio.Event().wait()

    @property
    def contents(self) -> list[Any]:
        """The contents of the messages."""
        return [inbound.message for inbound in self.messages]


class Acknowledged:
    """Takes acknowledgements, as long as there is a connection."""

    def __init__(self) -> None:
        self.acks: list[int] = []
        self.there = True

    def __call__(self, messages: Sequence[IncomingMessage]) -> bool:
        if self.there:
            self.acks += [message.identifier for message in messages]
        return self.there


def message(identifier: int, qos: int = 1, payload: bytes = b"") -> IncomingMessage:
    """Return a message as it comes from a broker."""
    return IncomingMessage("t", payload, qos, retain=False, identifier=identifier, size=len(payload))


def begun(acks: Acks, *, present: bool = True) -> Acknowledged:
    """Begin a connection; return what it acknowledges."""
    broker = Acknowledged()
    acks.begin(broker, present=present)
    return broker
