"""The table from the errors of aiomqtt, paho, the operating system and OpenSSL to the bridge's."""

import ssl
from collections.abc import Callable
from typing import Any, Final

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import WebsocketConnectionError
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MQTTException
from paho.mqtt.reasoncodes import ReasonCode

from bridge.adapters._common.errors import look_up
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


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(getattr(error, "verify_message", "") or error)
    if isinstance(error, ssl.SSLError):
        return (
            str(getattr(error, "reason", None) or error.strerror or error.__class__.__name__).replace("_", " ").lower()
        )
    if isinstance(error, OSError):
        return error.strerror or str(error) or error.__class__.__name__
    return str(error) or error.__class__.__name__


def _number(error: aiomqtt.MqttCodeError) -> int:
    code = error.rc
    return code.value if isinstance(code, ReasonCode) else int(code or 0)


def _certificate(error: Exception) -> BridgeError:
    message = f"{_reason(error)} (the broker's certificate does not verify)"
    return NotConnectedError(message, permanent=True)


def _tls(error: Exception) -> BridgeError:
    reason = getattr(error, "reason", None) or ""
    if refuses_client(error):
        return AuthError(f"the broker refused the client certificate: {_reason(error)}", permanent=True)
    # Before TLS 1.3 this alert also answers a missing client certificate.
    return NotConnectedError(f"{_reason(error)} (TLS handshake)", permanent="HANDSHAKE_FAILURE" in reason)


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
    return lambda error: kind(_reason(error))


#: Most specific first.
TABLE: Final[tuple[tuple[type[Exception], Callable[[Any], BridgeError]], ...]] = (
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.SSLError, _tls),
    (WebsocketConnectionError, _as(NotConnectedError)),
    (OSError, _as(NotConnectedError)),
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
    if isinstance(cause, ssl.SSLError):
        refused = _tls(cause)
        if isinstance(refused, AuthError):
            return refused
    if cause is not None:
        return ConnectionLostError(f"the connection to the broker broke: {_reason(cause)}")
    if code is not None and code.is_failure:
        taken = code.value in _TAKEN_AWAY
        return ConnectionLostError(f"the broker ended the session: {code}", code=code.value, permanent=taken)
    return ConnectionLostError("the broker closed the connection")
