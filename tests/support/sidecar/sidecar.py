"""Run the sidecar as a process of its own, as a user does."""

import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.support.bus.program import Program
from tests.support.sidecar import fork_server
from tests.support.wait import PATIENCE


def bus_block(directory: Path, more: str = "") -> str:
    """Return a `bus` block with its endpoints in a directory."""
    return f"""
bus {{
  publish   = "ipc://{directory}/p"
  subscribe = "ipc://{directory}/s"
  {more}
}}
"""


def integration(kind: str, port: int) -> str:
    """Return an `integration` block for a server on this machine; its label is the name of the protocol."""
    return f"""
integration "{kind}" {{
  type = "{kind}"
  endpoint {{
    address = "127.0.0.1"
    port    = {port}
  }}
}}
"""


def json_rpc(
    name: str,
    url: str,
    *,
    timeout: str = "400ms",
    attempts: int = 1,
    threshold: int = 1000,
    open_for: str = "300ms",
    config: str = "",
    limit: str = "",
    health: str = "",
    more: str = "",
) -> str:
    """Return an `integration` block with short times; retries wait 20 to 40 ms and have the whole budget."""
    return f"""
integration "{name}" {{
  type = "json-rpc"
  endpoint {{
    url = "{url}"
  }}
  config {{
    {config}
  }}
  health {{
    {health}
  }}
  resilience {{
    timeout = "{timeout}"
    retry {{
      max_attempts  = {attempts}
      backoff       = "exponential"
      initial_delay = "20ms"
      jitter        = false
      budget        = 1
    }}
    circuit_breaker {{
      failure_threshold = {threshold}
      success_threshold = 2
      timeout           = "{open_for}"
    }}
    limit {{
      {limit}
    }}
  }}
  {more}
}}
"""


class Sidecar:
    """One process of `nemo-bridge run` with a configuration text."""

    def __init__(
        self,
        directory: Path,
        text: str,
        *,
        name: str = "bridge",
        environ: dict[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Start the process, with `options` of the command `run`; the bus' endpoints are in `directory`."""
        self.directory = directory
        self.file = directory / f"{name}.hcl"
        self.file.write_text(text)
        self.output = directory / f"{name}.log"
        self.publish, self.subscribe = f"ipc://{directory}/p", f"ipc://{directory}/s"
        with self.output.open("ab") as output:
            self.process = fork_server.start(
                ["run", *options, str(self.file)],
                # Without `data_dir` its data is not in the user's folder, which all sidecars of all tests would share.
                environ={"XDG_STATE_HOME": str(directory / "state")} | (environ or {}),
                stdout=output,
                stderr=output,
            )

    def ready(self, source: str = "bridge") -> Self:
        """Wait until it reports that it is ready."""
        # The printed line comes first, so that one that cannot start is seen at once.
        end = time.monotonic() + PATIENCE
        while "ready" not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.01)
        with Program(self.publish, self.subscribe, ("health.bridge",)) as program:
            while not any(e["payload"]["status"] == "ready" and e["source"] == source for e in program.seen()):
                assert self.process.poll() is None, self.text
                assert time.monotonic() < end, self.text
                program.sub.poll(20)
        return self

    @property
    def text(self) -> str:
        """Return what it has printed, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.output.read_text())

    @property
    def page(self) -> str:
        """Return the URL of its status page, which the configuration has turned on."""
        found = re.search(r"status=(http\S+)", self.text)
        assert found is not None, self.text
        return found[1]

    @property
    def rss(self) -> int:
        """Return its resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    @property
    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def threads(self) -> int:
        """Return how many threads it has."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def program(self, *prefixes: str, **more: Any) -> Program:
        """Connect a program to its bus."""
        return Program(self.publish, self.subscribe, prefixes or ("",), **more)

    def term(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 15.0) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        self.process.wait()


@contextmanager
def short_directory() -> Iterator[Path]:
    """Make a directory for this user alone, with a path that is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="nb"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def sidecar(
    text: str,
    directory: Path | None = None,
    *,
    heartbeat: str = "5s",
    more: str = "",
    environ: dict[str, str] | None = None,
    options: Sequence[str] = (),
) -> Iterator[Sidecar]:
    """Run a sidecar that is ready, with this configuration beside its `bridge` and `bus` blocks; end it afterwards."""
    with short_directory() as own:
        place = directory or own
        whole = f'bridge {{\n  heartbeat = "{heartbeat}"\n  {more}\n}}\n{bus_block(place)}\n{text}'
        running = Sidecar(place, whole, environ=environ, options=options)
        try:
            yield running.ready()
        finally:
            running.kill()
        assert "Traceback" not in running.text, running.text
