"""Every snippet of the README and of the guides really works; the first minute goes as it is written."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from bridge.bus.address import default_publish, default_subscribe, runtime_directory
from bridge.cli.init import recipes
from bridge.cli.main import app
from bridge.cli.mock import Options, make_plan
from bridge.cli.sidecar import read
from bridge.client import BusClient
from bridge.config import load
from bridge.registry import AdapterRegistry
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.redis_server import redis_server
from tests.support.servers.remote import free_port
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import short_directory
from tests.support.wait import PATIENCE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
#: The README, and the guides that continue it.
GUIDES = README + "".join(
    (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    for name in ("configuration", "messages", "delivery", "programs", "contract", "operation", "security")
)
EXAMPLE = ROOT / "examples" / "json-rpc.hcl"
NEMO_BRIDGE = [sys.executable, "-m", "bridge"]


def blocks(language: str) -> list[str]:
    """The code blocks of the README and the guides in one language; never none."""
    found = re.findall(rf"^```{language}\n(.*?)^```", GUIDES, re.MULTILINE | re.DOTALL)
    assert found
    return found


def commands() -> list[list[str]]:
    """The shell lines of the README and the guides, as words."""
    return [
        words for block in blocks("sh") for line in block.splitlines() if (words := shlex.split(line, comments=True))
    ]


def first_minute() -> list[str]:
    """The shell lines of the first minute."""
    text = README.partition("\n## The first minute\n")[2].partition("\n## ")[0]
    return "".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).splitlines()


@dataclass(frozen=True)
class User:
    """A user whose sidecar runs at the default sockets: the working directory and the environment."""

    directory: Path
    environ: dict[str, str]

    def run(self, *command: str) -> str:
        """Run a command in the configuration's directory and return its output; fail where its exit code is not 0."""
        if list(command[: len(NEMO_BRIDGE)]) == NEMO_BRIDGE:
            done = fork_server.run(*command[len(NEMO_BRIDGE) :], cwd=self.directory, environ=self.environ)
        else:
            done = subprocess.run(
                command,
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        return output

    @contextmanager
    def running(self, *command: str) -> Iterator[Path]:
        """Run a command that does not end by itself; yield the file of its output, and end it by SIGTERM in order."""
        output = self.directory / f"output-{len(list(self.directory.iterdir()))}"
        with (
            output.open("wb") as printed,
            subprocess.Popen(command, cwd=self.directory, env=self.environ, stdout=printed, stderr=printed) as process,
        ):
            try:
                yield output
            except BaseException:
                process.kill()
                raise
            process.terminate()
            assert process.wait(PATIENCE) == 0, output.read_text()

    def bus_is_ready(self) -> None:
        """Wait until the sidecar says that it is ready."""
        wait_until((self.directory / "nemo" / "bus-subscribe.sock").exists)
        self.run(*NEMO_BRIDGE, "tap", "health.bridge", "--count", "1")

    def bus(self, source: str) -> BusClient:
        """Return a client of the bus, for a program with this source."""
        sockets = f"ipc://{self.directory}/nemo/bus-"
        return BusClient(f"{sockets}publish.sock", f"{sockets}subscribe.sock", source=source, prefixes=("",))


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def some_user(**environ: str) -> Iterator[User]:
    """Yield a user with an empty working directory, whose commands are those of this environment."""
    with short_directory() as directory:
        own = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "XDG_RUNTIME_DIR": str(directory),
            "XDG_STATE_HOME": str(directory / "state"),
            "API_TOKEN": "secret",
            "NO_COLOR": "1",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NEMO_BUS_")}
        yield User(directory, inherited | own | environ)


@contextmanager
def running_sidecar(text: str, *arguments: str) -> Iterator[User]:
    """Run a sidecar with this configuration; yield its user."""
    with some_user() as user:
        (user.directory / "shop.hcl").write_text(text)
        with user.running(*NEMO_BRIDGE, "run", "shop.hcl", *arguments):
            user.bus_is_ready()
            yield user


@dataclass(frozen=True)
class Newcomer(User):
    """A user after the first minute, with the bridge and the stand-in at work.

    Attributes:
        told: What the commands that ended have said, by command.
        calls: The output of the stand-in.
        log: The output of the bridge.
    """

    told: dict[str, str]
    calls: Path
    log: Path


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    """Do what the README says in the first minute, line by line, with a free port in place of the recipe's."""
    told, outputs = {}, []
    with some_user(SHOP_URL=f"http://127.0.0.1:{free_port()}") as user, ExitStack() as running:
        for line in first_minute():
            command = ("sh", "-c", f"exec {line}")
            match shlex.split(line)[1]:
                case "mock":
                    outputs.append(running.enter_context(user.running(*command)))
                    wait_until(lambda: "Each call" in outputs[0].read_text())
                case "run":
                    outputs.append(running.enter_context(user.running(*command)))
                    user.bus_is_ready()
                case _:
                    told[line] = user.run(*command)
        calls, log = outputs
        yield Newcomer(user.directory, user.environ, told, calls, log)


@pytest.fixture(scope="module")
def example() -> Iterator[User]:
    """Run the example with a stand-in for its service."""
    text = EXAMPLE.read_text("utf-8")
    api = f"http://127.0.0.1:{free_port()}"
    configuration = load(
        [EXAMPLE], adapters=AdapterRegistry(), variables={"api_url": api}, environ={"API_TOKEN": "secret"}
    )
    (place,) = make_plan(configuration, Options()).places
    listener = place.listen(lambda _, __: None)
    listener.start()
    try:
        with running_sidecar(text, "--var", f"api_url={api}") as user:
            user.run(*NEMO_BRIDGE, "tap", "health.shop", "--count", "1")
            yield user
    finally:
        listener.stop()


@pytest.fixture(params=["newcomer", "example"])
def user(request: pytest.FixtureRequest) -> User:
    """Return the user of the README's configuration, or of the example."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, User)
    return found


def test_the_first_minute(newcomer: Newcomer) -> None:
    """The file is there, the event is answered, and the stand-in shows the call as the README does."""
    written, answered = (newcomer.told[line] for line in first_minute() if line in newcomer.told)
    assert "wrote shop.hcl" in written
    assert (newcomer.directory / "shop.hcl").read_text() == recipes()["json-rpc"].text
    assert '"number": 1' in answered
    shown = blocks("text")[0].strip()
    assert shown in newcomer.calls.read_text()
    assert "Traceback" not in newcomer.log.read_text()


def test_the_configuration_is_the_recipe() -> None:
    """The guide shows what `init` writes, without its first comment and its tests."""
    text, mark, _ = recipes()["json-rpc"].text.partition("\n# Tests ")
    assert mark
    assert blocks("hcl")[0] == text.partition("\n\n")[2]


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
def test_command_works(newcomer, words):
    """Each command does what it says; those with a life of their own are only looked up."""
    match words[1]:
        case "init" | "mock" | "run" | "demo":  # the first minute, and the demo's own test
            assert words[1] in get_command(app).commands
        case "tap":
            assert "health." in newcomer.run(*NEMO_BRIDGE, *words[1:], "--count", "1")
        case "check":
            assert newcomer.run(*NEMO_BRIDGE, *words[1:]).startswith("ok: 1 integration")
        case _:
            newcomer.run(*NEMO_BRIDGE, *words[1:])


def test_other_commands_exist():
    """Scripts are there and can be started; the rest are a reader's usual tools."""
    others = [words for words in commands() if words[0] != "nemo-bridge"]
    scripts = {words[0] for words in others if words[0].startswith("scripts/")}
    assert {words[0] for words in others} - scripts == {"pip", "pipx"}
    assert scripts >= {"scripts/demo", "scripts/test"}
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
    bash = shutil.which("bash")
    assert bash is not None
    for script in scripts:
        subprocess.run([bash, "-n", ROOT / script], check=True)


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
