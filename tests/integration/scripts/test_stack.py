"""`scripts/stack` as a person runs it: the stack of compose/ without containers."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.servers.programs import in_wheel
from tests.support.sidecar.sidecar import short_directory

_STACK = Path(__file__).parents[3] / "scripts" / "stack"
_FOLDERS = f"{_STACK.parent}:{_STACK.parents[1]}"
_SERVERS = ("mosquitto", "redis-server", "nats-server")


@pytest.fixture(autouse=True)
def _installed() -> None:
    """Skip where a server is missing, but never in CI."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    missing = [program for program in _SERVERS if shutil.which(program, path=path) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"missing: {missing}; scripts/test installs them")
    if missing:
        pytest.skip(f"not installed: {missing}")


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the stack puts its folder, which holds the bus' sockets: their paths have a limit."""
    with short_directory() as path:
        yield path


def _environment(directory: Path, **more: str) -> dict[str, str]:
    return os.environ | {"PYTHON": sys.executable, "TMPDIR": str(directory), **more}


def _left(directory: Path) -> list[str]:
    """Processes that still have something to do with this directory (Linux only)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = str((process / "cwd").readlink())
        except OSError:
            continue  # gone meanwhile, or somebody else's
        if place.startswith(str(directory)):
            found.append(f"{process.name} in {place}")
    return found


@pytest.mark.slow
def test_every_route_brings_its_message_back(place):
    """--check connects to everything, sees each message come back, ends with 0 within 25 s, and leaves nothing."""
    began = time.monotonic()
    done = subprocess.run(
        [_STACK, "--check"], env=_environment(place), capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < 25
    assert "connected: backbone, clock, devices, exchange, settings, shop, status, store" in done.stdout
    assert len(re.findall(r"^  ok ", done.stdout, re.MULTILINE)) == 10, done.stdout
    assert "FAILED" not in done.stdout
    assert not _left(place)
    assert not list(place.iterdir())


@pytest.mark.slow
def test_a_fabric_of_three(place):
    """`fabric --check` joins three bridges over three servers, sees all that they share, and leaves nothing."""
    done = subprocess.run(
        [_STACK, "fabric", "--check"], env=_environment(place), capture_output=True, text=True, timeout=58, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "joined: desk-1, desk-2, office" in done.stdout
    assert len(re.findall(r"^  ok ", done.stdout, re.MULTILINE)) == 5, done.stdout
    assert not _left(place)
    assert not list(place.iterdir())


@pytest.mark.slow
def test_a_fabric_goes_on_without_what_was_killed(place):
    """Of a fabric a bridge can be killed and another stopped: the others go on, both start again; Ctrl-C ends all."""
    # Ports of its own: on the usual ones programs of other tests may begin to listen meanwhile.
    patch = """
import stack_lib.processes
stack_lib.processes._AWAY = 1.0
make_plan = stack.make_fabric_plan
stack.make_fabric_plan = lambda folder, own_ports: make_plan(folder, own_ports=True)
sys.argv[1:] = ["fabric"]
"""
    command = [sys.executable, "-c", _program(patch)]
    with _running(command, _environment(place, PYTHONPATH=_FOLDERS)) as stack:
        said = _said_until(stack, "Ctrl-C")
        for name, end in (("desk-1", signal.SIGKILL), ("desk-2", signal.SIGTERM), ("nats-3", signal.SIGTERM)):
            number = re.search(rf"^{name} .* process (\d+)", said, re.MULTILINE)
            assert number is not None, said
            os.kill(int(number[1]), end)
            gone = _said_until(stack, f"{name} is started again in 1 s\n")
            assert gone.startswith(f"{name} "), gone
            back = _said_until(stack, "runs again")
            assert re.search(rf"^{name} runs again, as process \d+$", back, re.MULTILINE), back
        stack.send_signal(signal.SIGINT)
        stack.wait(20)
    assert stack.returncode == 0
    assert not _left(place)
    assert not list(place.iterdir())


@pytest.mark.slow
def test_it_runs_until_ctrl_c(place):
    """It says where everything is, the default bus carries, and Ctrl-C ends all of it with 0."""
    runtime = place / "run"
    runtime.mkdir(mode=0o700)
    environment = _environment(place, XDG_RUNTIME_DIR=str(runtime), PYTHONUNBUFFERED="1")
    with _running([_STACK], environment) as stack:
        said = _said_until(stack, "Ctrl-C")
        for scheme in ("http://127.0.0.1:", "mqtt://127.0.0.1:", "redis://127.0.0.1:", "nats://127.0.0.1:"):
            assert scheme in said
        call = [sys.executable, "-m", "bridge", "call", "settings", "get", '{"key": "limit"}', "--timeout", "10s"]
        answer = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert answer.stdout.strip() == "1000", answer.stderr
        stack.send_signal(signal.SIGINT)
        stack.wait(20)
    assert stack.returncode == 0
    assert not _left(place)
    assert [path.name for path in place.iterdir()] == ["run"]


@contextlib.contextmanager
def _running(command: Sequence[str | Path], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a stack; what it has started ends with it, also where the test fails."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as stack:
        try:
            yield stack
        finally:
            stack.terminate()
            stack.wait(30)


def _said_until(stack: subprocess.Popen[str], end: str) -> str:
    """Read what it says, up to the line with `end`."""
    assert stack.stdout is not None
    said = ""
    while end not in said:
        line = stack.stdout.readline()
        assert line, said
        said += line
    return said


def _program(patch: str) -> str:
    """The stack with something changed in it first."""
    return f"import sys, stack_lib.plan, stack_lib.check, stack_lib.__main__ as stack\n{patch}\nsys.exit(stack.main())"


def _patched(directory: Path, patch: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _program(patch), *arguments],
        env=_environment(directory, PYTHONPATH=_FOLDERS),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.slow
def test_what_does_not_come_back_is_named(place):
    """A refused operation and a lost message each have a line that says so; the exit code is 1."""
    patch = """
from stack_lib.check import Journey
stack_lib.check._BACK = 0.5
stack_lib.check.journeys = lambda: [
    Journey("backbone.asked", "backbone.answered", {"page": "nonsense"}, lambda came, sent: True),
    Journey("nobody.cares", "nobody.answers", {}, lambda came, sent: True),
    Journey("setting.asked", "setting.answered", {"key": "currency"}, lambda came, sent: came == "EUR"),
]
"""
    done = _patched(place, patch, "--check")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()[1:]
    assert re.match(r"  FAILED  backbone.asked +→ backbone.answered: .*404", lines[0]), lines
    assert re.match(r"  FAILED  nobody.cares +→ nobody.answers: nothing came back within 0.5 s", lines[1]), lines
    assert re.match(r"  ok      setting.asked ", lines[2]), lines
    assert lines[3] == "not all came back"
    assert not _left(place)


def test_a_server_that_does_not_start_is_named(place):
    """What a server said when it failed comes in one line, and what had started is ended."""
    patch = "real = stack_lib.plan._local\n"
    patch += "stack_lib.plan._local = lambda command, files: (*real(command, files), '--nonsense')"
    done = _patched(place, patch, "--check")
    assert done.returncode == 1
    assert re.match(r"stack: rpc did not start: .*--nonsense", done.stderr), done.stderr
    assert not _left(place)


@pytest.mark.parametrize("arguments", [["--check"], []])
def test_a_folder_with_a_path_too_long_for_sockets_is_named(place, arguments):
    """One line that says the endpoint and the limit, with or without --check, before any server is started."""
    deep = place / ("x" * 100)
    deep.mkdir()
    where = "TMPDIR" if arguments else "XDG_RUNTIME_DIR"
    environment = _environment(place, **{where: str(deep)})
    done = subprocess.run(
        [_STACK, *arguments], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(rf"stack: bus endpoint 'ipc://{deep}/.*: the path has \d+ bytes.* ({where}).*\n", done.stderr)
    assert not _left(place)


def test_it_names_what_is_not_installed(place):
    """A missing server is one line with the command that installs it, and exit code 1."""
    done = _patched(place, "stack_lib.plan.find = lambda _: None", "--check")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "apt-get install --no-install-recommends mosquitto redis-server nats-server" in done.stderr
    assert "brew install mosquitto redis nats-server" in done.stderr


@pytest.mark.slow
def test_servers_come_from_wheels_too(place):
    """Where the system has no NATS and no Redis: those of the environment, with which everything comes back as well."""
    if not all(in_wheel(program) for program in ("nats-server", "redis-server")):
        pytest.skip("no wheels with nats-server and redis-server for this Python and machine")
    patch = "from stack_lib.programs import in_wheel, on_path\n"
    patch += "stack_lib.plan.find = lambda program: in_wheel(program) or on_path(program)"
    done = _patched(place, patch, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    assert not _left(place)


def test_a_wheel_is_found_by_its_program(place):
    """The stack finds the same programs of wheels as the tests do; what no wheel has is not there."""
    patch = "from stack_lib.programs import in_wheel\n"
    patch += "print(*[in_wheel(program) for program in ('mosquitto', 'nats-server', 'redis-server')], sep='\\n')\n"
    patch += "sys.exit()"
    found = _patched(place, patch).stdout.splitlines()
    assert found == [str(in_wheel(program)) for program in ("mosquitto", "nats-server", "redis-server")]
    assert found[0] == "None"
