"""Translate exceptions of redis-py, the operating system and OpenSSL to the bridge's errors, by one table."""

from collections.abc import Callable
from typing import Any, Final

from redis import exceptions as redis

from bridge.adapters._common.errors import cause_of, opening_error
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

#: Codes of error replies without a class in redis-py that mean "not now" rather than "never".
_NOT_NOW: Final = frozenset({"BUSY", "MISCONF", "NOREPLICAS", "NOMASTERLINK", "UNBLOCKED"})
#: Codes of error replies that say that this server is not the right one any more, or this session of it: a replica now,
#: which may be without a master or take over its data; or one that has forgotten who we are.
OUTDATED: Final = frozenset({"READONLY", "MASTERDOWN", "LOADING", "NOAUTH"})


class MovedError(RejectedError):
    """Another node of the cluster has the key.

    Attributes:
        node: Its host, empty where it is that of the node that was asked, and its port.
    """

    def __init__(self, message: str, node: tuple[str, int]) -> None:
        super().__init__(message, code="MOVED")
        self.node = node


class AskError(UnavailableError):
    """The key's slot migrates to another node of the cluster, which has the key already or will have it.

    Attributes:
        node: Its host, empty where it is that of the node that was asked, and its port.
    """

    def __init__(self, message: str, node: tuple[str, int]) -> None:
        super().__init__(message, code="ASK", maybe_sent=False)
        self.node = node


def _text(error: BaseException) -> str:
    return str(error)[:300] or type(error).__name__


def _code(error: Any) -> str | None:
    """Return the word in capitals that an error reply starts with; redis-py removes it where it knows it."""
    if error.status_code is not None:
        return str(error.status_code)
    word = str(error).split(" ", 1)[0]
    return word if word.isupper() else None


def _refused(error: Any) -> BridgeError:
    code = _code(error)
    if code in _NOT_NOW:
        return UnavailableError(_text(error), code=code, maybe_sent=False)
    return RejectedError(_text(error), code=code)


def _credentials(error: Any) -> BridgeError:
    return AuthError(f"the server refused the credentials: {_text(error)}", code=_code(error), permanent=True)


def _not_allowed(error: Any) -> BridgeError:
    return RejectedError(f"the server's access rules forbid it: {_text(error)}", code="NOPERM")


def _not_now(error: Any) -> BridgeError:
    return UnavailableError(_text(error), code=_code(error), maybe_sent=False)


def _moved(error: Any) -> BridgeError:
    message = f"the server is a node of a cluster, write `cluster = true`: another has the key ({_text(error)})"
    return MovedError(message, (error.host, error.port))


def _moving(error: Any) -> BridgeError:
    return AskError(f"the key is on its way to another node ({_text(error)})", (error.host, error.port))


def _cluster(error: Any) -> BridgeError:
    return RejectedError(f"the cluster refuses it: {_text(error)}")


def _lost(error: Any) -> BridgeError:
    return ConnectionLostError(f"the connection is lost: {_text(error)}")


def _nonsense(error: Any) -> BridgeError:
    return ProtocolError(f"the server does not speak Redis' protocol: {_text(error)}")


def _wrong_use(error: Any) -> BridgeError:
    return InvalidError(_text(error))


Translate = Callable[[Any], BridgeError]

#: Most specific first.
TABLE: Final[tuple[tuple[type[Exception], Translate], ...]] = (
    (redis.AuthenticationWrongNumberOfArgsError, _credentials),
    (redis.AuthenticationError, _credentials),
    (redis.AuthorizationError, _credentials),
    (redis.ExternalAuthProviderError, _not_now),
    (redis.NoPermissionError, _not_allowed),
    (redis.BusyLoadingError, _not_now),
    (redis.MaxConnectionsError, _not_now),
    (redis.OutOfMemoryError, _not_now),
    (redis.ReadOnlyError, _not_now),
    (redis.TryAgainError, _not_now),
    (redis.ClusterDownError, _not_now),
    (redis.ClusterCrossSlotError, _cluster),
    (redis.MovedError, _moved),
    (redis.AskError, _moving),
    (redis.ClusterError, _cluster),
    (redis.RedisClusterException, _cluster),
    (redis.ConnectionError, _lost),
    (redis.TimeoutError, _lost),
    (redis.InvalidResponse, _nonsense),
    (redis.ResponseError, _refused),
    (redis.DataError, _wrong_use),
    (redis.RedisError, _nonsense),
    (OSError, _lost),
)


def translate(error: Exception) -> BridgeError:
    """Return the bridge's error for an exception. Raise one that the table does not have again: it is a bug."""
    for known, ours in TABLE:
        if isinstance(error, known):
            return ours(error)
    raise error


def translate_connect(error: Exception, server: ResolvedEndpoint) -> BridgeError:
    """The same while a connection is opened, when nothing has been sent yet; redis-py wraps what the system says."""
    ours = translate(error)
    if isinstance(ours, AuthError):
        ours.permanent = True
        return ours
    cause = cause_of(error)
    if isinstance(ours, ConnectionLostError) and cause is not None:  # there was none to be lost
        return opening_error(cause, server)
    why = _text(error) if isinstance(ours, ConnectionLostError) else ours.message
    return NotConnectedError(f"no connection to {server.name}: {why}", permanent=isinstance(ours, RejectedError))
