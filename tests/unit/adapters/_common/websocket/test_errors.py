"""The table of errors for WebSocket, and settings of WebSocket that contradict each other."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import websockets.exceptions
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.frames import Close
from websockets.http11 import Response

from bridge.adapters._common.websocket.errors import TABLE, translate, translate_connect
from bridge.adapters.websocket.adapter import SPEC
from bridge.adapters.websocket.config import WebSocketConfig
from bridge.core.endpoint import AuthBearer, Endpoint, ResolvedEndpoint, Tls
from bridge.core.errors import AuthError, BridgeError, ConnectionLostError, NotConnectedError, ThrottledError
from tests.support.adapters.setup import adapter_setup

#: What only a wrong use of the library raises.
BUGS = {"ConcurrencyError", "InvalidState", "WebSocketException"}
RAISED = [
    kind
    for name, kind in sorted(vars(websockets.exceptions).items())
    if isinstance(kind, type) and issubclass(kind, Exception) and name not in BUGS
]


@pytest.mark.parametrize("kind", [*RAISED, OSError, EOFError, ssl.SSLError], ids=lambda kind: kind.__name__)
def test_every_exception_is_mapped(kind: type[Exception]) -> None:
    """Each exception of websockets that the outside can cause is in the table."""
    assert any(issubclass(kind, mapped) for mapped, _ in TABLE)


def test_the_list_is_the_librarys() -> None:
    """The list of the library's exceptions was found, and those that are left out exist."""
    assert len(RAISED) > 20
    assert all(hasattr(websockets.exceptions, name) for name in BUGS)


@pytest.mark.parametrize("error", [KeyError("x"), websockets.exceptions.InvalidState("x")])
def test_a_bug_is_not_taken_for_the_outsides_doing(error: Exception) -> None:
    """An exception that is not in the table raises LookupError."""
    with pytest.raises(LookupError):
        translate(error)


def _status(code: int) -> InvalidStatus:
    return InvalidStatus(Response(code, "X", Headers()))


def _caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "permanent"),
    [
        (_status(401), AuthError, True),
        (_status(403), AuthError, False),
        (_status(503), NotConnectedError, False),
        (_status(302), NotConnectedError, False),
        (ConnectionResetError(104, "reset"), ConnectionLostError, False),
        (_caused(InvalidMessage("no answer"), EOFError("end")), NotConnectedError, False),
        (ConnectionClosedError(Close(1011, "why"), None), ConnectionLostError, False),
        (ConnectionClosedError(None, Close(1009, "too big")), ConnectionLostError, False),
        (ConnectionClosedError(None, None), ConnectionLostError, False),
    ],
)
def test_what_becomes_of_which(error: Exception, kind: type[BridgeError], permanent: bool) -> None:
    """Each exception becomes the right kind of error; before the handshake is over nothing was sent."""
    found = translate(error)
    assert isinstance(found, kind)
    assert found.permanent is permanent
    assert found.maybe_sent is (kind is ConnectionLostError)


SERVER = ResolvedEndpoint(scheme="wss", host="h", port=443, tls=True, plain_scheme="ws")


@pytest.mark.parametrize(
    ("error", "permanent", "words"),
    [
        (ConnectionRefusedError(111, "refused"), False, "no connection to h:443: connection refused"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), True, "does not verify"),
        (ConnectionResetError(104, "reset"), False, "`tls = false`, or `ws://` in a URL"),
        (_caused(InvalidMessage("no answer"), EOFError("end")), False, "ended in the opening handshake"),
    ],
)
def test_what_fails_while_opening(error: Exception, permanent: bool, words: str) -> None:
    """A connection that cannot be opened has the same words as with every other protocol."""
    found = translate_connect(error, SERVER, secured=False, now_ms=0)
    assert (type(found), found.permanent, found.maybe_sent) == (NotConnectedError, permanent, False)
    assert words in found.message


@pytest.mark.parametrize("cause", [ConnectionResetError(104, "reset"), EOFError("reset")])
def test_behind_the_tls_handshake_the_port_is_surely_one_with_tls(cause: Exception) -> None:
    """An end after the TLS handshake does not advise to try without TLS; it may be about the client certificate."""
    found = translate_connect(_caused(InvalidMessage("no answer"), cause), SERVER, secured=True, now_ms=0)
    assert type(found) is NotConnectedError
    assert found.message.startswith("h:443 ended the connection after the TLS handshake: reset; it may require")
    error = _caused(InvalidMessage("no answer"), cause)
    refused = translate_connect(error, SERVER, secured=True, unanswered_certificate=True, now_ms=0)
    assert (type(refused), refused.permanent) == (AuthError, True)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "wait"),
    [
        (503, [("Retry-After", "7")], ThrottledError, 7000),
        (429, [("retry-after", "7"), ("Retry-After", "9")], ThrottledError, 7000),
        (500, [("Retry-After", "Tue, 14 Nov 2023 22:14:20 GMT")], ThrottledError, 60_000),
        (
            503,
            [("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"), ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")],
            ThrottledError,
            60_000,
        ),
        (401, [("Retry-After", "7")], AuthError, 7000),
        (503, [("Retry-After", "\xff")], NotConnectedError, None),
        (503, [("Retry-After", "Mon, 01 Jan 2024 00:00:00 +99999999999999")], NotConnectedError, None),
    ],
)
def test_a_refusal_that_asks_to_wait(
    status: int, headers: list[tuple[str, str]], kind: type[BridgeError], wait: int | None
) -> None:
    """A `Retry-After` of a refused opening handshake is kept with the error, whatever the header holds."""
    found = translate_connect(
        InvalidStatus(Response(status, "X", Headers(headers))), SERVER, secured=True, now_ms=1_700_000_000_000
    )
    assert (type(found), found.code, found.retry_after_ms, found.maybe_sent) == (kind, status, wait, False)


def test_the_code_of_a_close_is_told() -> None:
    """A close by the server becomes an error with its code and its reason."""
    found = translate(ConnectionClosedError(Close(4000, "bye"), None))
    assert (found.code, "bye" in found.message) == (4000, True)


@pytest.mark.parametrize(
    ("setup", "complaint"),
    [
        ({"endpoint": Endpoint(url="http://x/")}, "no scheme of this protocol; there are ws, wss"),
        ({"endpoint": Endpoint(address="ws://x", tls=True)}, 'the address says "ws"'),
        ({"endpoint": Endpoint(url="ws://x"), "tls": Tls(ca=Path("/etc/https/ca.pem"))}, "write `wss://`"),
        ({"endpoint": Endpoint(url="wss://x"), "tls": Tls(ca=Path("/etc/https/ca.pem"))}, "tls.ca: /etc/https/ca.pem"),
        ({"endpoint": Endpoint(url="ws://x"), "auth": AuthBearer(type="bearer", token="a b")}, "auth.token"),
        ({"endpoint": None}, "endpoint"),
    ],
)
def test_contradictions_are_told_in_words(setup: dict[str, Any], complaint: str) -> None:
    """Blocks that contradict each other raise ValueError, with WebSocket's own schemes in the message."""
    with pytest.raises(ValueError, match=complaint):
        SPEC.create(adapter_setup(integration="x", **setup))


@pytest.mark.parametrize("name", ["", "a b", "ä", "a,b"])
def test_a_subprotocol_is_a_token(name: str) -> None:
    """A subprotocol that is not a token (RFC 6455, 4.1) is refused."""
    with pytest.raises(ValueError, match="subprotocol"):
        WebSocketConfig(subprotocol=name)
