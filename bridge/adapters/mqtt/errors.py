"""The table from the errors of aiomqtt, paho, the operating system and OpenSSL to the bridge's."""

from collections.abc import Callable
from typing import Any, Final

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import WebsocketConnectionError
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MQTTException
from paho.mqtt.reasoncodes import ReasonCode

from bridge.adapters._common.errors import look_up, reason_of
from bridge.adapters._common.tls import refuses_client
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    NotSupportedError,
    OverloadedError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)

#: Reason codes of CONNACK that mean the credentials (MQTT 5, 3.2.2.2); paho gives those of MQTT 3.1.1 the same numbers.
_CREDENTIALS: Final = frozenset({0x86, 0x87, 0x8A, 0x8C})
#: Of CONNACK: what only a person can put right (protocol version, client id, other server, …).
_SETTINGS: Final = frozenset({0x82, 0x84, 0x85, 0x90, 0x95, 0x99, 0x9A, 0x9B, 0x9D})
#: Of DISCONNECT: another client has this client id (both would take the session from each other for ever), or the
#: credentials are valid no longer.
_TAKEN_AWAY: Final = frozenset({0x87, 0x8E})

#: Reason codes of PUBACK, PUBREC, SUBACK and UNSUBACK (MQTT 5, 2.4); what is not here is `rejected`.
_REFUSALS: Final[dict[int, type[BridgeError]]] = {
    0x87: AuthError,
    0x8F: InvalidError,
    0x90: InvalidError,
    0x97: ThrottledError,
    0x9A: NotSupportedError,
    0x9B: NotSupportedError,
    0x9E: NotSupportedError,
    0xA1: NotSupportedError,
    0xA2: NotSupportedError,
}

#: What paho says of its own about a call that it did not take.
_CALL_CODES: Final[dict[int, type[BridgeError]]] = {
    MQTTErrorCode.MQTT_ERR_NO_CONN: NotConnectedError,
    MQTTErrorCode.MQTT_ERR_CONN_LOST: ConnectionLostError,
    MQTTErrorCode.MQTT_ERR_QUEUE_SIZE: OverloadedError,
    MQTTErrorCode.MQTT_ERR_INVAL: InvalidError,
    MQTTErrorCode.MQTT_ERR_PAYLOAD_SIZE: InvalidError,
    MQTTErrorCode.MQTT_ERR_NOT_SUPPORTED: NotSupportedError,
}


def _number(error: aiomqtt.MqttCodeError) -> int:
    code = error.rc
    return code.value if isinstance(code, ReasonCode) else int(code or 0)


def _system(error: OSError) -> BridgeError:
    if refuses_client(error):
        return AuthError(f"the broker refused the client certificate: {reason_of(error)}", permanent=True)
    return NotConnectedError(reason_of(error))


def _refused_connection(error: MqttConnectError) -> BridgeError:
    number = _number(error)
    message = f"the broker refused the connection: {error.rc}"
    if number in _CREDENTIALS:
        return AuthError(message, code=number, permanent=True)
    return NotConnectedError(message, code=number, permanent=number in _SETTINGS)


def refused(packet: int, code: int) -> BridgeError:
    """Return the error for a reason code of PUBACK, PUBREC, PUBCOMP, SUBACK or UNSUBACK, `packet` of `PacketTypes`."""
    try:
        name = str(ReasonCode(packet, identifier=code))
    except (KeyError, ValueError):  # no reason code of this packet
        name = f"reason code {code}"
    return _REFUSALS.get(code, RejectedError)(f"the broker refused: {name}", code=code, maybe_sent=False)


def _refused_call(error: aiomqtt.MqttCodeError) -> BridgeError:
    if isinstance(error.rc, ReasonCode):
        return refused(error.rc.packetType, error.rc.value)
    return _CALL_CODES.get(_number(error), UnavailableError)(str(error), maybe_sent=False)


def _as(kind: type[BridgeError]) -> Callable[[Exception], BridgeError]:
    return lambda error: kind(reason_of(error))


#: Most specific first.
TABLE: Final[tuple[tuple[type[Exception], Callable[[Any], BridgeError]], ...]] = (
    (WebsocketConnectionError, _as(NotConnectedError)),
    (OSError, _system),
    (MqttConnectError, _refused_connection),
    (aiomqtt.MqttCodeError, _refused_call),
    (aiomqtt.MqttReentrantError, _as(NotConnectedError)),
    (aiomqtt.MqttError, _as(ConnectionLostError)),
    (MQTTException, _as(ConnectionLostError)),
)


def translate(error: Exception) -> BridgeError:
    """Return the bridge's error for one of the libraries'; raises LookupError for one that is not in the table."""
    return look_up(TABLE, error)


def lost(cause: OSError | None, code: ReasonCode | None) -> BridgeError:
    """Return the error for a connection that is over.

    A broker refuses a client certificate only after the handshake (TLS 1.3), so this may be an `AuthError`.

    Args:
        cause: The socket's error; None where the broker closed the connection.
        code: The reason code of the broker's DISCONNECT; None where it sent none.
    """
    if cause is not None and refuses_client(cause):
        return _system(cause)
    if cause is not None:
        return ConnectionLostError(f"the connection to the broker broke: {reason_of(cause)}")
    if code is not None and code.is_failure:
        taken = code.value in _TAKEN_AWAY
        return ConnectionLostError(f"the broker ended the session: {code}", code=code.value, permanent=taken)
    return ConnectionLostError("the broker closed the connection")
