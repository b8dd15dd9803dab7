"""A sidecar on a closed bus, as its user runs it: keys by command, TCP, clients of all kinds, a list that changes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.client import BusClient, CurveClient
from bridge.errors import BusError
from tests.support.bus import until
from tests.support.sidecar import Sidecar, short_directory

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


class House:
    """A sidecar that hosts a closed bus on TCP, and the folder of its keys."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.command("keys", "new", "bridge")
        self.command("keys", "new", "till")
        self.command("keys", "authorize", "keys/till.key")
        self.sidecar = Sidecar(directory, _CONFIGURATION)

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
        done = subprocess.run(
            [sys.executable, "-m", "bridge", *words],
            cwd=self.directory,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode == 0) is good, done.stdout
        return done.stdout

    def client(self, name: str, patience: float = 10.0) -> BusClient:
        """A program with a key of the folder."""
        keys = CurveClient.read(self.directory / f"keys/{name}.key_secret", self.directory / "keys/bridge.key")
        return BusClient(*self.endpoints, prefixes=("response.", "resilience."), patience=patience, curve=keys)


@contextmanager
def house() -> Iterator[House]:
    """Up, and gone in the end; it has never shown a secret."""
    with short_directory() as directory:
        here = House(directory)
        try:
            here.ready()
            yield here
        finally:
            here.sidecar.kill()
        assert "Traceback" not in here.sidecar.text, here.sidecar.text
        for file in (directory / "keys").glob("*.key_secret"):
            assert file.read_text().split('secret-key = "')[1][:40] not in here.sidecar.text


async def test_closed_bus_as_its_user_sees_it() -> None:
    """A listed client calls; one that is not is refused until a reload lists it, and again when it is struck off."""
    with house() as here:
        async with here.client("till") as till:
            command = ("integration.facts.request", {"method": "get", "params": {"key": "answer"}})
            assert (await till.ask(*command)).payload["result"] == 42
            here.command("keys", "new", "late")
            with pytest.raises(BusError, match="our key is not listed"):
                async with here.client("late", patience=1.0):
                    pass
            here.command(
                "keys", "authorize", "keys/late.key", "--publish", "integration.facts.*", "--subscribe", "response.**"
            )
            assert (await till.ask("bridge.reload", {})).payload["ok"]
            async with here.client("late") as late:
                assert (await late.ask(*command)).payload["result"] == 42
                (here.directory / "keys/authorized/late.key").unlink()
                here.sidecar.process.send_signal(signal.SIGHUP)
                await until(lambda: here.sidecar.text.count("reloaded") == 2)
                with pytest.raises(TimeoutError):
                    await late.ask(*command, timeout=0.5)
            assert (await till.ask(*command)).payload["result"] == 42


async def test_command_line() -> None:
    """`call` comes in with a key, or with the bridge's own configuration; without any it is told why not."""
    with house() as here:
        place = ["--publish", here.endpoints[0], "--subscribe", here.endpoints[1]]
        call = ["call", "facts", "get", '{"key": "answer"}', *place]
        keys = ["--key", "keys/till.key_secret", "--server-key", "keys/bridge.key"]
        assert here.command(*call, *keys).strip() == "42"
        watched = ["tap", "health.**", "--count", "1", *place, "--config", "bridge.hcl"]
        assert "health." in here.command(*watched)
        assert "a closed bus needs both" in here.command(*call, *keys[:2], good=False)
        assert "one side has CURVE keys" in here.command(*call, good=False)
