"""The demo service, and others, as processes of their own, so that tests can kill and freeze them."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_ROOT = Path(__file__).parents[3]


@dataclass
class DemoProcess:
    """A running service; `url` is where it answers."""

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """The port it listens on."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it still accepts connections, by the kernel's hand, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def demo_service(*arguments: str, port: int = 0) -> Iterator[DemoProcess]:
    """Start the service with these arguments, wait until it listens, kill it in the end."""
    with service_process("bridge.cli.demo_service", "--port", str(port), *arguments) as service:
        yield service


@contextmanager
def service_process(module: str, *arguments: str) -> Iterator[DemoProcess]:
    """A module that prints its URL as soon as it listens; killed in the end."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert "://" in url, f"the service printed {url!r}"
            yield DemoProcess(url, process)
        finally:
            process.kill()
