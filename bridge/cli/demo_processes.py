"""Start, kill and stop the demo's processes: a JSON-RPC service and the sidecar."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

#: Seconds that a process may take to start, and to end before it is killed.
_PATIENCE: Final = 10.0

INTEGRATION: Final = """
integration "shop" {
  type = "json-rpc"

  endpoint {
    url = "URL"
  }

  config {
    idempotent = ["orders.create"] # the shop recognises an order by its id
  }

  resilience {
    timeout = "1s"

    retry {
      max_attempts  = 3
      backoff       = "exponential"
      initial_delay = "400ms"
    }

    circuit_breaker {
      failure_threshold = 5
      success_threshold = 2
      timeout           = "4s"
    }
  }

  health {
    interval = "1s"
    timeout  = "1s"
  }
}
"""

ROUTE: Final = """
route "orders" {
  on          = ["order.created"]
  where       = event.payload.total > 0
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params = {
    id    = event.payload.id
    cents = event.payload.total * 100
  }
  emit = "order.confirmed"
}
"""


class StepFailedError(Exception):
    """A step of the demo did not happen in time; the text tells what was expected."""


class DemoProcesses:
    """Start and stop the demo's processes in a directory. Call `close` at the end in every case."""

    def __init__(self, directory: Path) -> None:
        self.publish = f"ipc://{directory / 'publish.sock'}"
        self.subscribe = f"ipc://{directory / 'subscribe.sock'}"
        self.url = ""
        self._directory = directory
        self._log = directory / "sidecar.log"
        self._service: asyncio.subprocess.Process | None = None
        self._sidecar: asyncio.subprocess.Process | None = None

    async def start_service(self) -> int:
        """Start the JSON-RPC service, the second time on the same port, and return its process id.

        Raises:
            StepFailedError: It does not start in time.
        """
        port = urlsplit(self.url).port or 0
        self._service = process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bridge.cli.demo_service", "--port", str(port)),
            cwd=self._directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None  # noqa: S101 - asked for above
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(process.stdout.readline(), _PATIENCE)
        if not line.startswith(b"http://"):
            raise StepFailedError(f"the JSON-RPC service listens within {_PATIENCE:g} s")
        self.url = line.decode().strip()
        return process.pid

    async def kill_service(self) -> None:
        """Kill the service with SIGKILL."""
        assert self._service is not None  # noqa: S101 - the demo starts it first
        self._service.kill()
        await self._service.wait()

    async def start_sidecar(self) -> int:
        """Write `demo.hcl`, run the sidecar with it, and return its process id."""
        bus = f'bus {{\n  publish   = "{self.publish}"\n  subscribe = "{self.subscribe}"\n}}\n'
        hcl = self._directory / "demo.hcl"
        hcl.write_text(bus + INTEGRATION.replace("URL", self.url) + ROUTE)
        with self._log.open("wb") as log:
            self._sidecar = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "bridge", "run", hcl.name),
                cwd=self._directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self._sidecar.pid

    async def sidecar_ended(self) -> int:
        """Wait until the sidecar has ended and return its exit code.

        Raises:
            StepFailedError: It does not end in time.
        """
        assert self._sidecar is not None  # noqa: S101 - the demo starts it first
        try:
            return await asyncio.wait_for(self._sidecar.wait(), _PATIENCE)
        except TimeoutError:
            raise StepFailedError(f"the sidecar ends within {_PATIENCE:g} s") from None

    def log(self) -> str:
        """Return the last lines of the sidecar's log."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-12:])

    async def close(self) -> None:
        """Stop the processes that still run: first with SIGTERM, then with SIGKILL."""
        running = [one for one in (self._sidecar, self._service) if one is not None and one.returncode is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                await asyncio.wait_for(process.wait(), _PATIENCE)
            except TimeoutError:
                process.kill()
                await process.wait()
