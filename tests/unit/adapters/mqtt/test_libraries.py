"""What is used of aiomqtt and paho beyond their public interface, and that ours agrees with theirs."""

import inspect
import threading

import aiomqtt
import aiomqtt.exceptions
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.adapters._common.content import JSON
from bridge.adapters.mqtt.connection import PRIVATE_NAMES
from bridge.adapters.mqtt.packets.headers import CORRELATION_DATA, RESPONSE_TOPIC, message_properties


async def test_the_client_of_aiomqtt_is_pahos() -> None:
    """`aiomqtt.Client._client`: paho's, not yet connected, and nothing of it reconnects by itself."""
    client = aiomqtt.Client("broker")._client
    assert type(client) is Client
    assert client.socket() is None
    assert "reconnect_on_failure=False" in inspect.getsource(aiomqtt.Client.__init__)


class _Socket:
    """What paho uses of a socket to write CONNECT."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def send(self, data: bytes) -> int:
        self.written.append(bytes(data))
        return len(data)

    def setblocking(self, flag: bool) -> None:
        assert flag is False

    def close(self) -> None:
        self.closed = True


def test_paho_takes_the_socket_that_it_is_given() -> None:
    """`paho.mqtt.client.Client._create_socket`: called once for each connection, at once, in the same thread."""
    client, made = Client(CallbackAPIVersion.VERSION2), []

    def create() -> _Socket:
        made.append((_Socket(), threading.get_ident()))
        return made[-1][0]

    client._create_socket = create  # type: ignore[method-assign, assignment]
    assert client.connect("broker") == MQTTErrorCode.MQTT_ERR_SUCCESS
    ((sock, thread),) = made
    assert client.socket() is sock
    assert thread == threading.get_ident()
    assert [packet[:1] for packet in sock.written] == [b"\x10"]


def test_these_are_all_private_names() -> None:
    """Each has a test above."""
    assert set(PRIVATE_NAMES) == {"aiomqtt.Client._client", "paho.mqtt.client.Client._create_socket"}


def test_properties_are_packed_as_paho_reads_them() -> None:
    """Short ones and long ones, whose length takes two bytes and more."""
    for size in (0, 1, 100, 200, 20_000):
        packed = message_properties({"ä": "x" * size}, key="k", content_type=JSON, payload=b"1")
        packed.text(RESPONSE_TOPIC, "a/b")
        packed.binary(CORRELATION_DATA, b"\x00\xff")
        data = packed.encode()
        read = Properties(PacketTypes.PUBLISH)
        _, length = read.unpack(data)
        assert length == len(data)
        assert (read.ContentType, read.PayloadFormatIndicator, read.ResponseTopic) == (JSON, 1, "a/b")
        assert read.CorrelationData == b"\x00\xff"
        assert read.UserProperty == [("ä", "x" * size), ("idempotency_key", "k")]
