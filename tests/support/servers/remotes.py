"""The remotes that acknowledge, behind one handle: the same fault is done to each, and the same is asked of it after.

Each has an integration in HCL, a command that sends it a number, and a ledger of what really reached it, read by a
client that shares no code with the bridge.
"""

import asyncio
import json
import logging
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, ClassVar

from nats.aio.client import Client
from nats.errors import NoServersError
from paho.mqtt import publish
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.servers.ledger_service import LedgerService, ledger_service
from tests.support.servers.mosquitto import Mosquitto, mosquitto
from tests.support.servers.nats_server import NatsServer, nats_client, nats_server
from tests.support.servers.redis_server import RedisServer, redis_server

Entry = tuple[str, int]

_RESILIENCE = """
  health {
    interval = "300ms"
    timeout  = "500ms"
  }
  resilience {
    timeout = "1s"
    retry {
      max_attempts  = 3
      initial_delay = "50ms"
      max_delay     = "200ms"
      budget        = 1
    }
    circuit_breaker {
      failure_threshold = 1000
      timeout           = "300ms"
    }
  }
"""


class Stand(ABC):
    """One remote that can be killed, frozen and restarted.

    Attributes:
        kind: The protocol, which is the integration's label, too.
        operation: What carries a number to it.
        dedupes: True where the remote itself stores an idempotency key once.
        port: Where it listens on loopback.
        kill: Kill -9, and wait until it is gone.
        start: Start it again, where it was, with what it had stored.
        freeze: SIGSTOP.
        thaw: SIGCONT.
    """

    kind: ClassVar[str]
    operation: ClassVar[str]
    dedupes: ClassVar[bool] = False
    port: int

    kill: Callable[[], None]
    start: Callable[[], None]
    freeze: Callable[[], None]
    thaw: Callable[[], None]

    @abstractmethod
    def command(self, number: int) -> dict[str, Any]:
        """Return the payload that carries a number."""

    @abstractmethod
    def ledger(self) -> list[Entry]:
        """Return the idempotency key (`-`: none) and number of all that it has received, in order."""

    @abstractmethod
    def settings(self, port: int) -> str:
        """Return `type`, `endpoint` and `config` in HCL, with this port."""

    def integration(self, port: int | None = None, resilience: str = _RESILIENCE) -> str:
        """Return the `integration` block; `port` is that of a proxy before it."""
        return f'\nintegration "{self.kind}" {{\n{self.settings(port or self.port)}\n{resilience}\n}}\n'

    @property
    def topic(self) -> str:
        """Return the event type of the command."""
        return f"integration.{self.kind}.{self.operation}"


class _RpcStand(Stand):
    kind = "json-rpc"
    operation = "request"

    def __init__(self, service: LedgerService) -> None:
        self._service = service
        self.port = service.port
        self.start, self.kill = service.start, service.kill
        self.freeze, self.thaw = service.freeze, service.thaw

    def command(self, number: int) -> dict[str, Any]:
        return {"method": "note", "params": {"number": number}}

    def ledger(self) -> list[Entry]:
        return self._service.entries()

    def settings(self, port: int) -> str:
        return f'type = "json-rpc"\nendpoint {{\n url = "http://127.0.0.1:{port}/rpc"\n}}'


class _RedisStand(Stand):
    kind = "redis"
    operation = "enqueue"

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.port = server.port
        self.start, self.kill = server.restart, server.kill
        self.freeze, self.thaw = server.freeze, server.thaw

    def command(self, number: int) -> dict[str, Any]:
        return {"queue": "numbers", "message": {"number": number}}

    def ledger(self) -> list[Entry]:
        found: Any = self._server.client().xrange("numbers")
        return [_entry(json.loads(one["headers"]), json.loads(one["data"])) for _, one in found]

    def settings(self, port: int) -> str:
        return f'type = "redis"\nendpoint {{\n url = "redis://127.0.0.1:{port}/0"\n}}'


class _NatsStand(Stand):
    kind = "nats"
    operation = "enqueue"
    dedupes = True

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self.port = server.port
        self.start, self.kill = server.start, server.kill
        self.freeze, self.thaw = server.freeze, server.thaw

    def command(self, number: int) -> dict[str, Any]:
        return {"queue": "numbers.new", "message": {"number": number}}

    def ledger(self) -> list[Entry]:
        """Run in a thread with an event loop of its own, because tests call it from within theirs."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(self._read())).result()

    async def _read(self) -> list[Entry]:
        found: list[Entry] = []
        async with self._patient_client() as client:
            stream = client.jetstream()
            subscription = await stream.subscribe("numbers.new", ordered_consumer=True)
            left = (await stream.stream_info("NUMBERS")).state.messages
            for _ in range(left):
                message = await subscription.next_msg(5)
                headers = {name.lower(): value for name, value in (message.headers or {}).items()}
                found.append(_entry(headers, json.loads(message.data)))
        return found

    @asynccontextmanager
    async def _patient_client(self) -> AsyncIterator[Client]:
        """A server that was just started may take longer than the library waits for it."""
        async with AsyncExitStack() as stack:
            end = time.monotonic() + 20
            while True:
                try:
                    client = await stack.enter_async_context(nats_client(self.port))
                    break
                except NoServersError:
                    if time.monotonic() > end:
                        raise
                    await asyncio.sleep(0.1)
            yield client

    def settings(self, port: int) -> str:
        endpoint = f'endpoint {{\n url = "nats://127.0.0.1:{port}"\n}}'
        stream = 'stream {\n name = "NUMBERS"\n subjects = ["numbers.*"]\n}'
        return f'type = "nats"\n{endpoint}\nconfig {{\n durable = "bridge"\n{stream}\n}}'


class _MqttStand(Stand):
    """A durable subscriber is there all along and comes back by itself, sooner than the sidecar does.

    It subscribes with QoS 0 on purpose. Mosquitto hands a message to it before it confirms the publisher's QoS 1, but
    keeps what it waits for itself in memory: kill -9 would lose messages that a subscriber of QoS 1 has not confirmed
    yet, and a confirmation that fails makes a client drop what it has received. Without any it reads to the very end.
    """

    kind = "mqtt"
    operation = "publish"
    settings_of_broker = (
        "persistence true",  # of the subscription, so that it outlives kill -9
        "autosave_on_changes true",
        "autosave_interval 1",
        "queue_qos0_messages true",
    )

    def __init__(self, broker: Mosquitto) -> None:
        self._broker = broker
        self.port = broker.port
        self.kill, self.start = broker.kill, self._start
        self.freeze, self.thaw = broker.freeze, broker.thaw
        self._entries: list[Entry] = []
        self._over = False
        self._listening = threading.Event()
        self._caught_up = threading.Event()
        self._marker = uuid.uuid4().bytes
        self._client = Paho(CallbackAPIVersion.VERSION2, "ledger", protocol=MQTTProtocolVersion.MQTTv5)
        # Without a handler it complains on stderr about each broker that is killed.
        logging.getLogger("paho.mqtt.client").addHandler(logging.NullHandler())
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe("numbers", qos=0)
        self._client.on_subscribe = lambda *_: self._listening.set()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        self._await_listener()

    def _listen(self) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        while not self._over:
            try:
                self._client.connect("127.0.0.1", self.port, clean_start=False, properties=properties)
            except OSError:
                time.sleep(0.01)
                continue
            while not self._over and self._client.loop(0.05) is MQTTErrorCode.MQTT_ERR_SUCCESS:
                pass
            self._listening.clear()

    def _on_message(self, _client: Paho, _data: object, message: MQTTMessage) -> None:
        if message.payload == self._marker:
            self._caught_up.set()
            return
        named = dict(getattr(message.properties, "UserProperty", []))
        self._entries.append(_entry(named, json.loads(message.payload)))

    def _await_listener(self) -> None:
        assert self._listening.wait(10), "the subscriber does not come back"

    def _start(self) -> None:
        self._broker.start()
        self._await_listener()

    def close(self) -> None:
        """End the subscriber."""
        self._over = True
        self._thread.join()
        if (socket := self._client.socket()) is not None:
            socket.close()

    def command(self, number: int) -> dict[str, Any]:
        return {"topic": "numbers", "message": {"number": number}, "qos": 1}

    def ledger(self) -> list[Entry]:
        """Publish a last message, wait for it, and return what the subscriber has received before it."""
        self._caught_up.clear()
        publish.single("numbers", self._marker, qos=1, hostname="127.0.0.1", port=self.port)
        assert self._caught_up.wait(20), "the subscriber does not catch up"
        return list(self._entries)

    def settings(self, port: int) -> str:
        return f'type = "mqtt"\nendpoint {{\n url = "mqtt://127.0.0.1:{port}"\n}}'


def _entry(headers: dict[str, str], message: Any) -> Entry:
    key = headers.get("idempotency_key") or headers.get("nats-msg-id") or "-"
    return key, message["number"]


KINDS = ("json-rpc", "redis", "nats", "mqtt")


@contextmanager
def stand(kind: str) -> Iterator[Stand]:
    """Start a remote of this kind, and kill it at the end."""
    match kind:
        case "json-rpc":
            with ledger_service() as service:
                yield _RpcStand(service)
        case "redis":
            with redis_server() as redis:
                yield _RedisStand(redis)
        case "nats":
            with nats_server() as nats:
                yield _NatsStand(nats)
        case _:
            with mosquitto(*_MqttStand.settings_of_broker) as broker:
                subscriber = _MqttStand(broker)
                try:
                    yield subscriber
                finally:
                    subscriber.close()
