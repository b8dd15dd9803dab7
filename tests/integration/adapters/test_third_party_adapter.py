"""docs/adapters.md: its code is the tested one, and installed beside the bridge it works like any other adapter."""

import ast
import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import sdk
from bridge.core.endpoint import Endpoint
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.demo import DemoProcess
from tests.support.servers.line_service import line_service
from tests.support.sidecar.sidecar import sidecar
from tests.support.third_party.nemo_bridge_lines import LinesAdapter

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "tests" / "support" / "third_party"
PAGE = (ROOT / "docs" / "adapters.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The page's code blocks in one language; never none."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found


def lines_of(*texts: str) -> list[str]:
    """All lines but the empty ones."""
    return [line for text in texts for line in text.splitlines() if line]


@pytest.fixture
def service() -> Iterator[DemoProcess]:
    """A remote that speaks Lines."""
    with line_service() as running:
        yield running


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which the package is installed: the module, and its metadata as an installer writes it."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))["project"]
    shutil.copy(PACKAGE / "nemo_bridge_lines.py", tmp_path)
    metadata = tmp_path / f"nemo_bridge_lines-{project['version']}.dist-info"
    metadata.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(head)
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
        for group, names in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(groups))
    return os.environ | {"PYTHONPATH": str(tmp_path), "NO_COLOR": "1", "COLUMNS": "120"}


def configuration(service: DemoProcess) -> str:
    """The page's, with the address of this service."""
    text = (PACKAGE / "lines.hcl").read_text("utf-8")
    assert "lines://localhost:7070" in text
    return text.replace("lines://localhost:7070", service.url)


def bridge(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, outside of the checkout's tests."""
    command = [sys.executable, "-m", "bridge", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)


def test_the_page_shows_the_package():
    """All of each file, in its order, and nothing else."""
    assert lines_of(*blocks("python")) == lines_of((PACKAGE / "nemo_bridge_lines.py").read_text("utf-8"))
    assert lines_of(*blocks("toml")) == lines_of((PACKAGE / "pyproject.toml").read_text("utf-8"))
    assert lines_of(*blocks("hcl")) == lines_of((PACKAGE / "lines.hcl").read_text("utf-8"))


def test_it_imports_the_sdk_only():
    """Of the bridge, the package imports `bridge.sdk` and nothing else; all that is public there can be imported."""
    tree = ast.parse((PACKAGE / "nemo_bridge_lines.py").read_text("utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module for module in modules if module and module.startswith("bridge")} == {"bridge.sdk"}
    assert all(hasattr(sdk, name) for name in sdk.__all__)


def test_the_page_shows_the_protocol(service: DemoProcess):
    """What it lets the client send brings what it lets the server answer."""
    (transcript,) = blocks("text")
    with socket.create_connection(("127.0.0.1", service.port), 10) as connection, connection.makefile("rw") as stream:
        for line in lines_of(transcript):
            way, text = line[0], line[2:]
            if way == "→":
                print(text, file=stream, flush=True)
            else:
                assert json.loads(stream.readline()) == json.loads(text)


def test_it_is_listed_as_shown(environ: dict[str, str]):
    """`nemo-bridge adapters` says what the page says, among those in the box."""
    _, _, *shown = lines_of(blocks("console")[0])
    done = bridge(environ, "adapters")
    assert done.returncode == 0, done.stderr
    found = [line.rstrip() for line in lines_of(done.stdout)]
    start = found.index(shown[0])
    assert found[start : start + len(shown)] == shown
    assert any(line.startswith("json-rpc ") for line in found)


def test_it_is_checked(environ: dict[str, str], tmp_path: Path, service: DemoProcess):
    """Its configuration is read with its own model, and `--connect` asks its remote."""
    file = tmp_path / "lines.hcl"
    file.write_text(configuration(service))
    done = bridge(environ, "check", "--connect", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "shed: lines  connected" in done.stdout
    service.kill()
    done = bridge(environ, "check", "--connect", str(file))
    assert done.returncode == 1
    assert "shed: lines  not_connected" in done.stdout


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (("idempotent", "idempotant"), "idempotent"),
        (("lines://", "http://"), "schemes"),
        (('type = "lines"', 'type = "line"'), "lines"),
    ],
)
def test_its_configuration_has_the_same_diagnostics(
    environ: dict[str, str], tmp_path: Path, service: DemoProcess, mistake: tuple[str, str], says: str
):
    """With file and line, and what would be right."""
    file = tmp_path / "lines.hcl"
    file.write_text(configuration(service).replace(*mistake))
    done = bridge(environ, "check", str(file))
    assert done.returncode == 2
    (told,) = (one for one in done.stderr.split("\n\n") if "lines.hcl:" in one)
    assert re.search(says, told)


def test_what_it_cannot_do_is_refused(environ: dict[str, str], tmp_path: Path, service: DemoProcess):
    """Asked for TLS it says no, in place of going on without."""
    file = tmp_path / "lines.hcl"
    text = configuration(service).replace(f'url = "{service.url}"', 'address = "localhost"\n    tls = true')
    file.write_text(text)
    done = bridge(environ, "check", "--connect", str(file))
    assert done.returncode == 2
    assert "TLS" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("garbage", [b"<html>", b"[" * 60_000, b'["ok"]', b"1" * 70_000, b'["ok", 1, "cut off'])
async def test_a_server_that_speaks_something_else(garbage: bytes):
    """Whatever comes, the session is over, the call fails, and both are told once; it is no bug of the adapter."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(garbage + (b"" if garbage.endswith(b"off") else b"\n"))
        writer.close()

    told: list[BridgeError] = []
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        setup = adapter_setup("test", Endpoint(address="127.0.0.1", port=port), on_lost=told.append)
        adapter = Direct(LinesAdapter(setup))
        await adapter.connect()
        with pytest.raises(ConnectionLostError):
            await adapter.request("echo", 1)
        assert [error.kind for error in told] == ["connection_lost"]
        with pytest.raises(NotConnectedError):
            await adapter.request("echo", 2)
        await adapter.disconnect()


async def test_the_sidecar_runs_with_it(environ: dict[str, str], service: DemoProcess):
    """Calls, refusals and messages; its death is seen at once, and after it all is back."""
    with sidecar(configuration(service), environ=environ) as running, running.program() as bus:
        await bus.wait("health.shed", lambda event: event["payload"]["status"] == "connected")
        assert (await bus.request("shed", "echo", {"a": 1}))["result"] == {"a": 1}
        error = (await bus.request("shed", "nonsense"))["error"]
        assert (error["kind"], error["code"]) == ("rejected", "unknown")
        refused = await bus.ask("integration.shed.enqueue", {"queue": "q", "message": 1})
        assert refused["error"]["kind"] == "not_supported"
        refused = await bus.ask("integration.shed.publish", {"topic": "weather", "message": b"\x00"})
        assert refused["error"]["kind"] == "invalid"

        since = bus.mark()
        answer = await bus.ask("integration.shed.publish", {"topic": "weather", "message": "rain"})
        assert answer["result"] == {"receivers": 1}
        event = await bus.wait("data.weather", since=since)
        assert event["payload"] == {"topic": "weather", "message": "rain", "headers": {}}

        service.kill()
        lost = await bus.wait("health.shed", lambda event: event["payload"]["status"] == "disconnected", since=since)
        assert lost["payload"]["error"]["kind"] == "connection_lost"
        with line_service(service.port):
            since = bus.mark()
            await bus.wait("health.shed", lambda event: event["payload"]["status"] == "connected", since=since)
            await bus.ask("integration.shed.publish", {"topic": "weather", "message": "sun"})
            assert (await bus.wait("data.weather", since=since))["payload"]["message"] == "sun"
            running.term()
            assert running.wait() == 0
