"""The order in which the servers of an integration are tried, and what is remembered of their cluster."""

from typing import Any

import pytest

from bridge.adapters.nats.config import SCHEMES
from bridge.adapters.nats.servers import Servers
from bridge.core.endpoint import Addressing, Endpoint, resolve_endpoint


def _servers(*addresses: str, state: dict[str, Any] | None = None, server_name: str | None = None) -> Servers:
    first, *more = addresses
    addressing = Addressing([(("config", "servers", str(index)), text) for index, text in enumerate(more)])
    configured = resolve_endpoint(Endpoint(url=first), SCHEMES, addressing=addressing)
    return Servers(configured, server_name, {} if state is None else state)


def _names(servers: Servers) -> list[str]:
    return [candidate.server.name for candidate in servers.in_order()]


def test_the_configured_ones_come_first() -> None:
    """In their order, and after them those that a server has named, each once."""
    servers = _servers("nats://a:1", "b:2")
    servers.learn(["c:3", "a:1", "b:2", "c:3", "d:4"])
    assert _names(servers) == ["a:1", "b:2", "c:3", "d:4"]
    servers.learn(["d:4"])
    assert _names(servers) == ["a:1", "b:2", "d:4"]
    servers.learn([])
    assert _names(servers) == ["a:1", "b:2", "d:4"]


def test_they_are_kept_for_the_next_session() -> None:
    """The discovered ones, and which have failed: a dead first server does not use up the time of each try."""
    state: dict[str, Any] = {}
    servers = _servers("nats://a:1", state=state)
    servers.learn(["b:2", "c:3"])
    for server, _ in servers.in_order()[:2]:
        servers.trying(server)
    assert _names(_servers("nats://a:1", state=state)) == ["c:3", "a:1", "b:2"]


def test_one_that_works_again_has_its_place() -> None:
    """One that has failed comes last, the longest ago first, until it works."""
    servers = _servers("nats://a:1", "b:2", "c:3")
    first, second, third = (candidate.server for candidate in servers.in_order())
    servers.trying(second)
    servers.trying(first)
    servers.trying(third)
    assert _names(servers) == ["b:2", "a:1", "c:3"]
    servers.works(first)
    assert _names(servers) == ["a:1", "b:2", "c:3"]
    servers.avoid(first)
    assert _names(servers) == ["b:2", "c:3", "a:1"]


@pytest.mark.parametrize(
    "address",
    ["", "b", "b:0", "b:99999", "b:x", "user:secret@b:1", "b:1/path", "\x1b[31m:1", "a b:1", "\ud800:1", ":1"],
)
def test_what_is_no_address_is_left_out(address: str) -> None:
    """A server may name anything."""
    servers = _servers("nats://a:1")
    servers.learn([address, "[::1]:5", "b:2"])
    assert _names(servers) == ["a:1", "[::1]:5", "b:2"]


def test_not_more_than_some_are_remembered() -> None:
    """A server may name any number of them."""
    servers = _servers("nats://a:1")
    servers.learn([f"b:{port}" for port in range(1, 10_000)])
    assert len(_names(servers)) == 65


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("nats://127.0.0.1:1", ["127.0.0.1:1", "127.0.0.1:2"]),
        ("nats://a:1", ["a:1", "10.0.0.5:3", "127.0.0.1:2"]),
        ("tls://localhost:1", ["localhost:1", "10.0.0.5:3", "127.0.0.1:2"]),
    ],
)
def test_plaintext_does_not_leave_this_machine_by_itself(url: str, names: list[str]) -> None:
    """Nobody has allowed it where all configured servers are on this machine, as behind a proxy that adds TLS."""
    servers = _servers(url)
    servers.learn(["10.0.0.5:3", "127.0.0.1:2"])
    assert _names(servers) == names
    assert {candidate.server.tls for candidate in servers.in_order()} == {url.startswith("tls")}


@pytest.mark.parametrize("server_name", [None, "given"])
def test_the_name_in_the_certificate(server_name: str | None) -> None:
    """A cluster names its servers by address; their certificate carries the name of the configured one."""
    servers = _servers("tls://a:1", "10.0.0.1:1", server_name=server_name)
    servers.learn(["10.0.0.5:3", "c:3"])
    expected = [None, None, "a", None] if server_name is None else ["given"] * 4
    assert [candidate.server_name for candidate in servers.in_order()] == expected
