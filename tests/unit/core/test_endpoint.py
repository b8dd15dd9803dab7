"""Where a remote is, whether TLS is used, and what is not safe: one rule for every protocol."""

import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from bridge.adapters.nats.config import NatsConfig
from bridge.adapters.redis.config import RedisConfig
from bridge.core.endpoint import (
    NO_AUTH,
    AuthBasic,
    AuthBearer,
    AuthCertificate,
    AuthCredentials,
    AuthNkey,
    Endpoint,
    EndpointError,
    ResolvedEndpoint,
    Tls,
    is_loopback,
    resolve_endpoint,
)
from bridge.core.ports import AdapterSpec
from bridge.registry import AdapterRegistry

REGISTRY = AdapterRegistry(bundled=True)
#: Every way of every bundled protocol that has addresses.
SPECS = [transport for name, spec in REGISTRY.items() for transport in (spec, *spec.transports) if transport.schemes]
PASSWORD = AuthBasic(type="basic", username="u", password=SecretStr("hunter2"))
TOKEN = AuthBearer(type="bearer", token=SecretStr("hunter2"))


def test_all_protocols_are_here() -> None:
    """The tests below are about these."""
    found = {(spec.protocol, *spec.schemes) for spec in SPECS}
    assert found == {
        ("http", "http", "https"),
        ("json-rpc", "http", "https"),
        ("json-rpc", "ws", "wss"),
        ("mqtt", "mqtts", "mqtt"),
        ("nats", "nats", "tls"),
        ("redis", "redis", "rediss"),
        ("websocket", "ws", "wss"),
    }


def scheme_of(spec: AdapterSpec, *, tls: bool) -> str:
    """The protocol's scheme with, or without, TLS."""
    return next(scheme for scheme, (_, on) in spec.schemes.items() if on == tls)


def resolved(spec: AdapterSpec, config: Any = None, *, auth: Any = NO_AUTH, **endpoint: Any) -> ResolvedEndpoint:
    """The first server of an `endpoint` block."""
    return spec.resolve(Endpoint(**endpoint), auth, Tls(), config)[0]


every = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.protocol}-{scheme_of(spec, tls=False)}")


@every
@pytest.mark.parametrize("tls", [True, False])
def test_a_url_decides_port_and_tls(spec: AdapterSpec, tls: bool) -> None:
    """In any case of letters, with a port of its own or the scheme's."""
    scheme = scheme_of(spec, tls=tls)
    for written in (scheme, scheme.upper(), scheme.title()):
        for key in ("url", "address"):
            found = resolved(spec, **{key: f"{written}://Remote.example"})
            assert (found.scheme, found.host, found.tls) == (scheme, "remote.example", tls)
            assert found.port == spec.schemes[scheme][0]
            assert resolved(spec, **{key: f"{written}://remote.example:1234"}).port == 1234
        assert resolved(spec, address=f"{written}://remote.example", port=1234).port == 1234


@every
def test_tls_decides_where_there_is_no_scheme(spec: AdapterSpec) -> None:
    """Whatever the port and the host are."""
    for host in ("remote.example", "127.0.0.1"):
        for tls in (True, False):
            default = spec.schemes[scheme_of(spec, tls=tls)][0]
            other = spec.schemes[scheme_of(spec, tls=not tls)][0]
            assert resolved(spec, address=host, tls=tls).port == default
            found = resolved(spec, address=host, port=other, tls=tls)
            assert (found.port, found.tls) == (other, tls)


@every
def test_a_well_known_port_decides(spec: AdapterSpec) -> None:
    """Beside the host or after it; but not where it is the same with and without TLS, as with NATS."""
    for host in ("remote.example", "127.0.0.1"):
        for port, tls in spec.schemes.values():
            both = len({on for known, on in spec.schemes.values() if known == port}) == 2
            expected = not is_loopback(host) if both else tls
            assert resolved(spec, address=host, port=port).tls is expected
            assert resolved(spec, address=f"{host}:{port}").tls is expected


@every
@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("remote.example", False),
        ("10.0.0.1", False),
        ("::2", False),
        ("localhost.example", False),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("a.localhost", True),
        ("localhost.", True),
    ],
)
def test_else_there_is_tls_except_towards_this_machine(spec: AdapterSpec, host: str, loopback: bool) -> None:
    """A bare host, with the port that goes with it, or with a port that says nothing."""
    found = resolved(spec, address=host)
    assert (found.tls, found.loopback) == (not loopback, loopback)
    assert found.port == spec.schemes[found.scheme][0]
    assert found.scheme == scheme_of(spec, tls=not loopback)
    assert resolved(spec, address=host, port=9999).tls is not loopback


@pytest.mark.parametrize("host", ["", "notlocalhost", "localhost.com", "127.0.0.1.example", "1.1.1.1", "::"])
def test_what_is_not_this_machine(host: str) -> None:
    """Names and addresses that only look like it."""
    assert not is_loopback(host)


@every
@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ({"address": "::1", "port": 7}, "::1", 7),
        ({"address": "[::1]:7"}, "::1", 7),
        ({"address": "[fe80::1%eth0]:7"}, "fe80::1%eth0", 7),
        ({"address": "remote.example:7"}, "remote.example", 7),
    ],
)
def test_each_form_of_a_bare_address(spec: AdapterSpec, endpoint: dict[str, Any], host: str, port: int) -> None:
    """With and without brackets; in messages there are always some."""
    found = resolved(spec, **endpoint)
    assert (found.host, found.port) == (host, port)
    assert found.name == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


@every
@pytest.mark.parametrize("auth", [PASSWORD, TOKEN], ids=["password", "token"])
def test_credentials_in_the_clear_are_a_warning(spec: AdapterSpec, auth: Any) -> None:
    """For every protocol, beyond this machine only; it names the remedy and not the secret."""
    plain, secure = scheme_of(spec, tls=False), scheme_of(spec, tls=True)
    (warning,) = resolved(spec, auth=auth, url=f"{plain}://remote.example:99").warnings
    assert "travels unencrypted to remote.example:99" in warning
    assert f"`{secure}://` or `tls = true`" in warning
    assert "hunter2" not in warning
    assert resolved(spec, auth=auth, address="remote.example", tls=False).warnings
    for quiet in (f"{secure}://remote.example", f"{plain}://127.0.0.1", f"{plain}://a.localhost"):
        assert resolved(spec, auth=auth, url=quiet).warnings == ()
    assert resolved(spec, url=f"{plain}://remote.example").warnings == ()


@pytest.mark.parametrize(
    "auth",
    [AuthNkey(type="nkey", seed=SecretStr("S")), AuthCredentials(type="credentials", file=Path("f"))],
    ids=["nkey", "credentials"],
)
def test_keys_that_sign_are_no_warning(auth: Any) -> None:
    """The server gets a signature; the secret itself does not travel."""
    assert resolved(REGISTRY["nats"], auth=auth, url="nats://remote.example").warnings == ()


def test_warnings_are_told_once() -> None:
    """Those of all servers and of the `tls` block, each one time."""
    spec = REGISTRY["nats"]
    config = NatsConfig(servers=("b.example", "b.example", "127.0.0.1"))
    found = spec.warnings(Endpoint(url="nats://a.example"), PASSWORD, Tls(), config)
    assert [text.split(";")[0] for text in found] == [
        "`auth`: the password travels unencrypted to a.example:4222",
        "`auth`: the password travels unencrypted to b.example:4222",
    ]
    (unverified,) = spec.warnings(Endpoint(url="tls://a.example"), PASSWORD, Tls(verify=False), NatsConfig())
    assert unverified.startswith("`tls.verify = false`")


# --- errors name the key and quote what was written


@every
def test_an_unknown_scheme(spec: AdapterSpec) -> None:
    """It is quoted as it was written, and those of the protocol are listed."""
    for key in ("url", "address"):
        with pytest.raises(EndpointError) as caught:
            resolve_endpoint(Endpoint(**{key: "GOPHER://remote.example/etc/https/x"}), spec.schemes)
        known = ", ".join(spec.schemes)
        expected = f'endpoint.{key}: "GOPHER://remote.example" has no scheme of this protocol; there are {known}'
        assert str(caught.value) == expected


@every
@pytest.mark.parametrize("tls", [True, False])
def test_tls_that_contradicts_the_scheme(spec: AdapterSpec, tls: bool) -> None:
    """One of them is a mistake, and nobody can know which."""
    with pytest.raises(EndpointError, match=r"^endpoint\.tls: .*leave `tls` out"):
        resolved(spec, address=f"{scheme_of(spec, tls=not tls)}://remote.example", tls=tls)


@every
@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ({"tls": Tls(ca=Path("/etc/https/ca.pem"))}, "^tls: there is a `tls` block, but the endpoint is without TLS"),
        ({"tls": Tls(server_name="x")}, "^tls: "),
        ({"auth": AuthCertificate(type="certificate", cert=Path("c"))}, "^auth: a client certificate needs TLS"),
    ],
)
def test_blocks_that_need_tls(spec: AdapterSpec, blocks: dict[str, Any], words: str) -> None:
    """On a plaintext endpoint they are a mistake; the error says what to write."""
    plain, secure = scheme_of(spec, tls=False), scheme_of(spec, tls=True)
    with pytest.raises(EndpointError, match=words) as caught:
        spec.resolve(Endpoint(url=f"{plain}://remote.example"), blocks.get("auth", NO_AUTH), blocks.get("tls"))
    assert f"write `{secure}://`, or `tls = true`" in str(caught.value)
    assert spec.resolve(Endpoint(address="remote.example"), blocks.get("auth", NO_AUTH), blocks.get("tls"))[0].tls


@pytest.mark.parametrize("name", ["", ".example.com", "a..b", "a" * 64, "ex ample", "a\n"])
def test_a_server_name_that_cannot_be_one(name: str) -> None:
    """`tls.server_name` that OpenSSL takes for no host name is an error of the configuration, for every protocol."""
    with pytest.raises(ValidationError, match="cannot be the name of a server"):
        Tls(server_name=name)


@every
def test_verify_alone_is_no_mistake(spec: AdapterSpec) -> None:
    """`tls.verify = false` means nothing on a plaintext endpoint; it is a warning there as everywhere."""
    endpoint = Endpoint(url=f"{scheme_of(spec, tls=False)}://127.0.0.1")
    assert not spec.resolve(endpoint, NO_AUTH, Tls(verify=False))[0].tls


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({}, "give either `address` or `url`"),
        ({"address": "h", "url": "x://h"}, "give either `address` or `url`"),
        ({"url": "h"}, "starts with its scheme"),
        ({"url": "x://h", "port": 1}, "leave them out"),
        ({"address": "h:80", "port": 81}, "`port` says 81, the address says 80"),
        ({"address": "x://h:80", "port": 81}, "`port` says 81, the address says 80"),
        ({"address": "h/a"}, '"h/…" is no host name'),
        ({"address": "h?a"}, r'"h\?…" is no host name'),
        ({"address": "h:port"}, '"h:port" is no address'),
        ({"address": "h:99999"}, '"h:99999" is no address'),
        ({"address": "h:0"}, '"h:0" is no address'),
        ({"address": "[::1"}, r'"\[::1" is no address'),
        ({"address": ":80"}, '":80" names no host'),
        ({"url": "x:///path"}, '"x://" names no host'),
        ({"url": "x://a..b/c"}, '"x://a..b" names no host: a part of its name is empty'),
        ({"address": "x" * 64}, "longer than 63 letters"),
        ({"address": "a b"}, "has a space"),
        ({"address": "a\tb"}, "control character"),
        ({"url": "x://h/\n"}, "control character"),
        ({"url": "x://h/#part"}, "fragment"),
        ({"url": "x://user:hunter2@h"}, "credentials do not belong"),
        ({"url": "x://user:hunt/er2@h"}, "no address"),
        ({"address": "user:hunter2@h"}, "credentials do not belong"),
    ],
)
def test_what_is_no_address(block: dict[str, Any], words: str) -> None:
    """Said when the block is read; credentials are not repeated."""
    with pytest.raises(ValidationError, match=words) as caught:
        Endpoint(**block)
    assert "hunt" not in str(caught.value)


def test_an_error_does_not_repeat_a_path() -> None:
    """A path may be a secret, as in the address of a webhook."""
    with pytest.raises(EndpointError) as caught:
        resolved(REGISTRY["http"], url="ftp://remote.example/hooks/s3cret?key=s3cret")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("servers", "error"),
    [
        (("b", "https://c"), 'config.servers[1]: "https://c" has no scheme of this protocol; there are nats, tls'),
        (("b", "tls://c"), 'config.servers[1]: "tls://c" and the endpoint disagree about TLS'),
        (("b:x",), 'config.servers[0]: "b:x" is no address; write "host:port" or a URL, with a port from 1 to 65535'),
        (("u:hunter2@b",), "config.servers[0]: credentials do not belong into the address; use an `auth` block"),
        (("nats://b/path",), 'config.servers[0]: only the endpoint may have a path; write "nats://b"'),
    ],
)
def test_an_error_in_further_servers_names_the_one(servers: tuple[str, ...], error: str) -> None:
    """By its key and its place in the list."""
    with pytest.raises(EndpointError) as caught:
        resolved(REGISTRY["nats"], NatsConfig(servers=servers), url="nats://a")
    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("endpoint", "servers", "tls"),
    [
        ({"address": "a.example"}, ("b.example",), True),
        ({"address": "127.0.0.1"}, ("127.0.0.2", "localhost:1"), False),
        ({"address": "127.0.0.1"}, ("b.example",), True),
        ({"address": "a.example"}, ("nats://b.example",), False),
        ({"address": "127.0.0.1", "tls": False}, ("b.example",), False),
    ],
)
def test_all_servers_agree_about_tls(endpoint: dict[str, Any], servers: tuple[str, ...], tls: bool) -> None:
    """One rule for all: plaintext is the default only where none of them is beyond this machine."""
    found = REGISTRY["nats"].resolve(Endpoint(**endpoint), config=NatsConfig(servers=servers))
    assert [server.tls for server in found] == [tls] * (1 + len(servers))


def test_nodes_of_a_redis_cluster() -> None:
    """Named like the servers of NATS, with Redis' ports."""
    config = RedisConfig(cluster=("b", "rediss://c:7000"))
    found = REGISTRY["redis"].resolve(Endpoint(address="a.example"), config=config)
    assert [(server.name, server.key) for server in found] == [
        ("a.example:6380", ("endpoint", "address")),
        ("b:6380", ("config", "cluster", "0")),
        ("c:7000", ("config", "cluster", "1")),
    ]


def test_the_port_of_a_sentinel() -> None:
    """Its own, with and without TLS, unless another is written."""
    spec, config = REGISTRY["redis"], RedisConfig(sentinel="main")
    assert resolved(spec, config, address="s.example").name == "s.example:26379"
    assert resolved(spec, config, address="s.example").tls
    assert not resolved(spec, config, url="redis://s.example").tls
    assert resolved(spec, config, url="rediss://s.example:7").port == 7


def test_a_protocol_without_tls() -> None:
    """A bare host needs no `tls = false`, and `tls = true` is an error."""
    schemes = {"lines": (7070, False)}
    assert not resolve_endpoint(Endpoint(address="remote.example"), schemes)[0].tls
    with pytest.raises(EndpointError, match=r"^endpoint\.tls: this protocol has no TLS"):
        resolve_endpoint(Endpoint(address="remote.example", tls=True), schemes)
    with pytest.raises(EndpointError, match="this protocol has no TLS"):
        resolve_endpoint(Endpoint(address="remote.example"), schemes, tls=Tls(server_name="x"))
    (warning,) = resolve_endpoint(Endpoint(address="remote.example"), schemes, PASSWORD)[0].warnings
    assert warning == "`auth`: the password travels unencrypted to remote.example:7070"


@pytest.mark.parametrize(("host", "port"), [("", 1), ("a..b", 1), ("a b", 1), ("h", 0), ("h", 65536)])
def test_a_server_that_a_remote_names(host: str, port: int) -> None:
    """A cluster or a Sentinel may name anything; what can be no address is refused."""
    server = resolved(REGISTRY["redis"], url="rediss://a.example/3")
    assert server.at("b", 7).name == "b:7"
    with pytest.raises(ValueError, match=r"\w"):
        server.at(host, port)


def test_this_machine_by_name_is_this_machine() -> None:
    """What the system's resolver says of `localhost` agrees with the rule."""
    found = {info[4][0] for info in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    assert found
    assert all(is_loopback(str(address)) for address in found)
