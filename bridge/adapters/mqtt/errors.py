"""What the reason codes of a broker, and the errors of the operating system and of OpenSSL, mean for the bridge."""

from typing import Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from bridge.adapters._common.errors import reason_of
from bridge.adapters._common.tls import refuses_client
from bridge.adapters.mqtt.packets.session import Verdict
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

#: Reason codes of CONNACK that mean the credentials (MQTT 5, 3.2.2.2).
_CREDENTIALS: Final = frozenset({0x86, 0x87, 0x8A, 0x8C})
#: Of CONNACK: what only a person can put right (protocol version, client id, other server, …).
_SETTINGS: Final = frozenset({0x82, 0x84, 0x85, 0x90, 0x95, 0x99, 0x9A, 0x9B, 0x9D})
#: Of DISCONNECT: another client has this client id, and both would take the session from each other for ever. All
#: other codes are tried again as usual: what needs a person, such as credentials that are valid no longer or a server
#: that has moved for good, the next CONNACK says. A broker may also send 0x87 because of one forbidden message.
_TAKEN_OVER: Final = 0x8E

#: Reason codes of PUBACK, PUBREC, SUBACK and UNSUBACK (MQTT 5, 2.4). What is not here is `rejected`, 0x87 (not
#: authorized) among them: it concerns one topic, and not the credentials.
_REFUSALS: Final[dict[int, type[BridgeError]]] = {
    0x8F: InvalidError,
    0x90: InvalidError,
    0x97: ThrottledError,
    0x9A: NotSupportedError,
    0x9B: NotSupportedError,
    0x9E: NotSupportedError,
    0xA1: NotSupportedError,
    0xA2: NotSupportedError,
}


def _system(error: OSError) -> BridgeError:
    if refuses_client(error):
        return AuthError(f"the broker refused the client certificate: {reason_of(error)}", permanent=True)
    return NotConnectedError(reason_of(error))


def refused_connection(verdict: Verdict) -> BridgeError:
    """Return the error for a CONNACK that refuses."""
    number = verdict.code
    message = f"the broker refused the connection: {_name(PacketTypes.CONNACK, number)}{verdict.details}"
    if number in _CREDENTIALS:
        return AuthError(message, code=number, permanent=True)
    return NotConnectedError(message, code=number, permanent=number in _SETTINGS)


def _name(packet: int, code: int) -> str:
    try:
        return str(ReasonCode(packet, identifier=code))
    except (KeyError, ValueError):  # no reason code of this packet
        return f"reason code {code}"


def refused(packet: int, code: int) -> BridgeError:
    """Return the error for a reason code of PUBACK, PUBREC, PUBCOMP, SUBACK or UNSUBACK, `packet` of `PacketTypes`."""
    kind = _REFUSALS.get(code, RejectedError)
    return kind(f"the broker refused: {_name(packet, code)}", code=code, maybe_sent=False)


def lost(cause: OSError | None, verdict: Verdict | None, guess: str = "") -> BridgeError:
    """Return the error for a connection that is over.

    A broker refuses a client certificate only after the handshake (TLS 1.3), so this may be an `AuthError`.

    Args:
        cause: The socket's error; None where the broker closed the connection.
        verdict: The broker's DISCONNECT; None where it sent none.
        guess: What may be the reason, for the end of the message where the broker has said nothing.
    """
    if cause is not None and refuses_client(cause):
        return _system(cause)
    if cause is not None:
        return ConnectionLostError(f"the connection to the broker broke: {reason_of(cause)}{guess}")
    if verdict is None:
        return ConnectionLostError(f"the broker closed the connection{guess}")
    code = verdict.code
    message = f"the broker ended the session: {_name(PacketTypes.DISCONNECT, code)}{verdict.details}"
    if code == _TAKEN_OVER:
        message += "; another client connects with this `client_id`"
    return ConnectionLostError(message, code=code or None, permanent=code == _TAKEN_OVER)
