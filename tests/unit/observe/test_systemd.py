"""Show what the service manager is told, over a real datagram socket."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from bridge.contract import examples
from bridge.core.clock import RealClock
from bridge.core.payloads import BridgeHealth
from bridge.observe.observer import Observer
from bridge.observe.systemd import ServiceManager


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """The service manager's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        end.settimeout(5)
        yield end


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of its socket."""
    return str(tmp_path / "notify") if request.param == "path" else f"@nemo-bridge-test-{os.getpid()}"


def test_each_word(address):
    """Each state is told, a reload with the time on systemd's clock, and each change of status once."""
    with listening(address) as end:
        manager = ServiceManager({"NOTIFY_SOCKET": address})
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        manager.ready()
        manager.reloading()
        manager.status("one\nline")
        manager.status("one line")
        manager.alive()
        manager.stopping()
        said = [end.recv(4096).decode() for _ in range(5)]
        manager.close()
        manager.ready()
    assert [said[0], *said[2:]] == ["READY=1", "STATUS=one line", "WATCHDOG=1", "STOPPING=1"]
    reloading, at = said[1].split("\n")
    assert reloading == "RELOADING=1"
    assert before <= int(at.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_nobody_listens(environ):
    """Without a socket, or with one of another kind, nothing happens."""
    manager = ServiceManager(environ | {"WATCHDOG_USEC": "1000000"})
    manager.ready()
    assert manager.watchdog is None


def test_it_is_gone(tmp_path):
    """A service manager that is gone is no error."""
    address = str(tmp_path / "notify")
    with listening(address):
        manager = ServiceManager({"NOTIFY_SOCKET": address})
    manager.ready()
    manager.close()


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog(more, wanted):
    """The watchdog's time is in seconds, and applies only to the process that it names."""
    manager = ServiceManager({"NOTIFY_SOCKET": "/nowhere"} | more)
    assert manager.watchdog == wanted
    manager.close()


@pytest.mark.parametrize("listens", [False, True])
def test_a_change_does_not_make_the_status_of_all_integrations(tmp_path: Path, listens: bool):
    """The service manager is told from the bridge's own state: at each change of each integration all took minutes."""
    read = []
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(5)
        observer = Observer(
            lambda: read.append(1) or {},
            dict,
            lambda: True,
            lambda: None,
            listen=None,
            hosts=(),
            must_listen=False,
            environ={"NOTIFY_SOCKET": str(path)} if listens else {},
            clock=RealClock(),
        )
        states = {"a": "connected", "b": "disconnected"}
        observer.changed(msgspec.convert(examples.BRIDGE | {"integrations": states}, BridgeHealth))
        if listens:
            assert manager.recv(100) == b"STATUS=ready; 1 of 2 integrations connected; b: disconnected"
            assert manager.recv(100) == b"READY=1"
        observer._manager.close()
    assert not read
