"""Errors of the operating system and OpenSSL have the same words for every protocol."""

import errno
import socket
import ssl

import msgspec
import pytest

from bridge.adapters._common.errors import cause_of, opening_error, reason_of
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.errors import AuthError, NotConnectedError

SECURE = ResolvedEndpoint(scheme="xs", host="::1", port=7, tls=True, plain_scheme="x")
PLAIN = ResolvedEndpoint(scheme="x", host="::1", port=7, tls=False, plain_scheme="x")
HINT = "the port may be one without TLS; if it is, write `tls = false`, or `x://` in a URL"


def openssl(reason: str) -> ssl.SSLError:
    """Make an error as OpenSSL's binding does."""
    error = ssl.SSLError(1, f"[SSL: {reason}] x")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (openssl("WRONG_VERSION_NUMBER"), "wrong version number"),
        (openssl("RECORD_LAYER_FAILURE"), "record layer failure"),
        (openssl("HTTP_REQUEST"), "http request"),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "eof occurred in violation of protocol"),
        (ssl.SSLZeroReturnError(6, "closed"), "closed"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (ConnectionResetError(), "ConnectionResetError"),
        (ConnectionAbortedError("SSL handshake is taking too long"), "SSL handshake is taking too long"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe"),
        (EOFError("end"), "end"),
    ],
)
def test_a_connection_that_dies_in_the_tls_handshake(error: OSError | EOFError, why: str) -> None:
    """An end in the TLS handshake says that the port may be one without TLS; after it, or without TLS, not."""
    found = opening_error(error, SECURE)
    assert (type(found), found.message) == (NotConnectedError, f"no TLS with [::1]:7: {why}; {HINT}")
    assert not found.permanent
    after, plain = opening_error(error, SECURE, secured=True), opening_error(error, PLAIN)
    ended = not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    assert ("it may require a client certificate" in after.message) is ended
    refused = opening_error(error, SECURE, secured=True, unanswered_certificate=True)
    assert (type(refused), refused.permanent) == ((AuthError, True) if ended else (NotConnectedError, False))
    for other in (after, plain):
        assert "tls = false" not in other.message
        assert why in other.message


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('::1', 7)"),
            "connection refused; nothing listens there",
        ),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "Connection timed out"),
    ],
)
def test_no_connection_at_all(error: OSError, words: str) -> None:
    """Where there was no connection, the message does not mention TLS."""
    for server in (SECURE, PLAIN):
        found = opening_error(error, server)
        assert (type(found), found.message) == (NotConnectedError, f"no connection to [::1]:7: {words}")
        assert not found.permanent


def test_a_refused_connection_elsewhere() -> None:
    """Another machine may refuse by a rule of its firewall, so nothing is said of what listens."""
    found = opening_error(
        ConnectionRefusedError(errno.ECONNREFUSED, ""), msgspec.structs.replace(PLAIN, host="10.0.0.1")
    )
    assert found.message == "no connection to 10.0.0.1:7: connection refused"


def test_a_certificate_that_does_not_verify() -> None:
    """A certificate that does not verify is permanent, and has a message of its own."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    found = opening_error(error, SECURE)
    assert found.message == "the certificate of [::1]:7 does not verify: certificate has expired"
    assert (type(found), found.permanent) == (NotConnectedError, True)


@pytest.mark.parametrize("alert", ["TLSV1_ALERT_UNKNOWN_CA", "TLSV13_ALERT_CERTIFICATE_REQUIRED"])
def test_a_refused_client_certificate(alert: str) -> None:
    """A refused client certificate is `auth`, and not taken for a port without TLS."""
    found = opening_error(openssl(alert), SECURE)
    assert (type(found), found.permanent, found.maybe_sent) == (AuthError, True, False)
    assert found.message.startswith("[::1]:7 refused the client certificate: ")


@pytest.mark.parametrize(
    ("alert", "permanent"),
    [("SSLV3_ALERT_HANDSHAKE_FAILURE", True), ("TLSV1_ALERT_PROTOCOL_VERSION", False), ("UNSUPPORTED_PROTOCOL", False)],
)
def test_a_server_with_another_tls(alert: str, permanent: bool) -> None:
    """An alert of the server shows that it has TLS, so the message does not advise to go without."""
    found = opening_error(openssl(alert), SECURE)
    assert (type(found), found.permanent) == (NotConnectedError, permanent)
    assert found.message == f"no TLS with [::1]:7: {alert.replace('_', ' ').lower()}"


def test_the_cause_of_a_librarys_exception() -> None:
    """The first exception of the system in the chain of causes is found."""
    reset, wrapped, again = ConnectionResetError(), KeyError("wrapped"), KeyError("again")
    wrapped.__context__, again.__cause__ = reset, wrapped
    assert cause_of(again) is reset
    assert cause_of(KeyError()) is None
    assert reason_of(KeyError("x")) == "'x'"
