"""Every exception of nats-py has its place in the table."""

import importlib
import inspect
import pkgutil
import ssl

import nats
import pytest

from bridge.adapters.nats.errors import TABLE, refused, translate, translate_connect, violates_permissions
from bridge.adapters.nats.protocol import MalformedError
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    ProtocolError,
    RejectedError,
    UnavailableError,
)

#: Maps by the server's words what has no class of its own; no class may fall through to it unseen.
_ROOT = nats.errors.Error
#: Deprecated roots that the library does not raise.
_ROOTS = {_ROOT, nats.aio.errors.NatsError, nats.aio.errors.ErrBadSubject, nats.aio.errors.ErrTimeout}


def _library_errors() -> list[type[Exception]]:
    found: set[type[Exception]] = set()
    for module in pkgutil.walk_packages(nats.__path__, "nats."):
        try:
            loaded = importlib.import_module(module.name)
        except ImportError:  # parts that need more than the library brings
            continue
        for _, one in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(one, Exception) and one.__module__.startswith("nats."):
                found.add(one)
    return sorted(found, key=lambda one: (one.__module__, one.__qualname__))


@pytest.mark.parametrize("kind", _library_errors(), ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_every_exception_has_its_line(kind: type[Exception]) -> None:
    """Its own, or its family's, but not by accident the root's."""
    line = next((mapped for mapped, _ in TABLE if issubclass(kind, mapped)), None)
    assert line is not None
    assert line is not _ROOT or kind in _ROOTS


def test_the_list_is_not_empty() -> None:
    """The search finds the library's modules."""
    names = {kind.__qualname__ for kind in _library_errors()}
    assert {"NoRespondersError", "APIError", "KeyNotFoundError", "MaxPayloadError"} <= names


def test_no_line_is_behind_a_wider_one() -> None:
    """Most specific first."""
    for index, (kind, _) in enumerate(TABLE):
        assert not any(issubclass(kind, earlier) for earlier, _ in TABLE[:index]), kind


def _kinds(error: Exception) -> tuple[type[BridgeError], bool, bool]:
    ours = translate(error)
    return type(ours), ours.maybe_sent, ours.permanent


def test_what_matters_most() -> None:
    """Kind, whether it may have been sent, and whether only a person can help."""
    errors = nats.errors
    assert _kinds(errors.NoRespondersError()) == (UnavailableError, False, False)
    assert _kinds(errors.UnexpectedEOF()) == (ConnectionLostError, True, False)
    assert _kinds(errors.MaxPayloadError()) == (InvalidError, False, False)
    assert _kinds(errors.AuthorizationError()) == (AuthError, False, True)
    assert _kinds(nats.js.errors.ServiceUnavailableError(code=503)) == (UnavailableError, False, False)
    assert _kinds(ConnectionResetError()) == (ConnectionLostError, True, False)


def test_jetstream_says_code_and_description() -> None:
    """As the server sent them; its `err_code` is the precise one."""
    error = translate(nats.js.errors.NotFoundError(code=404, err_code=10059, description="stream not found"))
    assert (error.kind, error.code, error.message) == ("rejected", 10059, "stream not found")


@pytest.mark.parametrize(
    ("text", "kind", "permanent", "permissions"),
    [
        ("Authorization Violation", AuthError, True, False),
        ("User Authentication Expired", AuthError, True, False),
        ("Account Authentication Expired", AuthError, True, False),
        ('Permissions Violation for Publish to "x"', RejectedError, False, True),
        ("Stale Connection", ProtocolError, False, False),
        ("", ProtocolError, False, False),
    ],
)
def test_what_a_server_refuses(text: str, kind: type[BridgeError], permanent: bool, permissions: bool) -> None:
    """By its words; only a lack of permissions concerns one subject and not the connection."""
    ours = refused(text)
    assert (type(ours), ours.permanent, violates_permissions(text)) == (kind, permanent, permissions)
    assert text in ours.message


SERVER = ResolvedEndpoint(scheme="tls", host="nats", port=4222, tls=True, plain_scheme="nats")


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (ConnectionRefusedError(111, "refused"), False),
        (TimeoutError(), False),
        (nats.errors.SecureConnWantedError(), True),
        (ssl.SSLCertVerificationError("bad"), True),
        (MalformedError("a greeting that is not INFO"), False),
    ],
)
def test_while_connecting_nothing_was_sent(error: Exception, permanent: bool) -> None:
    """Whatever happens then is `not_connected`."""
    ours = translate_connect(None, error, SERVER)
    assert "nats:4222" in ours.message or isinstance(error, nats.errors.SecureConnWantedError)
    assert (type(ours), ours.maybe_sent, ours.permanent) == (NotConnectedError, False, permanent)


def test_what_ended_the_connection_says_more() -> None:
    """Than what its end looked like to who opened it; except where it is known only that it ended."""
    said = AuthError("no", permanent=True)
    assert translate_connect(said, ConnectionResetError(), SERVER) is said
    assert not said.maybe_sent
    ended = ConnectionLostError("the connection ended")
    failed = NotConnectedError("no TLS", permanent=True)
    assert translate_connect(ended, failed, SERVER) is failed
    assert type(translate_connect(ended, TimeoutError(), SERVER)) is NotConnectedError


def test_a_bug_of_ours_is_no_error_of_the_outside() -> None:
    """What is not in the table is not hidden."""
    with pytest.raises(LookupError):
        translate(KeyError("x"))
