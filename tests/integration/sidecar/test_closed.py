"""A sidecar on a closed bus, as its user runs it: keys by command, TCP, clients of all kinds, a list that changes."""

import asyncio
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.client import BusClient, CurveClient, PubSubClient, QueueClient, RpcClient
from bridge.core.errors import BusError
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.redis_server import redis_server
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import Sidecar, short_directory
from tests.support.wait import until

_CONFIGURATION = """
bridge {
  status = null
}
bus {
  publish   = "tcp://0.0.0.0:*"
  subscribe = "tcp://0.0.0.0:*"
  curve {
    secret_key      = "keys/bridge.key_secret"
    authorized_keys = "keys/authorized"
  }
}
integration "facts" {
  type = "static"
  config {
    values = { answer = 42 }
  }
}
"""


class ClosedBus:
    """A sidecar that hosts a closed bus on TCP, and the folder of its keys."""

    def __init__(self, directory: Path, rights: Sequence[str], more: str) -> None:
        self.directory = directory
        self.command("keys", "new", "bridge")
        self.command("keys", "new", "till")
        self.command("keys", "authorize", "keys/till.key", *rights)
        self.sidecar = Sidecar(directory, _CONFIGURATION + more)

    def ready(self) -> None:
        """Wait until it says where its bus is."""
        end = time.monotonic() + 15
        while "subscribe=" not in self.sidecar.text:
            assert self.sidecar.process.poll() is None, self.sidecar.text
            assert time.monotonic() < end, self.sidecar.text
            time.sleep(0.01)
        words = dict(
            word.split("=", 1) for word in self.sidecar.text.split() if word.startswith(("publish=", "subscri"))
        )
        self.endpoints = [words[name].replace("0.0.0.0", "127.0.0.1") for name in ("publish", "subscribe")]

    def command(self, *words: str, good: bool = True) -> str:
        """Run `nemo-bridge` where the keys are; its output."""
        done = fork_server.run(*words, cwd=self.directory)
        output = done.stdout + done.stderr
        assert (done.returncode == 0) is good, output
        return output

    def client(self, name: str, patience: float = 10.0, prefixes: Sequence[str] = ("response.",)) -> BusClient:
        """A program with a key of the folder."""
        keys = CurveClient.read(self.directory / f"keys/{name}.key_secret", self.directory / "keys/bridge.key")
        return BusClient(*self.endpoints, prefixes=prefixes, patience=patience, curve=keys)


@contextmanager
def closed_bus(rights: Sequence[str] = (), more: str = "") -> Iterator[ClosedBus]:
    """Up, and gone in the end; it has never shown a secret."""
    with short_directory() as directory:
        closed = ClosedBus(directory, rights, more)
        try:
            closed.ready()
            yield closed
        finally:
            closed.sidecar.kill()
        assert "Traceback" not in closed.sidecar.text, closed.sidecar.text
        for file in (directory / "keys").glob("*.key_secret"):
            assert file.read_text().split('secret-key = "')[1][:40] not in closed.sidecar.text


async def test_closed_bus_as_its_user_sees_it() -> None:
    """A listed client calls; one that is not is refused until a reload lists it, and again when it is struck off."""
    with closed_bus() as closed:
        async with closed.client("till") as till:
            command = ("integration.facts.request", {"method": "get", "params": {"key": "answer"}})
            assert (await till.ask(*command)).payload["result"] == 42
            closed.command("keys", "new", "late")
            with pytest.raises(BusError, match="our key is not listed"):
                async with closed.client("late", patience=1.0):
                    pass
            closed.command(
                "keys", "authorize", "keys/late.key", "--publish", "integration.facts.*", "--subscribe", "response.**"
            )
            assert (await till.ask("bridge.reload", {})).payload["ok"]
            async with closed.client("late") as late:
                assert (await late.ask(*command)).payload["result"] == 42
                (closed.directory / "keys/authorized/late.key").unlink()
                closed.sidecar.process.send_signal(signal.SIGHUP)
                await until(lambda: closed.sidecar.text.count("reloaded") == 2)
                with pytest.raises(TimeoutError):
                    await late.ask(*command, timeout=0.5)
            assert (await till.ask(*command)).payload["result"] == 42


async def test_a_renewed_key_waits_for_a_restart() -> None:
    """A plan and each reload name it until then, with the key that names the file; the list of keys needs none."""
    with closed_bus() as closed:
        async with closed.client("till") as till:
            assert (await till.ask("bridge.reload", {})).payload["result"]["needs_restart"] == []
            closed.command("keys", "new", "bridge", "--into", "renewed")
            secret = closed.directory / "keys" / "bridge.key_secret"
            (closed.directory / "renewed" / "bridge.key_secret").replace(secret)
            for command in ({"dry_run": True}, {}, {}):
                plan = (await till.ask("bridge.reload", command)).payload["result"]
                assert plan["needs_restart"] == ["bus"]
                assert plan["settings"] == {
                    "bus": {"curve.secret_key": [str(secret), f"{secret} (its content has changed)"]}
                }


async def test_command_line() -> None:
    """`call` comes in with a key, or with the bridge's own configuration; without any it is told why not."""
    with closed_bus() as closed:
        place = ["--publish", closed.endpoints[0], "--subscribe", closed.endpoints[1]]
        call = ["call", "facts", "get", '{"key": "answer"}', *place]
        keys = ["--key-file", "keys/till.key_secret", "--server-key", "keys/bridge.key"]
        assert closed.command(*call, *keys).strip() == "42"
        watched = ["tap", "health.**", "--count", "1", *place, "--config", "bridge.hcl"]
        assert "health." in closed.command(*watched)
        assert "a closed bus needs both" in closed.command(*call, *keys[:2], good=False)
        assert "CURVE keys" in closed.command(*call, good=False)


async def test_emit_knows_who_takes_an_event() -> None:
    """What the routes of the bridge take shows on a closed bus, too, and what comes of an event can be waited for."""
    route = """
route "answers" {
  on          = ["question.*"]
  integration = "facts"
  operation   = "request"
  method      = "get"
  params      = { key = event.payload }
}
"""
    with closed_bus(more=route) as closed:
        place = ["--publish", closed.endpoints[0], "--subscribe", closed.endpoints[1]]
        keys = ["--key-file", "keys/till.key_secret", "--server-key", "keys/bridge.key"]
        assert closed.command("emit", "question.asked", '"answer"', *place, *keys) == ""
        assert "did you mean 'question.asked'?" in closed.command("emit", "qestion.asked", *place, *keys)
        assert '"result": 42' in closed.command("emit", "question.asked", '"answer"', "--wait", *place, *keys)


def _documented_rights() -> list[str]:
    """What the guide to security grants the program of its example."""
    text = (Path(__file__).parents[3] / "docs" / "security.md").read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("nemo-bridge keys authorize keys/till.key "))
    return shlex.split(line)[4:]


_NARROW = ["--publish", "integration.*.*", "--subscribe", "response.integration.**", "--subscribe", "health.bridge"]


@pytest.mark.parametrize(
    ("rights", "prefixes"), [(_documented_rights(), ("response.",)), (_NARROW, ())], ids=["documented", "narrow"]
)
async def test_clients_of_all_patterns(rights: list[str], prefixes: Sequence[str]) -> None:
    """RPC, Pub/Sub and queues work with no more rights than the guide names, and nothing that they do is refused."""
    with mosquitto() as mqtt, redis_server() as redis:
        more = "".join(
            f'integration "{name}" {{\n  type = "{kind}"\n  endpoint {{\n    url = "{url}"\n  }}\n}}\n'
            for name, kind, url in (
                ("events", "mqtt", mqtt.url),
                ("jobs", "redis", f"redis://127.0.0.1:{redis.port}"),
            )
        )
        with closed_bus(rights, more) as closed:
            async with closed.client("till", prefixes=prefixes) as till:
                assert await RpcClient(till, "facts").call("get", {"key": "answer"}) == 42
                events, jobs = PubSubClient(till, "events"), QueueClient(till, "jobs")
                async with events.subscribe("orders/#") as messages:
                    await events.publish("orders/new", {"id": 8})
                    assert (await messages.get()).message == {"id": 8}
                await jobs.enqueue("invoices", {"order": 8})
                async for job in jobs.messages("invoices"):
                    async with job:
                        assert job.message == {"order": 8}
                    break
            async with closed.client("bridge") as owner:
                status = (await owner.ask("bridge.status", {})).payload["result"]
                assert status["bridge"]["bus"]["rejected"] == 0


async def test_a_bus_that_closes_each_connection_in_the_handshake() -> None:
    """The client tells what is likely, and not that nobody is there, where libzmq does not say what failed."""

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    servers = [await asyncio.start_server(close, "127.0.0.1", 0) for _ in range(2)]
    endpoints = [f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    async with servers[0], servers[1]:
        with pytest.raises(BusError, match=r"closed in the handshake; has the bus CURVE keys"):
            async with BusClient(*endpoints, patience=0.5):
                pytest.fail("nobody hosts a bus there")
