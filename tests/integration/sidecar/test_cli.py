"""The commands as a person types them: what they print, their exit codes, and no traceback ever."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge import __version__
from tests.support.servers.remote import Remote, refusing_port, remote
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import Sidecar, json_rpc, sidecar
from tests.support.sidecar.tap import tapping
from tests.support.wait import until

_ROOT = Path(__file__).parents[3]
Done = subprocess.CompletedProcess[str]


def _bridge(*arguments: str, stdin: str | None = None) -> Done:
    """Run one command to its end."""
    done = fork_server.run(*arguments, stdin=stdin)
    assert "Traceback" not in done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def service() -> Iterator[Remote]:
    """The service."""
    with remote() as running:
        yield running


@pytest.fixture(scope="module")
def process(service: Remote) -> Iterator[Sidecar]:
    """A sidecar."""
    down = f"http://127.0.0.1:{refusing_port()}/rpc"
    with sidecar(json_rpc("api", service.url) + json_rpc("down", down)) as running:
        yield running


@pytest.fixture(scope="module")
def place(process: Sidecar) -> tuple[str, ...]:
    """The options that say where the bus is."""
    return ("--publish", process.publish, "--subscribe", process.subscribe)


def test_version():
    """One line."""
    assert _bridge("--version").stdout == f"nemo-bridge {__version__}\n"


def test_the_installed_command_is_the_same():
    """`nemo-bridge` and `python -m bridge` are one."""
    command = str(Path(sys.executable).parent / "nemo-bridge")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == f"nemo-bridge {__version__}\n"


def test_call_prints_the_result(place):
    """As JSON on standard output, alone."""
    done = _bridge("call", "api", "echo", '{"a": [1, "é"]}', *place)
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {"a": [1, "é"]}, "")


def test_call_by_configuration(process):
    """The bus' endpoints may come from the configuration."""
    done = _bridge("call", "api", "echo", "[7]", "--config", str(process.file))
    assert json.loads(done.stdout) == [7]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("call", "api", "error"), 1, "no such order"),
        (("call", "down", "echo"), 1, "not_connected"),
        (("call", "apu", "echo"), 1, "unknown_integration: there is no integration 'apu'; did you mean 'api'?"),
        (("call", "api", "sleep:2000", "--timeout", "100ms"), 1, "deadline"),
        (("emit", "a b", "1"), 2, "event"),
        (("emit", "a.b", '[{"$bytes": "AP8"}]'), 2, "the payload[0]: `$bytes` is not valid base64"),
    ],
)
def test_a_failure_is_one_line(place, arguments, code, says):
    """On standard error, with its exit code, and it says what was wrong."""
    done = _bridge(*arguments, *place)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert says in done.stderr


def test_nobody_there(tmp_path):
    """No bus: one line that says where there is none."""
    done = _bridge("call", "api", "echo", "--publish", f"ipc://{tmp_path}/p", "--subscribe", f"ipc://{tmp_path}/s")
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"ipc://{tmp_path}" in done.stderr


async def test_emit(process: Sidecar, place: tuple[str, ...]) -> None:
    """The event is on the bus when the command returns; payload from an argument or from standard input."""
    with process.program() as bus:
        since = bus.mark()
        done = _bridge(
            "emit", "integration.api.request", '{"method": "echo", "params": [5]}', "--correlation-id", "e1", *place
        )
        assert (done.returncode, done.stderr) == (0, "")
        answer = await bus.response("e1", since=since)
        assert answer["payload"]["result"] == [5]
        done = _bridge(
            "emit", "bridge.ping", "-", "--correlation-id", "e2", "--header", "x=y", *place, stdin='{"b": 1}'
        )
        answer = await bus.response("e2", since=since)
        assert (answer["payload"]["result"], answer["headers"]["x"]) == ({"b": 1}, "y")


@contextmanager
def _tap(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`tap`, running."""
    command = [sys.executable, "-m", "bridge", "tap", *arguments]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as tap:
        try:
            yield tap
        finally:
            tap.kill()


async def test_tap_for_machines(process: Sidecar, place: tuple[str, ...]) -> None:
    """One JSON object a line, only what was asked for, last values first."""
    with process.program() as bus, _tap("health.api", "response.**", "--json", "--count", "2", *place) as tap:
        assert tap.stdout is not None
        first = json.loads(tap.stdout.readline())
        await bus.ask("bridge.ping", "tapped")
        second = json.loads(tap.stdout.readline())
        assert tap.wait(5) == 0
    keys = ["id", "event_type", "payload", "timestamp", "source", "correlation_id", "headers"]
    assert list(first) == list(second) == keys
    assert (first["event_type"], first["payload"]["status"]) == ("health.api", "connected")
    assert (second["event_type"], second["payload"]["result"]) == ("response.bridge.ping", "tapped")


async def test_tap_for_people(process: Sidecar, place: tuple[str, ...]) -> None:
    """Type, source and payload of what passes, also of events from the application."""
    with process.program() as bus, _tap("order.*", "--count", "1", *place) as tap:

        def seen() -> bool:
            bus.emit("other.created", 1)
            bus.emit("order.created", {"id": 7})
            return tap.poll() is not None

        await until(seen)
        assert tap.stdout is not None
        text = tap.stdout.read()
    assert "order.created" in text
    assert bus.source in text
    assert '{"id": 7}' in text
    assert "other" not in text


async def test_tap_shows_each_event_of_a_burst(process: Sidecar, place: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing is missing of 3,000 events that come at once, and nothing is complained about."""
    with process.program() as bus, tapping(tmp_path / "printed", "burst.*", *place) as tap:

        def watches() -> bool:
            bus.emit("burst.begins", None)
            return bool(tap.seen("burst.begins"))

        await until(watches)
        for number in range(3000):
            bus.emit("burst.goes_on", number)
        await until(lambda: len(tap.seen("burst.goes_on")) >= 3000)
        assert [event["payload"] for event in tap.seen("burst.goes_on")] == list(range(3000))
        assert tap.complaints == ""


async def test_an_observer_that_reads_nothing_holds_up_nobody(
    process: Sidecar, place: tuple[str, ...], tmp_path: Path
) -> None:
    """While 100 MB pass a stopped `tap`, the bridge answers at once and needs little memory; then `tap` goes on."""
    with process.program() as bus, tapping(tmp_path / "printed", "burst.*", *place) as tap:

        def watches() -> bool:
            bus.emit("burst.begins", None)
            return bool(tap.seen("burst.begins"))

        await until(watches)
        tap.process.send_signal(signal.SIGSTOP)
        before = process.rss
        for _ in range(50):
            for _ in range(1000):
                bus.emit("burst.goes_on", "x" * 2000)
            await bus.ask("bridge.ping")
        assert process.rss - before < 50_000_000
        tap.process.send_signal(signal.SIGCONT)
        await until(lambda: (watches(), len(tap.seen("burst.goes_on")) > 0)[1])
        assert _bridge("call", "api", "echo", "[7]", *place).stdout == "[\n  7\n]\n"


def test_emit_and_wait(place: tuple[str, ...]) -> None:
    """The response is shown, as it comes off the bus; a failure is exit code 1."""
    done = _bridge("emit", "integration.api.request", '{"method": "echo", "params": [5]}', "--wait", "--json", *place)
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert json.loads(line)["event_type"] == "response.integration.api.request"
    assert json.loads(line)["payload"]["result"] == [5]
    done = _bridge("emit", "integration.api.request", '{"method": "error"}', "--wait", *place)
    assert (done.returncode, done.stderr) == (1, "")
    assert "resilience.api.failed" in done.stdout
    assert "no such order" in done.stdout


def test_emit_to_nobody(place: tuple[str, ...]) -> None:
    """It says that nothing takes the event, and that a command leads nowhere."""
    done = _bridge("emit", "lamp.switched", "1", *place)
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing takes lamp.switched" in done.stderr
    done = _bridge("emit", "integration.apu.request", '{"method": "echo"}', *place)
    assert done.returncode == 0
    assert done.stderr == "nemo-bridge: no bridge executes it: there is no integration 'apu'; did you mean 'api'?\n"


async def test_tap_records_and_shows_a_recording(process: Sidecar, place: tuple[str, ...], tmp_path: Path) -> None:
    """What was seen once can be seen again, without a bus, filtered anew."""
    file = str(tmp_path / "events.msgpack")
    with process.program() as bus, _tap("response.**", "--json", "--count", "1", "--record", file, *place) as tap:

        def seen() -> bool:
            bus.emit("bridge.ping", ["\x1b[2Jhello", b"\x00\xff"], correlation_id="c")
            return tap.poll() is not None

        await until(seen)
        assert tap.stdout is not None
        first = tap.stdout.read()
    assert json.loads(first)["payload"]["result"][1] == {"$bytes": "AP8="}
    again = _bridge("tap", "--from", file, "--json")
    assert (again.returncode, again.stdout) == (0, first)
    assert _bridge("tap", "health.**", "--from", file).stdout == ""
    assert "\x1b" not in _bridge("tap", "--from", file).stdout
    missing = _bridge("tap", "--from", file + ".not")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    full = _bridge("tap", "--from", file, "--record", "/dev/full")
    assert full.returncode == 1
    assert full.stderr == "nemo-bridge: /dev/full: No space left on device; the recording ends before this event\n"


def test_check_says_all_at_once(tmp_path):
    """Every diagnostic has file, line, block and key; the exit code is 2; `run` prints the same at once."""
    file = tmp_path / "app.hcl"
    file.write_text(
        "\n".join(
            [
                'integration "api" {',
                '  type = "json-rcp"',
                "  endpoint {",
                '    url = "http://127.0.0.1:1/rpc"',
                "  }",
                "}",
                'integration "two" {',
                '  type = "json-rpc"',
                "  endpoint {",
                '    url = "${env.NOT_SET_ANYWHERE}/rpc"',
                "  }",
                "  resilience {",
                '    timeot = "1s"',
                "  }",
                "}",
                'route "r" {',
                '  on          = ["a.*"]',
                '  integration = "nobody"',
                '  operation   = "request"',
                '  method      = "m"',
                "}",
            ]
        )
    )
    done = _bridge("check", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    for line, word in ((2, "json-rpc"), (10, "NOT_SET_ANYWHERE"), (13, "timeout"), (18, "nobody")):
        assert any(f"{file}:{line}:" in one and word in one for one in done.stderr.split("\n\n")), done.stderr
    again = _bridge("run", str(file))
    assert (again.returncode, again.stderr) == (2, done.stderr)


def test_check_of_a_good_file(process):
    """Exit code 0, and what was understood; nothing secret."""
    done = _bridge("check", str(process.file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 integrations" in done.stdout


@pytest.mark.parametrize("name", ["missing.hcl", "empty"])
def test_check_of_nothing(tmp_path, name):
    """A file or directory without a configuration is a diagnostic, too."""
    (tmp_path / "empty").mkdir()
    done = _bridge("check", str(tmp_path / name))
    assert done.returncode == 2
    assert name in done.stderr
