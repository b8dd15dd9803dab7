"""Where a Redis session goes, and which settings cannot work."""

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bridge.adapters.redis.target import Target, TlsConnection
from bridge.core.endpoint import NO_AUTH, AuthBasic, AuthCertificate, Endpoint, Tls
from tests.support.adapters.setup import adapter_setup


def connection(db=None, *, auth=NO_AUTH, trust=None, **endpoint):
    """The connection that an endpoint block leads to."""
    return Target(adapter_setup("test", Endpoint(**endpoint), auth=auth, tls=trust or Tls()), db).connection()


@pytest.mark.parametrize(
    ("endpoint", "host", "port", "tls", "db"),
    [
        ({"address": "cache"}, "cache", 6379, False, 0),
        ({"address": "cache", "port": 7000}, "cache", 7000, False, 0),
        ({"address": "cache:7000"}, "cache", 7000, False, 0),
        ({"address": "cache", "tls": True}, "cache", 6380, True, 0),
        ({"address": "cache", "port": 6380}, "cache", 6380, True, 0),
        ({"address": "cache", "port": 6380, "tls": False}, "cache", 6380, False, 0),
        ({"address": "::1"}, "::1", 6379, False, 0),
        ({"address": "[::1]:7000"}, "::1", 7000, False, 0),
        ({"url": "redis://cache/3"}, "cache", 6379, False, 3),
        ({"url": "rediss://cache"}, "cache", 6380, True, 0),
        ({"url": "rediss://cache:7000/2"}, "cache", 7000, True, 2),
        ({"address": "cache", "path": "/4"}, "cache", 6379, False, 4),
    ],
)
def test_addresses(endpoint, host, port, tls, db):
    """Host, port, TLS and database from each way to write them."""
    made = connection(**endpoint)
    assert (made.host, made.port, made.db) == (host, port, db)
    assert isinstance(made, TlsConnection) is tls


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "http://cache"}, "scheme"),
        ({"url": "redis://cache/orders"}, "number of a database"),
        ({"url": "redis://cache/1", "db": 2}, "the endpoint's path says 1"),
        ({"address": "redis://cache/1", "path": "1"}, "a path already"),
        ({"url": "redis://cache?db=1"}, "no `\\?`"),
        ({"url": "redis://cache", "trust": Tls(server_name="x")}, "endpoint is plain"),
        ({"address": "cache", "auth": AuthCertificate(type="certificate", cert="x.pem")}, "needs TLS"),
        ({"url": "rediss://cache", "trust": Tls(ca="no-such-file.pem")}, "tls.ca"),
    ],
)
def test_settings_that_cannot_work(settings, words):
    """Said in words, before anything is opened."""
    with pytest.raises(ValueError, match=words):
        connection(**settings)


def test_nothing_of_the_library_retries():
    """Neither retries nor time limits of its own: the guard owns both."""
    made = connection(address="cache")
    assert made.retry.get_retries() == 0
    assert made.socket_timeout is None
    assert made.socket_connect_timeout is None


@pytest.mark.parametrize(("address", "warned"), [("127.0.0.1", 0), ("localhost", 0), ("cache.example", 1)])
def test_a_password_in_the_clear_is_warned_of(address, warned):
    """Unless it does not leave the machine; and the warning does not hold it."""
    with capture_logs() as logs:
        connection(address=address, auth=AuthBasic(type="basic", password=SecretStr("hunter2")))
    assert len(logs) == warned
    assert "hunter2" not in str(logs)


def test_a_write_at_the_end_of_a_connection_is_nothing():
    """The transport of uvloop refuses one that comes before the reader has heard of the end; no traceback."""

    class Ended:
        def is_closing(self):
            return True

        def write(self, data):
            raise RuntimeError("the handler is closed")

    one = connection(address="cache")
    one._transport = Ended()
    one.write(b"PING")
