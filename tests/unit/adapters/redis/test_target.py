"""Where a Redis session goes, and which settings cannot work."""

import pytest

from bridge.adapters.redis.config import RedisConfig
from bridge.adapters.redis.target import targets
from bridge.core.endpoint import NO_AUTH, AuthCertificate, Endpoint, Tls
from bridge.core.errors import ProtocolError
from tests.support.adapters.setup import adapter_setup


def target(db=None, *, auth=NO_AUTH, trust=None, **endpoint):
    """The server that an endpoint block leads to."""
    setup = adapter_setup("test", Endpoint(**endpoint), auth=auth, tls=trust or Tls())
    return targets(setup, RedisConfig(db=db))[0]


@pytest.mark.parametrize(
    ("endpoint", "host", "port", "tls", "db"),
    [
        ({"address": "cache"}, "cache", 6380, True, 0),
        ({"address": "cache", "port": 7000}, "cache", 7000, True, 0),
        ({"address": "cache:6379"}, "cache", 6379, False, 0),
        ({"address": "cache", "tls": True}, "cache", 6380, True, 0),
        ({"address": "cache", "port": 6380}, "cache", 6380, True, 0),
        ({"address": "cache", "port": 6380, "tls": False}, "cache", 6380, False, 0),
        ({"address": "::1"}, "::1", 6379, False, 0),
        ({"address": "[::1]:7000"}, "::1", 7000, False, 0),
        ({"url": "redis://cache/3"}, "cache", 6379, False, 3),
        ({"url": "REDIS://cache/"}, "cache", 6379, False, 0),
        ({"url": "rediss://cache"}, "cache", 6380, True, 0),
        ({"url": "rediss://cache:7000/2"}, "cache", 7000, True, 2),
        ({"address": "cache", "path": "/4"}, "cache", 6380, True, 4),
    ],
)
def test_addresses(endpoint, host, port, tls, db):
    """Host, port, TLS and database from each way to write them."""
    made = target(**endpoint)
    assert (made.server.host, made.server.port, made.db) == (host, port, db)
    assert (made.server.tls, made.context() is not None) == (tls, tls)
    assert made.server_name == (host if tls else None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"url": "redis://cache/orders"},
            r"^endpoint\.url: the path is the number of a database, as in /0, not 'orders'",
        ),
        ({"url": "redis://cache/1", "db": 2}, "the endpoint's path says 1"),
        ({"address": "redis://cache/1", "path": "1"}, "a path already"),
        ({"url": "redis://cache?db=1"}, "no `\\?`"),
        ({"address": "cache", "auth": AuthCertificate(type="certificate", cert="x.pem")}, "auth: x.pem and its key"),
        ({"url": "rediss://cache", "trust": Tls(ca="no-such-file.pem")}, r"^tls\.ca: no-such-file\.pem"),
    ],
)
def test_settings_that_cannot_work(settings, words):
    """Said in words, before anything is opened."""
    with pytest.raises(ValueError, match=words):
        target(**settings)


def test_a_server_that_a_cluster_or_a_sentinel_names():
    """It has the same settings; a name that is none is the remote's fault, and does not end the process."""
    first = target(2, url="rediss://cache", trust=Tls(server_name="redis.example"))
    other = first.at("10.0.0.2", 7001)
    assert (other.name, other.db, other.context(), other.server_name) == (
        "10.0.0.2:7001",
        2,
        first.context(),
        "redis.example",
    )
    assert target(url="rediss://cache").at("10.0.0.2", 7001).server_name == "10.0.0.2"
    for host, port in (("a..b", 1), ("", 1), ("h", 0)):
        with pytest.raises(ProtocolError, match="names a server that cannot be"):
            first.at(host, port)
