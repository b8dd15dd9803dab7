"""The Redis adapter's error table."""

import inspect
import ssl

import hiredis
import pytest
from redis import exceptions

from bridge.adapters.redis.errors import TABLE, translate, translate_connect
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.errors import AuthError, BridgeError, NotConnectedError

#: What cannot reach us, and why.
NEVER = {
    "ChildDeadlockedError": "a fork while a lock of the synchronous client is held",
    "IncorrectPolicyType": "policies of the cluster client",
    "HiredisError": "redis-py has hiredis raise its own classes",
    "ProtocolError": "redis-py has hiredis raise its own classes",
    "ReplyError": "redis-py has hiredis raise its own classes",
}
LIBRARY = [
    member
    for module in (exceptions, hiredis)
    for _, member in inspect.getmembers(module, inspect.isclass)
    if issubclass(member, Exception)
]
MAPPED = [kind for kind in LIBRARY if kind.__name__ not in NEVER]


def make(kind: type[Exception]) -> Exception:
    """An error of that class; redirections want an address."""
    return kind("1234 10.0.0.1:6379") if issubclass(kind, exceptions.AskError) else kind("what the server said")


def test_nothing_is_listed_that_is_not_there():
    """The exceptions from the rule are classes of the library."""
    assert NEVER.keys() <= {kind.__name__ for kind in LIBRARY}


@pytest.mark.parametrize("kind", MAPPED, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_library_is_mapped(kind):
    """Each becomes one of ours, with what the server said."""
    error = translate(make(kind))
    assert isinstance(error, BridgeError)
    assert "what the server said" in error.message or "10.0.0.1" in error.message


def test_the_most_specific_line_comes_first():
    """No line stands behind one that catches all of it."""
    for place, (kind, _) in enumerate(TABLE):
        assert not [earlier for earlier, _ in TABLE[:place] if issubclass(kind, earlier)], kind


@pytest.mark.parametrize(
    ("error", "kind", "code", "maybe_sent"),
    [
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), "rejected", "WRONGTYPE", False),
        (exceptions.ResponseError("ERR syntax error", status_code="ERR"), "rejected", "ERR", False),
        (exceptions.ResponseError("unknown"), "rejected", None, False),
        (exceptions.ResponseError("MISCONF cannot write to disk"), "unavailable", "MISCONF", False),
        (exceptions.OutOfMemoryError("used memory", status_code="OOM"), "unavailable", "OOM", False),
        (exceptions.BusyLoadingError("loading", status_code="LOADING"), "unavailable", "LOADING", False),
        (exceptions.ReadOnlyError("a replica", status_code="READONLY"), "unavailable", "READONLY", False),
        (exceptions.TryAgainError("split", status_code="TRYAGAIN"), "unavailable", "TRYAGAIN", False),
        (exceptions.ClusterDownError("not served", status_code="CLUSTERDOWN"), "unavailable", "CLUSTERDOWN", False),
        (exceptions.AskError("1 10.0.0.1:6379"), "unavailable", "ASK", False),
        (exceptions.MovedError("1 10.0.0.1:6379"), "rejected", "MOVED", False),
        (exceptions.ResponseError("UNBLOCKED the stream is gone"), "unavailable", "UNBLOCKED", False),
        (exceptions.NoPermissionError("no", status_code="NOPERM"), "rejected", "NOPERM", False),
        (exceptions.AuthenticationError("no", status_code="WRONGPASS"), "auth", "WRONGPASS", False),
        (exceptions.ConnectionError("closed"), "connection_lost", None, True),
        (ConnectionResetError("reset"), "connection_lost", None, True),
    ],
)
def test_what_the_guard_must_know(error, kind, code, maybe_sent):
    """Kind, code, and whether the server may have acted."""
    ours = translate(error)
    assert (ours.kind, ours.code, ours.maybe_sent) == (kind, code, maybe_sent)


def test_rights_and_credentials_are_not_the_same():
    """Wrong credentials fail the whole connection; a forbidden command only itself."""
    assert translate(exceptions.AuthenticationError("no")).permanent
    assert not translate(exceptions.NoPermissionError("no")).permanent


def test_bugs_pass_through():
    """What is nothing of the outside's doing is not made look like it."""
    with pytest.raises(ZeroDivisionError):
        translate(ZeroDivisionError())


SERVER = ResolvedEndpoint(scheme="rediss", host="redis", port=6380, tls=True)


def wrapped(cause: Exception) -> exceptions.ConnectionError:
    """As redis-py wraps what the socket raises."""
    error = exceptions.ConnectionError("Error while connecting")
    error.__context__ = cause
    return error


def test_what_goes_wrong_while_connecting():
    """Nothing was sent; what only a person can help says so."""
    refused = translate_connect(wrapped(ConnectionRefusedError()), SERVER)
    unverified = translate_connect(wrapped(ssl.SSLCertVerificationError("expired")), SERVER)
    no_tls = translate_connect(wrapped(ssl.SSLEOFError(8, "end")), SERVER)
    password = translate_connect(exceptions.AuthenticationError("invalid"), SERVER)
    loading = translate_connect(exceptions.BusyLoadingError("loading"), SERVER)
    for error in (refused, unverified, no_tls, loading):
        assert isinstance(error, NotConnectedError)
        assert not error.maybe_sent
        assert error.permanent == (error is unverified)
    assert refused.message == "no connection to redis:6380: connection refused"
    assert "`tls = false`" in no_tls.message
    assert isinstance(password, AuthError)
    assert password.permanent
