"""The processes that are measured: service, sidecar, and any module of this package."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec
import zmq

_START: Final = 20.0
_STOP: Final = 15.0
_HCL: Final = """
bus {{
  publish   = "{publish}"
  subscribe = "{subscribe}"
}}

log {{
  level = "warning"
}}
"""
SERVICE: Final = """
integration "bench" {{
  type = "json-rpc"

  endpoint {{
    url = "{url}"
  }}
}}
"""


class BenchError(Exception):
    """The measurement itself failed; one line for a person."""


@dataclass(frozen=True, slots=True)
class Place:
    """A bus: where publishers and subscribers connect."""

    publish: str
    subscribe: str


@dataclass(frozen=True, slots=True)
class Bridge:
    """A running process that does the work of a bridge, and the bus that it serves."""

    place: Place
    pid: int


@dataclass(frozen=True, slots=True)
class Starting:
    """A bridge whose process has just begun.

    Attributes:
        bridge: It may not be of use yet.
        child: Its process.
        began: When it was started (`time.perf_counter`).
        ready: Waits at most so many seconds, and says whether it is ready.
    """

    bridge: Bridge
    child: subprocess.Popen[str]
    began: float
    ready: Callable[[float], bool]

    def until_ready(self, name: str) -> Bridge:
        """Wait until it is ready.

        Raises:
            BenchError: It ended, or takes too long.
        """
        while time.perf_counter() - self.began < _START and self.child.poll() is None:
            if self.ready(0.02):
                return self.bridge
        raise BenchError(f"{name} did not become ready")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for sockets and files; only the user can enter it."""
    with tempfile.TemporaryDirectory(prefix="nemo-bench-") as path:
        yield Path(path)


def free_port() -> int:
    """A port of the loopback interface that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def place_in(directory: Path, name: str) -> Place:
    """Endpoints of a bus of that name."""
    return Place(f"ipc://{directory}/{name}-p.sock", f"ipc://{directory}/{name}-s.sock")


@contextlib.contextmanager
def process(
    *arguments: str,
    name: str,
    program: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    talks: bool = True,
    gently: bool = True,
) -> Iterator[subprocess.Popen[str]]:
    """Run a program, this Python by default, with these arguments; ended in the end, and killed if it does not listen.

    On Linux it also ends when this process does, however that ends.

    Args:
        arguments: Of the program.
        name: For the messages.
        program: Its file.
        environment: Variables beside those of this process.
        talks: Whether somebody reads its standard output; otherwise that is where it complains.
        gently: Whether it is given the time to end by itself.

    Raises:
        BenchError: It ended with an error; its last words are in the message.
    """
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if talks else errors,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - only C has threads here
        )
        try:
            yield child
            dead = child.poll()
        except BenchError as error:
            raise BenchError(f"{error}{_last_words(errors)}") from None
        finally:
            child.send_signal(signal.SIGTERM if gently else signal.SIGKILL)
            try:
                child.wait(_STOP)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        if dead is not None:
            raise BenchError(f"{name} ended by itself with {dead}{_last_words(errors)}")


#: prctl(2): the kernel sends this signal to a child when its parent dies, even if that is killed.
_PR_SET_PDEATHSIG: Final = 1


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _last_words(errors: IO[str]) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors if line.strip()]
    return f": {lines[-1]}" if lines else ""


def first_line(child: subprocess.Popen[str], name: str) -> str:
    """What a process prints when it is ready."""
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    if not line:
        raise BenchError(f"{name} did not start")
    return line


@contextlib.contextmanager
def service() -> Iterator[str]:
    """The JSON-RPC service; gives its URL."""
    with process("-m", "bridge.cli.demo_service", "--port", "0", name="the service") as child:
        yield first_line(child, "the service")


@contextlib.contextmanager
def module(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A module of this package as a process; it has printed that it is ready."""
    with process("-m", f"bench_lib.{name}", *arguments, name=name) as child:
        first_line(child, name)
        yield child


@contextlib.contextmanager
def naive(name: str, directory: Path, *arguments: str) -> Iterator[Bridge]:
    """Run a naive bridge, a module of this package; ready and with a bus of its own in the folder.

    Args:
        name: Of the module, whose arguments begin with the endpoints of the bus, after what it does.
        directory: Where its sockets go.
        arguments: What it does, where it can do several things, then the others.
    """
    place = place_in(directory, "naive")
    with module(name, place.publish, place.subscribe, *arguments) as child:
        yield Bridge(place, child.pid)


@contextlib.contextmanager
def sidecar(directory: Path, url: str, *, python: Sequence[str] = ()) -> Iterator[Bridge]:
    """The real sidecar with one JSON-RPC integration, `bench`; it is ready.

    Args:
        directory: Where its configuration and sockets go.
        url: Of the service.
        python: Options of the interpreter, as for a profiler.
    """
    with sidecar_with(directory, SERVICE.format(url=url), python=python) as one:
        yield one


@contextlib.contextmanager
def sidecar_with(directory: Path, blocks: str, *, python: Sequence[str] = ()) -> Iterator[Bridge]:
    """The real sidecar with these blocks beside `bus` and `log`; it is ready.

    Args:
        directory: Where its configuration and sockets go.
        blocks: Integrations, routes and subscriptions, in HCL.
        python: Options of the interpreter, as for a profiler.
    """
    with starting_sidecar(directory, blocks, python=python) as starting:
        yield starting.until_ready("the sidecar")


def configuration(directory: Path, blocks: str) -> tuple[Path, Place]:
    """Write these blocks into a file, beside `bus` and `log`; return it and the place of the bus."""
    place, file = place_in(directory, "sidecar"), directory / "bench.hcl"
    file.write_text(_HCL.format(publish=place.publish, subscribe=place.subscribe) + blocks)
    return file, place


@contextlib.contextmanager
def starting_sidecar(directory: Path, blocks: str, *, python: Sequence[str] = ()) -> Iterator[Starting]:
    """The real sidecar, which has just been started; see `sidecar_with`."""
    file, place = configuration(directory, blocks)
    with zmq.Context() as context, context.socket(zmq.SUB) as health:
        health.set(zmq.LINGER, 0)
        health.set(zmq.RECONNECT_IVL, 2)
        health.subscribe("health.bridge")
        health.connect(place.subscribe)

        def ready(wait: float) -> bool:
            """Look for `health.bridge` on the bus."""
            if not health.poll(int(wait * 1000)):
                return False
            return bool(msgspec.msgpack.decode(health.recv_multipart()[1])["payload"]["status"] == "ready")

        began = time.perf_counter()
        with process(*python, "-m", "bridge", "run", str(file), name="the sidecar") as child:
            yield Starting(Bridge(place, child.pid), child, began, ready)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process and its threads have used, to the nanosecond; Linux only.

    /proc/PID/stat has the same in steps of 10 ms, which is too coarse for short measurements.
    """
    # The clock that clock_getcpuclockid(3) gives for a process.
    return time.clock_gettime(~pid << 3 | 2)


class ProcessorTime:
    """What some processes use of the processor from now on."""

    def __init__(self, pids: Sequence[int]) -> None:
        """Where it cannot be read, nothing is watched."""
        self._pids = pids if without_proc() is None else ()
        self._before = self._used()

    def _used(self) -> float:
        return sum(map(cpu_seconds, self._pids))

    def micros(self, count: int) -> float | None:
        """Microseconds so far for each of `count` messages; None where nothing is watched, or for none."""
        return (self._used() - self._before) / count * 1e6 if self._pids and count else None


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, from /proc; Linux only."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def forget_peak(pid: int) -> None:
    """Let `peak_bytes` of a process begin with what is resident now; Linux only."""
    # proc(5): 5 sets back VmHWM.
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The most resident memory that a process has had, from /proc; Linux only."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def without_proc() -> str | None:
    """Why processor time and memory cannot be read, in words for a person; None where they can."""
    known = Path("/proc/self/statm").exists()
    return None if known else "processor time and memory are read from /proc, which only Linux has"
