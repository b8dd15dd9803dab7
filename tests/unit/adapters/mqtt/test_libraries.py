"""What is used of aiomqtt and paho beyond their public interface, and every exception that they may raise."""

import inspect
import socket
import ssl
import threading

import aiomqtt
import aiomqtt.exceptions
import paho.mqtt.client
import paho.mqtt.exception
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bridge.adapters._common.content import JSON
from bridge.adapters.mqtt.connection import PRIVATE_NAMES
from bridge.adapters.mqtt.errors import TABLE, lost, translate
from bridge.adapters.mqtt.packets.headers import CORRELATION_DATA, RESPONSE_TOPIC, message_properties
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    NotSupportedError,
    RejectedError,
    ThrottledError,
)


def _exceptions() -> list[type[Exception]]:
    modules = (aiomqtt.exceptions, paho.mqtt.client, paho.mqtt.exception)
    return [
        found
        for module in modules
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, Exception) and found.__module__.startswith(("aiomqtt", "paho"))
    ]


@pytest.mark.parametrize("kind", _exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_has_a_translation(kind: type[Exception]) -> None:
    """A new one in a new version is a failure here, and not in production."""
    assert any(issubclass(kind, mapped) for mapped, _ in TABLE)


def test_the_most_specific_line_comes_first() -> None:
    """No line is in the shadow of an earlier one."""
    kinds = [kind for kind, _ in TABLE]
    assert not [later for n, later in enumerate(kinds) if any(issubclass(later, earlier) for earlier in kinds[:n])]
    with pytest.raises(LookupError):
        translate(RuntimeError())


def _reason(packet: int, number: int) -> ReasonCode:
    return ReasonCode(packet, identifier=number)


@pytest.mark.parametrize(
    ("error", "kind", "permanent"),
    [
        (aiomqtt.exceptions.MqttConnectError(_reason(PacketTypes.CONNACK, 0x86)), AuthError, True),
        (aiomqtt.exceptions.MqttConnectError(_reason(PacketTypes.CONNACK, 0x87)), AuthError, True),
        (aiomqtt.exceptions.MqttConnectError(_reason(PacketTypes.CONNACK, 0x85)), NotConnectedError, True),
        (aiomqtt.exceptions.MqttConnectError(_reason(PacketTypes.CONNACK, 0x88)), NotConnectedError, False),
        (aiomqtt.MqttCodeError(_reason(PacketTypes.PUBACK, 0x87)), AuthError, False),
        (aiomqtt.MqttCodeError(_reason(PacketTypes.PUBACK, 0x97)), ThrottledError, False),
        (aiomqtt.MqttCodeError(_reason(PacketTypes.PUBACK, 0x80)), RejectedError, False),
        (aiomqtt.MqttCodeError(_reason(PacketTypes.SUBACK, 0x8F)), InvalidError, False),
        (aiomqtt.MqttCodeError(_reason(PacketTypes.SUBACK, 0x9E)), NotSupportedError, False),
        (aiomqtt.MqttCodeError(MQTTErrorCode.MQTT_ERR_NO_CONN), NotConnectedError, False),
        (socket.gaierror("x"), NotConnectedError, False),
        (ConnectionRefusedError(), NotConnectedError, False),
    ],
)
def test_translations(error: Exception, kind: type[BridgeError], permanent: bool) -> None:  # a table
    """Nothing of it may have been acted on."""
    translated = translate(error)
    assert type(translated) is kind
    assert translated.permanent is permanent
    assert not translated.maybe_sent


def test_why_a_session_is_over() -> None:
    """What the socket said counts more than what the broker did."""
    taken = lost(None, _reason(PacketTypes.DISCONNECT, 0x8E))
    assert isinstance(taken, ConnectionLostError)
    assert taken.permanent
    assert not lost(None, _reason(PacketTypes.DISCONNECT, 0x8B)).permanent
    assert "reset" in lost(ConnectionResetError(104, "reset by peer"), None).message
    alert = ssl.SSLError(1, "x")
    assert isinstance(lost(alert, None), ConnectionLostError)
    alert.reason = "TLSV1_ALERT_UNKNOWN_CA"
    assert isinstance(lost(alert, None), AuthError)
    assert lost(None, None).maybe_sent


async def test_the_client_of_aiomqtt_is_pahos() -> None:
    """`aiomqtt.Client._client`: paho's, not yet connected, and nothing of it reconnects by itself."""
    client = aiomqtt.Client("broker")._client
    assert type(client) is Client
    assert client.socket() is None
    assert "reconnect_on_failure=False" in inspect.getsource(aiomqtt.Client.__init__)


class _Socket:
    """What paho uses of a socket; nothing is there to be read."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def recv(self, size: int) -> bytes:
        raise BlockingIOError

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
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert client.disconnect() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert [packet[:1] for packet in sock.written] == [b"\x10", b"\xe0"]
    assert sock.closed
    assert client.socket() is None


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
