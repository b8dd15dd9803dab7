"""What the Redis adapter relies on in redis-py and hiredis. A new version that behaves otherwise fails here.

All of it has a public name; `tests/unit/project/test_private_names.py` sees to that.
"""

import hiredis
import pytest
from redis import exceptions
from redis.asyncio.connection import DefaultParser
from redis.crc import key_slot
from redis.utils import format_error_message

from bridge.adapters.redis.transport import ERROR_REPLIES


@pytest.mark.parametrize(
    ("text", "kind", "rest"),
    [
        ("WRONGPASS invalid username-password pair", exceptions.AuthenticationError, "invalid username-password pair"),
        ("NOAUTH Authentication required.", exceptions.AuthenticationError, "Authentication required."),
        ("ERR invalid password", exceptions.AuthenticationError, "invalid password"),
        ("ERR max number of clients reached", exceptions.ConnectionError, "max number of clients reached"),
        ("ERR unknown command 'HELLO'", exceptions.ResponseError, "unknown command 'HELLO'"),
        ("NOPERM this user", exceptions.NoPermissionError, "this user"),
        ("LOADING Redis is loading", exceptions.BusyLoadingError, "Redis is loading"),
        ("OOM command not allowed", exceptions.OutOfMemoryError, "command not allowed"),
        ("READONLY You can't write", exceptions.ReadOnlyError, "You can't write"),
        ("TRYAGAIN Multiple keys", exceptions.TryAgainError, "Multiple keys"),
        ("CLUSTERDOWN Hash slot", exceptions.ClusterDownError, "Hash slot"),
        ("CROSSSLOT Keys in request", exceptions.ClusterCrossSlotError, "Keys in request"),
        ("BUSYGROUP Consumer Group", exceptions.ResponseError, "BUSYGROUP Consumer Group"),
    ],
)
def test_error_replies_and_their_exceptions(text, kind, rest):
    """redis-py finds the class by the first word, and takes that word off where it knows it."""
    error = DefaultParser.parse_error(text)
    assert type(error) is kind
    assert str(error) == rest
    assert error.status_code == (None if rest == text else text.split()[0])


@pytest.mark.parametrize(("word", "kind"), [("ASK", exceptions.AskError), ("MOVED", exceptions.MovedError)])
def test_redirections(word, kind):
    """Host and port are read; an empty host is the node that was asked."""
    error = DefaultParser.parse_error(f"{word} 3999 127.0.0.1:6381")
    assert type(error) is kind
    assert (error.host, error.port) == ("127.0.0.1", 6381)
    assert DefaultParser.parse_error(f"{word} 3999 :6381").host == ""
    assert DefaultParser.parse_error(f"{word} 3999 ::1:6381").host == "::1"


def test_which_error_replies_end_a_connection():
    """All but two are answers to a command: too many clients, and a directory service that is down at the log-in."""
    kinds = set()
    for kind in DefaultParser.EXCEPTION_CLASSES.values():
        kinds.update(kind.values() if isinstance(kind, dict) else [kind])
    assert {kind for kind in kinds if not issubclass(kind, ERROR_REPLIES)} == {
        exceptions.ConnectionError,
        exceptions.ExternalAuthProviderError,
    }


def test_hiredis_reads_all_types_of_resp3():
    """Strings as bytes, pushes as a class of their own, errors by the function that was given."""
    nothing = object()
    reader = hiredis.Reader(replyError=KeyError, protocolError=exceptions.InvalidResponse, notEnoughData=nothing)
    reader.feed(b"+a\r\n$1\r\n\xff\r\n:1\r\n*1\r\n_\r\n%1\r\n+a\r\n:1\r\n~1\r\n:1\r\n>1\r\n+a\r\n-b\r\n,1.5\r\n#t\r\n")
    replies = [reader.gets(False) for _ in range(10)]
    assert replies[:6] == [b"a", b"\xff", 1, [None], {b"a": 1}, [1]]
    assert type(replies[6]) is hiredis.PushNotification
    assert replies[6][0] == b"a"
    assert repr(replies[7]) == "KeyError('b')"
    assert replies[8:] == [1.5, True]
    assert reader.gets(False) is nothing
    reader.feed(b"!!\r\n")
    with pytest.raises(exceptions.InvalidResponse):
        reader.gets(False)


def test_slots_are_those_of_the_cluster():
    """CRC16 of the key, or of what stands in its first braces (the cluster's specification has the example)."""
    assert key_slot(b"123456789") == 0x31C3
    assert key_slot(b"{queue}:dead") == key_slot(b"queue")


def test_the_text_of_a_failed_connection():
    """Number and words of the operating system, and the server."""
    error = ConnectionRefusedError(111, "Connection refused")
    assert format_error_message("h:1", error) == "Error 111 connecting to h:1. Connection refused."
