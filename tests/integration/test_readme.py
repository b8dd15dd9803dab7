"""Every snippet of the README, and the example, really works."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from bridge.bus.address import default_publish, default_subscribe, runtime_directory
from bridge.cli.main import app
from bridge.cli.sidecar import read
from bridge.client import BusClient
from tests.support.bus.curve import KeyRing
from tests.support.servers.demo import demo_service
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.redis_server import redis_server
from tests.support.sidecar.sidecar import short_directory

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLE = ROOT / "examples" / "json-rpc.hcl"
TOKEN = "secret"  # the README's own
NEMO_BRIDGE = [sys.executable, "-m", "bridge"]


def blocks(language: str) -> list[str]:
    """The README's code blocks in one language; never none."""
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found
    return found


def commands() -> list[list[str]]:
    """The README's shell lines, as words."""
    return [
        words for block in blocks("sh") for line in block.splitlines() if (words := shlex.split(line, comments=True))
    ]


def shop() -> str:
    """The configuration that the README asks its reader to save."""
    return next(block for block in blocks("hcl") if "integration" in block)


@dataclass(frozen=True)
class User:
    """A user whose sidecar runs at the default sockets: the working directory and the environment."""

    directory: Path
    environ: dict[str, str]

    def run(self, *command: str) -> str:
        """Run a command in the configuration's directory and return its output; fail where its exit code is not 0."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def bus(self, source: str) -> BusClient:
        """Return a client of the bus, for a program with this source."""
        sockets = f"ipc://{self.directory}/nemo/bus-"
        return BusClient(f"{sockets}publish.sock", f"{sockets}subscribe.sock", source=source, prefixes=("",))


@contextmanager
def running_sidecar(text: str, *arguments: str) -> Iterator[User]:
    """Run a sidecar with this configuration; yield its user."""
    with short_directory() as directory:
        (directory / "shop.hcl").write_text(text)
        environ = os.environ | {"XDG_RUNTIME_DIR": str(directory), "API_TOKEN": TOKEN, "NO_COLOR": "1"}
        for name in ("NEMO_BUS_PUBLISH", "NEMO_BUS_SUBSCRIBE"):
            environ.pop(name, None)
        user = User(directory, environ)
        command = [*NEMO_BRIDGE, "run", "shop.hcl", *arguments]
        with subprocess.Popen(command, cwd=directory, env=environ, stdout=subprocess.DEVNULL) as sidecar:
            try:
                end = time.monotonic() + 15
                while not (directory / "nemo" / "bus-subscribe.sock").exists():
                    assert sidecar.poll() is None, "the sidecar did not start"
                    assert time.monotonic() < end, "the sidecar opened no bus"
                    time.sleep(0.01)
                user.run(*NEMO_BRIDGE, "tap", "health.bridge", "--count", "1")
                yield user
            finally:
                sidecar.terminate()


@pytest.fixture(scope="module", params=["readme", "example"])
def user(request: pytest.FixtureRequest) -> Iterator[User]:
    """Run the README's configuration, or the example, with a service that requires its token."""
    with demo_service("--token", TOKEN) as service:
        text = shop() if request.param == "readme" else EXAMPLE.read_text("utf-8")
        with running_sidecar(text, "--var", f"api_url={service.url.removesuffix('/rpc')}") as user:
            user.run(*NEMO_BRIDGE, "tap", "health.shop", "--count", "1")
            yield user


@pytest.mark.parametrize("block", blocks("hcl"))
def test_configuration_loads(block, tmp_path, monkeypatch):
    """Each HCL block stands as a file of its own."""
    monkeypatch.setenv("API_TOKEN", TOKEN)
    if "curve {" in block:
        KeyRing(tmp_path / "keys")
    file = tmp_path / "block.hcl"
    file.write_text(block)
    assert read([file]).ignored == {}


def test_example_loads():
    """The example has one integration and its routes."""
    found = read([EXAMPLE])
    assert list(found.integrations) == ["shop"]
    assert [route.name for route in found.routes] == ["orders", "audit"]
    assert found.warnings == ()


CALL, BROKERS, ZEROMQ = blocks("python")


def test_python_with_brokers_runs():
    """The snippet on topics and queues prints what it has sent through Mosquitto and Redis."""
    with mosquitto() as mqtt, redis_server() as redis:
        text = f'''
integration "events" {{
  type = "mqtt"
  endpoint {{
    url = "{mqtt.url}"
  }}
}}

integration "jobs" {{
  type = "redis"
  endpoint {{
    url = "redis://127.0.0.1:{redis.port}"
  }}
}}
'''
        with running_sidecar(text) as user:
            output = user.run(sys.executable, "-W", "error", "-c", BROKERS)
    assert output.splitlines() == ["orders/new {'id': 8}", "{'order': 8}"]


@pytest.mark.parametrize("snippet", [CALL, ZEROMQ], ids=["client", "zeromq"])
def test_python_runs(user, snippet):
    """Each Python snippet prints an answer of the live sidecar."""
    output = user.run(sys.executable, "-W", "error", "-c", snippet)
    assert "'id': 8" in output or "'hello'" in output, output


async def test_event_is_answered_as_shown(user):
    """The event in JSON, put on the bus, brings the answer in JSON, key by key, and the route's own event."""
    emitted, answer = (json.loads(block) for block in blocks("json"))
    assert tuple(emitted) == ("id", "event_type", "payload", "timestamp", "source", "correlation_id")
    bus = user.bus("nemo")
    with bus.listen() as events:
        async with bus:
            bus.emit(emitted["event_type"], emitted["payload"], correlation_id=emitted["correlation_id"])
            found = {}
            while not {"response.order.created", "order.confirmed"} <= found.keys():
                event = await events.get()
                found[event.event_type] = event
    response = found["response.order.created"]
    assert response.correlation_id == emitted["correlation_id"]
    assert response.payload.keys() == answer.keys()
    changing = {"duration_ms": response.payload["duration_ms"]}
    result = answer["result"] | {"number": response.payload["result"]["number"]}
    assert response.payload == answer | changing | {"result": result}
    assert found["order.confirmed"].payload == result


@pytest.mark.parametrize("words", [words for words in commands() if words[0] == "nemo-bridge"], ids=" ".join)
def test_command_works(user, words):
    """Each command of the README does what it says; those with a life of their own are only looked up."""
    match words[1]:
        case "run" | "demo":
            assert words[1] in get_command(app).commands
        case "tap":
            assert "health." in user.run(*NEMO_BRIDGE, *words[1:], "--count", "1")
        case "check":
            assert user.run(*NEMO_BRIDGE, *words[1:]).startswith("ok: 1 integration")
        case _:
            user.run(*NEMO_BRIDGE, *words[1:])


def test_other_commands_exist():
    """Scripts are there and can be started; the rest are a reader's usual tools."""
    others = [words for words in commands() if words[0] != "nemo-bridge"]
    scripts = {words[0] for words in others if words[0].startswith("scripts/")}
    assert {words[0] for words in others} - scripts == {"pip", "pipx", "export"}
    assert scripts >= {"scripts/demo", "scripts/test"}
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
    bash = shutil.which("bash")
    assert bash is not None
    for script in scripts:
        subprocess.run([bash, "-n", ROOT / script], check=True)


def test_links_lead_somewhere():
    """Each link to a file of the project finds it."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_plain_zeromq_finds_the_default_sockets(tmp_path, monkeypatch):
    """Also where XDG_RUNTIME_DIR is not set, the snippet's addresses are those of the bridge."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    directory = runtime_directory()
    if not directory.is_relative_to(tmp_path):
        pytest.skip("this user has a runtime directory, which a running bridge may be using")
    directory.mkdir(parents=True)
    found: dict[str, Any] = {}
    exec(ZEROMQ[: ZEROMQ.index("context = ")], found)
    assert f"{found['sockets']}publish.sock" == default_publish()
    assert f"{found['sockets']}subscribe.sock" == default_subscribe()
