"""Where a Redis session goes, and which settings cannot work."""

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bridge.adapters.redis.target import Target
from bridge.core.endpoint import NO_AUTH, AuthBasic, AuthCertificate, Endpoint, Tls
from tests.support.adapters.setup import adapter_setup


def target(db=None, *, auth=NO_AUTH, trust=None, **endpoint):
    """The server that an endpoint block leads to."""
    return Target(adapter_setup("test", Endpoint(**endpoint), auth=auth, tls=trust or Tls()), db)


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
    made = target(**endpoint)
    assert (made.host, made.port, made.db) == (host, port, db)
    assert (made.tls, made.context is not None) == (tls, tls)


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
        target(**settings)


@pytest.mark.parametrize(("address", "warned"), [("127.0.0.1", 0), ("localhost", 0), ("cache.example", 1)])
def test_a_password_in_the_clear_is_warned_of(address, warned):
    """Unless it does not leave the machine; and the warning does not hold it."""
    with capture_logs() as logs:
        target(address=address, auth=AuthBasic(type="basic", password=SecretStr("hunter2")))
    assert len(logs) == warned
    assert "hunter2" not in str(logs)
