"""Every exception of nats-py has its place in the table."""

import importlib
import inspect
import pkgutil
import ssl

import nats
import pytest

from bridge.adapters.nats.errors import (
    TABLE,
    Permission,
    Violation,
    read_violation,
    refused,
    refused_by_jetstream,
    translate,
    translate_connect,
    unquote,
    violates_permissions,
)
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
        ("User Authentication Revoked", AuthError, True, False),
        ("Failed Account Registration", AuthError, True, False),
        ("maximum account active connections exceeded", ProtocolError, False, False),
        ("maximum connections exceeded", ProtocolError, False, False),
        ("maximum subscriptions exceeded", RejectedError, False, False),
        ("Invalid Subject", RejectedError, False, False),
        ('Permissions Violation for Publish to "authorization violation"', RejectedError, False, True),
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


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ('Permissions Violation for Publish to "A.b"', Violation(Permission("publish", "A.b"), None)),
        ('permissions violation for publish to "a"', Violation(Permission("publish", "a"), None)),
        (
            'Permissions Violation for Subscription to "a.>" using queue "q\\"" (sid "7")',
            Violation(Permission("subscription", "a.>", 'q"'), 7),
        ),
        ('Permissions Violation for Subscription to "a" (sid 7)', Violation(Permission("subscription", "a"), 7)),
        (
            'Permissions Violation for Subscription to "a.b", too many tokens',
            Violation(Permission("subscription", "a.b"), None),
        ),
        ('Permissions Violation for Publish with Reply of "a"', None),
        ('Permissions Violation for Publish to "a', None),
        ("Stale Connection", None),
    ],
)
def test_permissions_violations(text: str, violation: Violation | None) -> None:
    """What is missing, and the subscription that a server has ended."""
    assert read_violation(text) == violation


@pytest.mark.parametrize(
    ("quoted", "subject"),
    [
        ('a\\"b', 'a"b'),
        ("a\\\\b", "a\\b"),
        ("\\a\\b\\f\\n\\r\\t\\v", "\a\b\f\n\r\t\v"),
        ("\\x00\\x7f\\u0085\\u200b\\U000e0001", "\x00\x7f\x85\u200b\U000e0001"),
        ("ä.日", "ä.日"),
        ("\\U00110000", "\ufffd"),
        ("\\q\\x0", "qx0"),
    ],
)
def test_what_go_quotes(quoted: str, subject: str) -> None:
    """As strconv.Quote writes subjects with quotes, backslashes and what is not printable."""
    assert unquote(quoted) == subject


@pytest.mark.parametrize(
    ("code", "precise", "kind", "ours"),
    [(503, 10008, UnavailableError, 10008), (500, None, UnavailableError, 500), (400, 10054, RejectedError, 10054)],
)
def test_refusals_of_jetstream(code: int, precise: int | None, kind: type[BridgeError], ours: int) -> None:
    """From 500 on it cannot at the moment; nothing was done in any case."""
    error = refused_by_jetstream(code, precise, None)
    assert (type(error), error.code, error.maybe_sent) == (kind, ours, False)


@pytest.mark.parametrize("part", ["x", [], {}, 1.5, None])
def test_a_refusal_of_the_wrong_types(part: object) -> None:
    """nats-py takes them as they come; they are left out."""
    error = translate(nats.js.errors.APIError(code=part, err_code=part, description=part))  # type: ignore[arg-type]
    assert (error.kind, error.code) == ("rejected", None)


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
