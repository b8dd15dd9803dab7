"""The sidecar ends in time, whatever hangs, and at once where it is told so twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.adapters import stubborn_adapter
from tests.support.servers.silent import silent_server
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory, sidecar
from tests.support.wait import until

#: Seconds that the process has beyond its limits to be gone on a busy machine.
_SLACK = 1.5
#: Connections with one server; few do not hit the moment in which a cancellation is lost.
_MANY = 31
_DEAD = "10.255.255.1:4222"
_PROTOCOLS = {
    "nats": "nats",
    "mqtt": "mqtt",
    "redis": "redis",
    "websocket": "ws",
    "json-rpc": "ws",
    "http": "http",
}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of this test alone."""
    with short_directory() as path:
        yield path


def _integrations(protocol: str, url: str) -> str:
    one = 'integration "i{}" {{\n  type = "{}"\n  endpoint {{\n    url = "{}"\n  }}\n}}\n'
    return "".join(one.format(number, protocol, url) for number in range(_MANY))


def _stubborn(*hang: str, how: str = "swallow", health: str = "") -> str:
    names = ", ".join(f'"{name}"' for name in hang)
    return f"""
integration "api" {{
  type = "stubborn"
  config {{
    hang = [{names}]
    how  = "{how}"
  }}
  health {{
    {health}
  }}
}}
"""


def _until_ready(running: Sidecar) -> None:
    """Return in the very moment in which the log says `ready`; the bus may be out of reach, as the event loop hangs."""
    end = time.monotonic() + 30
    while "ready" not in running.text:
        assert running.process.poll() is None, running.text
        assert time.monotonic() < end, running.text
        time.sleep(0.002)


def _term_at_ready(directory: Path, name: str, text: str) -> tuple[int, str]:
    """Start a sidecar, say SIGTERM in the moment in which it is ready, and return its exit code and log."""
    running = Sidecar(directory, f"{bus_block(directory)}\n{text}", name=name)
    try:
        _until_ready(running)
        running.term()
        return running.wait(2 + _SLACK), running.text
    finally:
        running.kill()


@pytest.mark.parametrize("protocol", _PROTOCOLS)
def test_sigterm_while_connecting(directory: Path, protocol: str) -> None:
    """To a server that accepts and never speaks, and to an address where nobody is; in order, and nothing is cut."""
    with silent_server() as port:
        for number, address in enumerate((f"127.0.0.1:{port}", f"127.0.0.1:{port}", _DEAD)):
            text = _integrations(protocol, f"{_PROTOCOLS[protocol]}://{address}")
            code, log = _term_at_ready(directory, f"b{number}", text)
            assert code == 0, log
            assert "stopped" in log
            assert "cut" not in log


async def test_everything_that_hangs_is_cut_and_named(directory: Path) -> None:
    """`health.bridge` says `stopped`, the call is answered, the log names what was cut, and the exit code is 0."""
    environ = stubborn_adapter.install(directory)
    text = _stubborn("check", "request", "disconnect", health='interval = "1s"')
    with sidecar(text, more='drain_timeout = "300ms"', environ=environ) as running, running.program() as bus:
        await bus.wait("health.api", lambda e: e["payload"]["status"] == "connected")
        bus.emit("integration.api.request", {"method": "hang"}, "held")
        await bus.ask("bridge.ping")
        since, began = bus.mark(), time.monotonic()
        running.term()
        assert (await bus.response("held", since=since))["payload"]["error"]["kind"] == "stopping"
        await bus.wait("health.bridge", lambda e: e["payload"]["status"] == "stopped", since=since)
        assert running.wait(0.3 + 2 + _SLACK) == 0
        assert time.monotonic() - began < 0.3 + 2 + _SLACK
        assert "what=disconnect" in running.text
        assert "what=request" in running.text


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("how", ["swallow", "block"])
async def test_a_second_signal_ends_it_at_once(directory: Path, name: str, code: int, how: str) -> None:
    """The exit code is 128 and the signal's number, also where the event loop itself hangs."""
    environ = stubborn_adapter.install(directory)
    hangs = _stubborn("request" if how == "swallow" else "connect", how=how)
    text = f'bridge {{\n  drain_timeout = "60s"\n}}\n{bus_block(directory)}\n{hangs}'
    running = Sidecar(directory, text, environ=environ)
    try:
        _until_ready(running)
        if how == "swallow":
            with running.program() as bus:
                await bus.ask("bridge.ping")
                bus.emit("integration.api.request", {"method": "hang"})
                await bus.ask("bridge.ping")
            running.term()
            await until(lambda: "stopping" in running.text)
        else:
            running.term()
            time.sleep(0.1)  # noqa: ASYNC251 - the system makes one of two signals that come at the same time
        assert running.process.poll() is None
        running.process.send_signal(getattr(signal, name))
        assert running.wait(_SLACK) == code, running.text
        assert f"{name}, after SIGTERM" in running.text
    finally:
        running.kill()


def test_an_event_loop_that_hangs_does_not_hold_the_end(directory: Path) -> None:
    """The process is ended by force after `drain_timeout` and two seconds; the log says so, and the exit code is 1."""
    environ = stubborn_adapter.install(directory)
    text = f'bridge {{\n  drain_timeout = "300ms"\n}}\n{bus_block(directory)}\n{_stubborn("connect", how="block")}'
    running = Sidecar(directory, text, environ=environ)
    try:
        _until_ready(running)
        began = time.monotonic()
        running.term()
        assert running.wait(0.3 + 2 + _SLACK) == 1
        assert time.monotonic() - began > 2
        assert "ended by force" in running.text
    finally:
        running.kill()


def test_a_thread_that_hangs_does_not_hold_the_end(directory: Path) -> None:
    """As in a name lookup: all is in order, and the exit code is 0."""
    environ = stubborn_adapter.install(directory)
    text = f"{bus_block(directory)}\n{_stubborn('connect', how='thread')}"
    running = Sidecar(directory, text, environ=environ).ready()
    try:
        running.term()
        assert running.wait(2 + _SLACK) == 0
        assert "stopped" in running.text
    finally:
        running.kill()


@pytest.mark.parametrize("how", ["swallow", "thread"])
def test_check_connect_ends_in_time(directory: Path, how: str) -> None:
    """An adapter that hangs fails the check, and does not hold it up."""
    environ = stubborn_adapter.install(directory)
    file = directory / "b.hcl"
    limits = 'resilience {\n  timeout = "200ms"\n}\nhealth {\n    timeout = "200ms"'
    file.write_text(_stubborn("connect", "disconnect", how=how).replace("health {", limits))
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check", "--connect", str(file)],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "no answer within 0.4 s" in done.stdout
