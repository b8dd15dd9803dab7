"""Run the demo service, and others, as processes that tests can kill and freeze."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.servers.programs import freeze

_ROOT = Path(__file__).parents[3]


@dataclass
class DemoProcess:
    """A running service; `url` is its address."""

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Return the port on which it listens."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def kill(self) -> None:
        """Send SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Send SIGSTOP: the kernel still accepts connections, and nothing is answered."""
        freeze(self.process)

    def thaw(self) -> None:
        """Send SIGCONT."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def demo_service(*arguments: str, port: int = 0) -> Iterator[DemoProcess]:
    """Start the service with these arguments, wait until it listens, and kill it at the end."""
    with service_process("bridge.cli.demo_service", "--port", str(port), *arguments) as service:
        yield service


@contextmanager
def service_process(module: str, *arguments: str) -> Iterator[DemoProcess]:
    """Start a module that prints its URL when it listens; kill it at the end."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert "://" in url, f"the service printed {url!r}"
            yield DemoProcess(url, process)
        finally:
            process.kill()
