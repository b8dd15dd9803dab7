"""Which endpoints are valid, and which are the defaults."""

from pathlib import Path

import pytest
import zmq

from bridge.bus import address
from bridge.bus.address import check_reachable, default_publish, default_subscribe, parse_endpoint, parse_pair
from bridge.core.errors import BusError


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("ipc:///run/x/bus.sock", "ipc:///run/x/bus.sock"),
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
        ("tcp://localhost:5555", "tcp://127.0.0.1:5555"),
        ("tcp://bus.localhost:5555", "tcp://127.0.0.1:5555"),
        ("tcp://[::1]:5555", "tcp://[::1]:5555"),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:*"),
        ("tcp://[::1]:*", "tcp://[::1]:*"),
    ],
)
def test_good(text: str, endpoint: str) -> None:
    """Ipc paths and loopback TCP are valid, also with any free port."""
    assert parse_endpoint(text).endpoint == endpoint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tcp://0.0.0.0:5555", "CURVE"),
        ("tcp://*:5555", "CURVE"),
        ("tcp://192.168.1.5:5555", "CURVE"),
        ("tcp://example.com:5555", "CURVE"),
        ("tcp://[::]:5555", "CURVE"),
        ("tcp://127.0.0.1", "write tcp"),
        ("tcp://127.0.0.1:99999", "[Pp]ort"),
        ("tcp://127.0.0.1:x", "[Pp]ort"),
        ("tcp://127.0.0.1:5/path", "write tcp"),
        ("tcp://127.0.0.1:1;127.0.0.1:2", "[Pp]ort"),
        ("ipc://relative/bus.sock", "absolute"),
        ("ipc://@abstract", "absolute"),
        ("ipc://*", "absolute"),
        ("ipc:///" + "x" * 107, "107 at most"),
        ("ipc:///a\0b", "NUL"),
        ("inproc://x", "write ipc"),
        ("nonsense", "write ipc"),
        ("", "write ipc"),
    ],
)
def test_bad(text: str, why: str) -> None:
    """Everything else is refused, and the error tells why."""
    with pytest.raises(BusError, match=why):
        parse_endpoint(text)


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.168.1.5:*", "tcp://example.com:5555", "tcp://[::]:5555"],
)
def test_closed(endpoint: str) -> None:
    """With keys, TCP beyond loopback is valid."""
    assert parse_endpoint(endpoint, closed=True).endpoint == endpoint


@pytest.mark.parametrize("endpoint", ["tcp://*:5555", "tcp://127.0.0.1:*", "tcp://127.0.0.1:0"])
def test_unreachable(endpoint: str) -> None:
    """An endpoint with any port or any address is only for binding."""
    with pytest.raises(BusError, match="nobody can connect"):
        check_reachable(parse_endpoint(endpoint, closed=True))


def test_path_may_fill_the_socket_address() -> None:
    """A path may have 107 bytes; bytes are counted, not letters."""
    assert parse_endpoint("ipc:///" + "x" * 106).path is not None
    with pytest.raises(BusError, match="108 bytes"):
        parse_endpoint("ipc:///" + "ü" * 53 + "x")


def test_pair_must_differ() -> None:
    """Both endpoints must differ, except where both are any free port."""
    with pytest.raises(BusError, match="both"):
        parse_pair("ipc:///run/a", "ipc:///run/a")
    parse_pair("tcp://127.0.0.1:*", "tcp://127.0.0.1:*")


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The defaults lie in the user's or the platform's runtime directory; without ipc they are loopback TCP."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_publish() == f"ipc://{tmp_path}/nemo/bus-publish.sock"
    assert default_subscribe() == f"ipc://{tmp_path}/nemo/bus-subscribe.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_publish().endswith("/nemo/bus-publish.sock")
    parse_pair(default_publish(), default_subscribe())
    monkeypatch.setattr(address.zmq, "has", lambda feature: feature != "ipc")
    assert default_publish().startswith("tcp://127.0.0.1:")
    parse_pair(default_publish(), default_subscribe())
    assert zmq.has("ipc") is False
    with pytest.raises(BusError, match="no ipc"):
        parse_endpoint("ipc:///run/a")
