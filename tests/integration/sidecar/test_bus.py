"""Whose bus it is: one host at a time, taking over, joining; and rubbish on it that harms nothing."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest
import zmq

from bridge.cli.exit_codes import ExitCode
from tests.support.bus.program import Program
from tests.support.servers.remote import Remote, free_port, remote
from tests.support.sidecar.sidecar import Sidecar, bus_block, json_rpc, short_directory, sidecar
from tests.support.wait import until


@pytest.fixture(scope="module")
def service() -> Iterator[Remote]:
    """The service."""
    with remote() as running:
        yield running


@contextmanager
def _second(directory: Path, text: str) -> Iterator[Sidecar]:
    running = Sidecar(directory, text, name="second")
    try:
        yield running
    finally:
        running.kill()


async def test_a_second_host_is_refused(service: Remote) -> None:
    """One line that names the endpoint and the process, exit code 1; the first one is not disturbed."""
    with sidecar(json_rpc("api", service.url)) as first, first.program() as bus:
        with _second(first.directory, bus_block(first.directory)) as second:
            assert second.wait() == 1
            lines = [line for line in second.text.splitlines() if line]
            assert len(lines) == 1
            assert f"ipc://{first.directory}/p" in lines[0]
            assert str(first.process.pid) in lines[0]
        assert (await bus.request("api", "echo", [1]))["ok"]


async def test_a_stale_socket_is_taken_over(service: Remote) -> None:
    """After kill -9 the sockets lie around; the next sidecar takes them, and programs come back by themselves."""
    with short_directory() as directory:
        text = json_rpc("api", service.url)
        with sidecar(text, directory) as first, first.program() as bus:
            assert (await bus.request("api", "echo", [1]))["ok"]
            first.kill()
            assert (directory / "p").is_socket()
            with sidecar(text, directory) as second:
                since = bus.mark()

                def answered() -> bool:
                    bus.emit("bridge.ping", 1, "again")
                    return bool(bus.seen("response.bridge.ping", since))

                await until(answered)
                assert (await bus.ask("bridge.status", {}))["result"]["bridge"]["pid"] == second.process.pid


async def test_a_second_sidecar_joins(service: Remote) -> None:
    """`mode = "connect"` with another name: each answers for its own, and once."""
    joining = """
bridge {{
  name = "second"
}}
{bus}
{api}
"""
    with sidecar(json_rpc("one", service.url)) as first, first.program() as bus:
        block = bus_block(first.directory, 'mode = "connect"')
        with _second(first.directory, joining.format(bus=block, api=json_rpc("two", service.url))) as second:
            second.ready("bridge/second")
            since = bus.mark()
            health = await bus.wait("health.two", lambda e: e["payload"]["status"] == "connected")
            assert health["source"] == "bridge/second"
            # Each knows the other's integrations from their health, and leaves them to it.
            assert (await bus.request("two", "echo", [2]))["result"] == [2]
            assert (await bus.request("one", "echo", [1]))["result"] == [1]
            answers = bus.seen("response.integration.two.request", since) + bus.seen(
                "response.integration.one.request", since
            )
            assert [one["source"] for one in answers] == ["bridge/second", "bridge"]
            second.term()
            assert second.wait() == 0
        assert (await bus.request("one", "echo", [1]))["ok"]
        assert (await bus.request("two", "echo", [1]))["error"]["kind"] == "unknown_integration"
        assert await bus.wait(
            "health.bridge", lambda e: e["source"] == "bridge/second" and e["payload"]["status"] == "stopped"
        )


async def test_nobody_to_join() -> None:
    """No broker there: one line, and the exit code for it."""
    with short_directory() as directory, _second(directory, bus_block(directory, 'mode = "connect"')) as lonely:
        assert lonely.wait() == ExitCode.NO_ANSWER
        assert len(lonely.text.strip().splitlines()) == 1


def _garbage(size: int) -> Iterator[tuple[bytes, ...]]:
    """Messages that are no events; each must be counted. One with an empty first frame would not reach the bridge."""
    name = b"integration.api.request"
    good = {"id": 1, "event_type": name.decode(), "payload": {"method": "never"}, "timestamp": 1, "source": "x"}
    yield (name,)
    yield (name, msgpack.packb({**good, "correlation_id": None}), b"third")
    yield tuple(b"x" for _ in range(50))
    yield name, b""
    yield name, b"\xc1"
    yield name, b"{}"
    yield name, os.urandom(64)
    yield name, msgpack.packb(good)
    yield name, msgpack.packb([1, name.decode(), None, 1, "x"])
    yield name, msgpack.packb([1, name.decode(), None, 1, "x", None, None])
    yield b"other", msgpack.packb({**good, "correlation_id": None})
    yield b"\xff\xfe", msgpack.packb({**good, "correlation_id": None})
    yield b"bad type", msgpack.packb({**good, "correlation_id": None})
    yield name, msgpack.packb({**good, "correlation_id": 5})
    yield name, msgpack.packb({**good, "correlation_id": None, "id": -1})
    yield name, msgpack.packb({**good, "correlation_id": None, "headers": {"a": 1}})
    yield name, msgpack.packb({**good, "correlation_id": None, "payload": msgpack.ExtType(5, b"x")})
    yield name, msgpack.packb({**good, "correlation_id": None}) + b"more"
    yield name, msgpack.packb({**good, "correlation_id": None})[:-3]
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    yield name, msgpack.packb({**good, "correlation_id": None, "payload": deep})
    yield name, b"\x91" * 50_000
    yield name, b"\xdf\xff\xff\xff\xff"
    yield name, msgpack.packb({**good, "correlation_id": None, "payload": "x" * size})


async def test_each_kind_of_rubbish_is_counted(service: Remote) -> None:
    """Each message is counted once and reported; the next good event is handled as if nothing had been."""
    with sidecar(json_rpc("api", service.url)) as running, running.program() as bus:
        before = (await bus.ask("bridge.status", {}))["result"]["bridge"]["bus"]["rejected"]
        since, count = bus.mark(), 0
        for frames in _garbage(1 << 20):
            bus.raw(*frames)
            count += 1
            assert (await bus.request("api", "echo", [count]))["result"] == [count]
        after = (await bus.ask("bridge.status", {}))["result"]["bridge"]["bus"]["rejected"]
        assert after - before == count
        reasons = {"frames", "size", "type_frame", "type_mismatch", "msgpack", "not_an_event", "missing_key"}
        reasons |= {"mistyped_key", "extension", "depth"}
        # What comes within a second of its like is reported together, and nothing is forgotten.
        said: dict[str, int] = {}

        def all_said() -> bool:
            said.clear()
            for one in bus.seen("resilience.bus.rejected", since):
                said[one["payload"]["reason"]] = said.get(one["payload"]["reason"], 0) + one["payload"]["count"]
            return sum(said.values()) == count

        await until(all_said)
        assert set(said) == reasons
        assert service.calls["never"] == 0


async def test_other_protocols_on_a_tcp_bus(service: Remote) -> None:
    """HTTP and noise on the bus' own ports, and a frame beyond the hard limit, end their connection and no other."""
    publish, subscribe = free_port(), free_port()
    with short_directory() as directory:
        block = f'bus {{\n publish = "tcp://127.0.0.1:{publish}"\n subscribe = "tcp://127.0.0.1:{subscribe}"\n}}\n'
        running = Sidecar(directory, block + json_rpc("api", service.url))
        running.publish, running.subscribe = f"tcp://127.0.0.1:{publish}", f"tcp://127.0.0.1:{subscribe}"
        try:
            running.ready()
            with running.program() as bus:
                since = bus.mark()
                for port in (publish, subscribe):
                    for noise in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(256), b"\xff" * 64, b""):
                        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
                            stranger.sendall(noise)
                    assert (await bus.request("api", "echo", [port]))["result"] == [port]
                await bus.wait("resilience.bus.rejected", lambda e: e["payload"]["reason"] == "handshake", since=since)
                with Program(running.publish, running.subscribe, ("none",)) as huge:
                    huge.raw(b"huge", b"x" * (17 << 20))
                    await bus.wait("resilience.bus.rejected", lambda e: e["payload"]["reason"] == "cut", since=since)
                assert (await bus.request("api", "echo", [1]))["ok"]
        finally:
            running.kill()
        assert "Traceback" not in running.text


async def test_subscribers_that_die_and_stall(service: Remote) -> None:
    """A hundred subscribers that come, never read and go again disturb nobody."""
    with sidecar(json_rpc("api", service.url)) as running, running.program() as bus:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stalled = [context.socket(zmq.SUB) for _ in range(100)]
        for subscriber in stalled:
            subscriber.linger = 0
            subscriber.subscribe("")
            subscriber.connect(running.subscribe)
        for number, subscriber in enumerate(stalled):
            if number % 2:
                subscriber.close()
            assert (await bus.request("api", "echo", [number]))["ok"]
        for subscriber in stalled:
            subscriber.close()
        context.term()
        assert (await bus.request("api", "echo", [1]))["ok"]


async def test_numbers_that_jump_are_told() -> None:
    """By source and how many; a source that begins again at 1 has lost nothing, nor has one without numbers."""
    with sidecar("") as running, running.program() as bus:
        for number in (1, 2, 7, 1, 2):
            bus.emit("data.x", number, headers={"seq": str(number)})
        bus.emit("data.x", 9)
        for number in (3, 5):
            bus.emit("data.x", number, headers={"seq": str(number)}, source="another")
        await bus.wait("resilience.bus.gap", lambda event: event["payload"]["source"] == "another")
        told = [(one["payload"]["source"], one["payload"]["missing"]) for one in bus.seen("resilience.bus.gap")]
        assert told == [(bus.source, 4), ("another", 1)]
        status = await bus.ask("bridge.status")
        assert status["result"]["bridge"]["bus"]["gaps"] == 2


@pytest.mark.parametrize(
    "text", ['bus {\n publish = "ipc:///nowhere/here/p"\n}', 'bus {\n publish = "tcp://0.0.0.0:1"\n}']
)
def test_a_bus_that_cannot_be(text: str) -> None:
    """Endpoints that cannot work end in one line, without a traceback."""
    with short_directory() as directory:
        file = directory / "b.hcl"
        file.write_text(text)
        environ = os.environ | {"XDG_RUNTIME_DIR": str(directory)}
        command = [sys.executable, "-m", "bridge", "run", str(file)]
        if os.geteuid() == 0 and "nowhere" in text:
            file.write_text('bus {\n publish = "ipc:///proc/nowhere/p"\n}')
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode in {1, 2}
    assert len((done.stdout + done.stderr).strip().splitlines()) == 1


async def test_bytes_as_configured() -> None:
    """With `bytes = "bin"` the bridge sends MessagePack's own type; it understands both."""
    with (
        short_directory() as directory,
        _second(directory, bus_block(directory, 'bytes = "bin"')) as running,
        running.ready().program() as program,
    ):
        program.takes_bin = True
        for sent in (b"\x00\xff", {"$bytes": "AP8="}):
            assert (await program.ask("bridge.ping", [sent]))["result"] == [b"\x00\xff"]
