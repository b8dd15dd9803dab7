"""What others have written, printed by the commands of a person: shown, but never obeyed by the terminal."""

import asyncio
import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.bus import encode_event
from bridge.contract import examples
from bridge.core.model import Event
from tests.support.bus.stand_in import answering, bus_endpoints
from tests.support.servers.demo import demo_service
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import Sidecar, bus_block, json_rpc, short_directory

#: Sets the clipboard of many terminals, begins a line of its own, reorders what follows it, and is red for `rich`.
HOSTILE = "no\x1b]52;c;cHduZWQ=\x07\nnemo-bridge: all is well\x9b31m\u202e[red]"
ESCAPED = r"no\x1b]52;c;cHduZWQ=\x07\nnemo-bridge: all is well\x9b31m\u202e[red]"
#: How text and JSON show its beginning.
_SHOWN = (r"no\x1b]52;c;", r"no\u001b]52;c;")

#: Keys of maps in the examples of the contract that a program on the bus may choose; others are those of the contract.
_CHOSEN = {"backend_api", "old_api", "metrics", "orders", "resilience.timeout", "auth.token", "log", "level"}
_CHOSEN |= {"plant", "desk-7", "desk-8", "desk-9", "printer"}
#: What may have only values of the contract, which a command looks up.
_CLOSED = {"status", "previous", "circuit", "letter_id", "delivery", "kind", "needs_restart"}


def assert_harmless(text: str) -> None:
    """Check that a text has no control and no format character, and no line that begins as the bridge's own do."""
    obeyed = {letter for letter in text if unicodedata.category(letter) in {"Cc", "Cf"}} - {"\n"}
    assert not obeyed, (obeyed, text)
    assert "\nnemo-bridge: all is well" not in text


def _hostile(value: Any) -> Any:
    """Return an example of the contract in which all texts, and the keys that others choose, are hostile."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, list):
        return [_hostile(one) for one in value]
    if isinstance(value, dict):
        return {
            (key + HOSTILE if key in _CHOSEN else key): one if key in _CLOSED else _hostile(one)
            for key, one in value.items()
        }
    return value


def _answers(event: Event) -> dict[str, Any]:
    """Answer as a bridge whose every text is hostile."""
    if event.event_type == "order.placed":
        return {"ok": True, "route": "orders" + HOSTILE, "result": [HOSTILE], "attempts": 1, "duration_ms": 1.0}
    result = _hostile(examples.RESULTS.get(event.event_type, {HOSTILE: HOSTILE}))
    if event.event_type == "bridge.match":
        result["command"] = event.payload["event_type"].startswith("integration.")
        result["routes"][0]["operation"] = "request"
    return {"ok": True, "result": result, "attempts": 1, "duration_ms": 1.0}


def _answers_otherwise(command: str, event: Event) -> dict[str, Any]:
    """Answer one command as no bridge does: with values that are none of a closed list, or of another type."""
    if event.event_type != command:  # a command that the words give before
        return _answers(event)
    closed = {"needs_restart": [HOSTILE], "moved": HOSTILE, "total": HOSTILE, "bridge": HOSTILE, "fabrics": HOSTILE}
    return {"ok": True, "result": _hostile(examples.RESULTS[event.event_type]) | closed}


def _refuses(event: Event) -> dict[str, Any]:
    """Answer as a bridge that refuses everything."""
    if event.event_type == "bridge.match":
        return _answers(event)
    error = {"kind": "rejected", "message": HOSTILE, "retryable": False, "code": HOSTILE, "data": {HOSTILE: HOSTILE}}
    return {"ok": False, "route": "orders" + HOSTILE, "error": error, "attempts": 1, "duration_ms": 1.0}


def _run(answer: Callable[[Event], dict[str, Any]], *words: str) -> str:
    """Run a command before a bus with a bridge that answers like this; return all that it prints."""

    async def run(endpoints: tuple[str, str]) -> subprocess.CompletedProcess[str]:
        bus = {"NEMO_BUS_PUBLISH": endpoints[0], "NEMO_BUS_SUBSCRIBE": endpoints[1], "COLUMNS": "400"}
        async with answering(endpoints, answer, ("integration.", "bridge.", "order.")):
            return await asyncio.to_thread(fork_server.run, *words, environ=bus)

    with bus_endpoints() as endpoints:
        done = asyncio.run(run(endpoints))
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed, printed
    return printed


COMMANDS = [
    ["status"],
    ["status", "--json"],
    ["plan"],
    ["fleet"],
    ["fleet", "--json"],
    ["fleet", "forget", "desk-9"],
    ["plan", "--json"],
    ["dead-letters", "list"],
    ["dead-letters", "list", "--json"],
    ["dead-letters", "show", "17"],
    ["dead-letters", "show", "17", "--json"],
    ["call", "shop", "orders.get"],
    ["emit", "order.placed", "--wait", "--timeout", "10"],
    ["emit", "order.placed", "--wait", "--timeout", "10", "--json"],
    ["emit", "integration.shop.request", '{"method": "m"}', "--wait", "--timeout", "10"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_hostile_bridge(words: list[str]) -> None:
    """Whatever a program writes that answers as a bridge does, the terminal obeys nothing of it."""
    printed = _run(_answers, *words)
    assert any(one in printed for one in _SHOWN), printed
    assert_harmless(printed)


ASKING = [
    ("status", "status"),
    ("status --json", "status"),
    ("plan", "configuration"),
    ("plan", "reload"),
    ("fleet", "fleet"),
    ("fleet --json", "fleet"),
    ("fleet forget desk-9", "forget_node"),
    ("dead-letters list", "dead_letters"),
    ("dead-letters show 17", "dead_letters"),
    ("dead-letters replay --all", "replay"),
    ("dead-letters discard --all --yes", "discard"),
]


@pytest.mark.parametrize(
    ("words", "command"),
    ASKING,
)
def test_an_answer_that_no_bridge_gives(words: str, command: str) -> None:
    """It is an error of one line; what is quoted of it has escapes."""
    printed = _run(partial(_answers_otherwise, f"bridge.{command}"), *words.split())
    assert printed.startswith(f"nemo-bridge: the bridge's answer to bridge.{command} cannot be read: ")
    assert printed.count("\n") == 1
    assert_harmless(printed)


@pytest.mark.parametrize("answer", ["ok", {}, {"ok": "yes"}, {"ok": True}, {"ok": False, "error": HOSTILE}], ids=str)
@pytest.mark.parametrize("words", sorted({words for words, _ in ASKING}))
def test_an_answer_of_another_form(words: str, answer: Any) -> None:
    """What is no answer at all is an error of one line, and ends the command."""
    printed = _run(lambda _: answer, *words.split())
    assert printed.startswith("nemo-bridge: the bridge's answer to bridge.")
    assert "cannot be read: " in printed
    assert printed.count("\n") == 1
    assert_harmless(printed)


def test_the_traceback_of_a_crash() -> None:
    """It has its lines, and what it quotes is escaped."""
    script = "from bridge.cli import terminal; terminal.prepare(); raise ValueError('\\x1b]52;c;x\\x07\\u202e')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("\nValueError: \\x1b]52;c;x\\x07\\u202e\n")
    assert_harmless(done.stderr)


REFUSED = [
    "status",
    "plan",
    "fleet",
    "fleet forget desk-9",
    "dead-letters list",
    "dead-letters replay --all",
    "dead-letters discard --all --yes",
]
REFUSED += ["call shop orders.get", "emit order.placed --wait --timeout 10"]


@pytest.mark.parametrize("words", REFUSED)
def test_a_hostile_refusal(words: str) -> None:
    """Likewise the errors that it answers."""
    printed = _run(_refuses, *words.split())
    assert any(one in printed for one in _SHOWN), printed
    assert_harmless(printed)


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_hostile_recording(form: list[str], tmp_path: Path) -> None:
    """Events of a recording may have anything in each place that their sender chooses."""
    odd = "order.\u202ex[red]"
    event = Event(
        id=1,
        event_type=odd,
        raw=msgspec.Raw(msgspec.msgpack.encode({HOSTILE: HOSTILE})),
        timestamp=1763935200000,
        source=HOSTILE,
        correlation_id=HOSTILE,
        headers={HOSTILE: HOSTILE},
    )
    (tmp_path / "trace").write_bytes(encode_event(event))
    done = fork_server.run("tap", "--from", str(tmp_path / "trace"), *form)
    assert (done.returncode, done.stderr) == (0, "")
    assert any(one in done.stdout for one in _SHOWN)
    assert "[red]" in done.stdout
    assert_harmless(done.stdout)


@pytest.mark.parametrize(
    "words",
    [[HOSTILE], [f"--{HOSTILE}"], ["status", HOSTILE], ["status", f"--{HOSTILE}"], ["dead-letters", HOSTILE]],
    ids=["command", "option", "argument", "option of a command", "command of a group"],
)
def test_hostile_arguments(words: list[str]) -> None:
    """What somebody was told to type is shown in a complaint with escapes."""
    done = fork_server.run(*words, environ={"COLUMNS": "300"})
    assert done.returncode == 2
    assert r"\x1b]52" in done.stderr
    assert_harmless(done.stdout + done.stderr)


def test_a_hostile_remote() -> None:
    """An error is one line with escapes; a result and `tap --json` are JSON with escapes, and mean the same."""
    with demo_service() as service, short_directory() as directory:
        sidecar = Sidecar(directory, bus_block(directory) + json_rpc("shop", service.url))
        try:
            sidecar.ready()

            def run(*words: str) -> subprocess.CompletedProcess[str]:
                bus = {"NEMO_BUS_PUBLISH": sidecar.publish, "NEMO_BUS_SUBSCRIBE": sidecar.subscribe}
                return fork_server.run(*words, environ=bus)

            failed = run("call", "shop", "fail", json.dumps({"message": HOSTILE}), "--timeout", "10")
            result = run("call", "shop", "echo", json.dumps([HOSTILE]), "--idempotency-key", "once")
            log = sidecar.output.read_text("utf-8")
        finally:
            sidecar.kill()
    assert failed.returncode == 1
    assert ESCAPED in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert json.loads(result.stdout) == [HOSTILE]
    for text in (failed.stderr, result.stdout, log):
        assert not set(text) & set("\x07\x9b\u202e")
        assert "\x1b]" not in text
