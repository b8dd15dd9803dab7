"""Each reason code and each error of the system has its error, and says whether only a person can help."""

import ssl
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes

from bridge.adapters.mqtt.errors import lost, refused, refused_connection
from bridge.adapters.mqtt.packets.properties import REASON_STRING, SERVER_REFERENCE
from bridge.adapters.mqtt.packets.session import Verdict, decode_connack
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


@pytest.mark.parametrize(
    ("verdict", "kind", "permanent"),
    [
        (Verdict(0x86), AuthError, True),
        (Verdict(0x87), AuthError, True),
        (Verdict(0x85), NotConnectedError, True),
        (Verdict(0x88), NotConnectedError, False),
        (Verdict(0x89), NotConnectedError, False),
        (Verdict(0x8B), NotConnectedError, False),
        (Verdict(0x9C), NotConnectedError, False),
        (Verdict(0x9D), NotConnectedError, True),
        (Verdict(0x9F), NotConnectedError, False),
        (Verdict(0xFE), NotConnectedError, False),
        (decode_connack(b"\x00\x01", version5=False), NotConnectedError, True),
        (decode_connack(b"\x00\x02", version5=False), NotConnectedError, True),
        (decode_connack(b"\x00\x03", version5=False), NotConnectedError, False),
        (decode_connack(b"\x00\x04", version5=False), AuthError, True),
        (decode_connack(b"\x00\x05", version5=False), AuthError, True),
        (decode_connack(b"\x00\xfe", version5=False), NotConnectedError, False),
    ],
)
def test_a_refused_connection(verdict: Verdict, kind: type[BridgeError], permanent: bool) -> None:
    """Version, client id and a server that has moved need a person; a busy server does not."""
    error = refused_connection(verdict)
    assert type(error) is kind
    assert (error.permanent, error.code, error.maybe_sent) == (permanent, verdict.code, False)


@pytest.mark.parametrize(
    ("packet", "code", "kind"),
    [
        (PacketTypes.PUBACK, 0x80, RejectedError),
        (PacketTypes.PUBACK, 0x87, RejectedError),
        (PacketTypes.PUBREC, 0x87, RejectedError),
        (PacketTypes.SUBACK, 0x87, RejectedError),
        (PacketTypes.PUBACK, 0x97, ThrottledError),
        (PacketTypes.SUBACK, 0x8F, InvalidError),
        (PacketTypes.SUBACK, 0x9E, NotSupportedError),
        (PacketTypes.PUBACK, 0xFE, RejectedError),
    ],
)
def test_a_refused_operation(packet: int, code: int, kind: type[BridgeError]) -> None:
    """It says nothing about the credentials, and was not acted on."""
    error = refused(packet, code)
    assert type(error) is kind
    assert (error.code, error.maybe_sent, error.permanent) == (code, False, False)


@pytest.mark.parametrize(
    ("code", "permanent", "says"),
    [
        (0x8E, True, "Session taken over"),
        (0x8E, True, "another client"),
        (0x87, False, "Not authorized"),
        (0x89, False, "Server busy"),
        (0x8B, False, "Server shutting down"),
        (0x9C, False, "Use another server"),
        (0x9D, False, "Server moved"),
        (0xFE, False, "reason code 254"),
    ],
)
def test_a_session_that_the_broker_ends(code: int, permanent: bool, says: str) -> None:
    """A new one is made, at once but where another client would take it again."""
    error = lost(None, Verdict(code))
    assert type(error) is ConnectionLostError
    assert (error.permanent, error.code) == (permanent, code)
    assert says in error.message


def test_what_the_broker_says_beside_the_code() -> None:
    """Its own words, and the server that it names, on one line and not too long."""
    said: dict[int, Any] = {REASON_STRING: "gone\x1b[2J" + "x" * 1000, SERVER_REFERENCE: "other:1883"}
    for error in (lost(None, Verdict(0x9D, properties=said)), refused_connection(Verdict(0x9D, properties=said))):
        assert "(gone\ufffd[2Jxxx" in error.message
        assert error.message.endswith("; it names another server: other:1883")
        assert len(error.message) < 400


def test_a_connection_that_ends_without_a_word() -> None:
    """What the socket said counts more than what the broker did."""
    assert "reset" in lost(ConnectionResetError(104, "reset by peer"), None).message
    alert = ssl.SSLError(1, "x")
    assert isinstance(lost(alert, None), ConnectionLostError)
    alert.reason = "TLSV1_ALERT_UNKNOWN_CA"
    assert isinstance(lost(alert, None), AuthError)
    assert lost(None, None).maybe_sent
    for cause in (None, ConnectionResetError(104, "reset by peer")):
        assert lost(cause, None, "; a guess").message.endswith("; a guess")
