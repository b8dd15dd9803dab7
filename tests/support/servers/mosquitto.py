"""A real Mosquitto as a process of its own, on a free port of loopback, so that tests can kill and freeze it."""

import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.servers.programs import freeze, on_path
from tests.support.servers.remote import free_port

#: Debian puts it where only root's PATH looks.
PROGRAM = on_path("mosquitto")


def _program() -> str:
    if PROGRAM is None:
        assert os.environ.get("CI") != "true", "mosquitto is not installed"
        pytest.skip("mosquitto is not installed (Debian: mosquitto)")
    return PROGRAM


@dataclass
class Mosquitto:
    """A broker; `start` and `kill` as often as one likes, on the same port."""

    port: int
    folder: Path
    lines: Sequence[str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start it and wait until it listens."""
        config = self.folder / "mosquitto.conf"
        # Started by root it would become another user, who may not write here.
        own = [f"user {getpass.getuser()}", f"persistence_location {self.folder}/"]
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *self.lines, *own, ""]))
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen([_program(), "-c", str(config)], stdout=log, stderr=log)
        self.processes.append(process)
        end = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "mosquitto does not listen"
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def stop(self) -> None:
        """SIGTERM, which makes it write down what it keeps, and wait until it is gone."""
        self.processes[-1].terminate()
        self.processes.pop().wait()

    def freeze(self) -> None:
        """SIGSTOP."""
        for process in self.processes:
            freeze(process)

    def thaw(self) -> None:
        """SIGCONT."""
        for process in self.processes:
            process.send_signal(signal.SIGCONT)

    @property
    def url(self) -> str:
        """Where it listens, in plain MQTT."""
        return f"mqtt://127.0.0.1:{self.port}"


@contextmanager
def mosquitto(*lines: str, anonymous: bool = True) -> Iterator[Mosquitto]:
    """Start a broker with these lines in its configuration (first those of the listener); kill it in the end."""
    with TemporaryDirectory() as folder:
        listener = [f"allow_anonymous {str(anonymous).lower()}"]
        broker = Mosquitto(free_port(), Path(folder), [*lines, *listener])
        try:
            broker.start()
            yield broker
        finally:
            broker.thaw()
            broker.kill()
