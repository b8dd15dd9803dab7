"""A service that answers requests over MQTT 5, written from the outside: plain paho in a thread."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


@dataclass
class Responder:
    """How often each method was called, and the user properties of the calls."""

    calls: Counter[str] = field(default_factory=Counter)
    headers: list[dict[str, str]] = field(default_factory=list)
    created: int = 0

    def answer(self, method: str, params: Any) -> tuple[Any, list[tuple[str, str]]] | None:
        """Content and user properties; None for silence."""
        match method:
            case "echo":
                return params, []
            case "orders.create":
                self.created += 1
                return {**params, "number": self.created - 1}, []
            case "fail":
                return params["data"], [("error", params["message"]), ("code", str(params["code"]))]
        return None


METHODS = ("echo", "sleep", "fail", "orders.create")


@contextmanager
def responder(port: int) -> Iterator[Responder]:
    """Answer at this broker until it dies or the context ends."""
    state = Responder()
    ready = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5, reconnect_on_failure=False)
    client.on_connect = lambda *_: client.subscribe([(method, 1) for method in METHODS])
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _, __, message: _take(client, state, message)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert ready.wait(10)
        yield state
    finally:
        client.disconnect()
        client.loop_stop()


def _take(client: Client, state: Responder, message: MQTTMessage) -> None:
    state.calls[message.topic] += 1
    state.headers.append(dict(getattr(message.properties, "UserProperty", [])))
    topic = getattr(message.properties, "ResponseTopic", None)
    answer = state.answer(message.topic, json.loads(message.payload or b"null"))
    if topic is None or answer is None:
        return
    content, headers = answer
    properties: Any = Properties(PacketTypes.PUBLISH)
    properties.CorrelationData = getattr(message.properties, "CorrelationData", b"")
    if headers:
        properties.UserProperty = headers
    client.publish(topic, json.dumps(content), qos=1, properties=properties)
