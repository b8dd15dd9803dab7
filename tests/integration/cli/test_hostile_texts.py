"""What a remote says, printed by the commands of a person: shown, but never obeyed by the terminal."""

import json
import subprocess

from tests.support.servers.demo import demo_service
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import Sidecar, bus_block, json_rpc, short_directory

#: Sets the clipboard of many terminals, begins a line of its own, and reorders what follows it.
HOSTILE = "no\x1b]52;c;cHduZWQ=\x07\nnemo-bridge: all is well\x9b31m\u202e"
ESCAPED = r"no\x1b]52;c;cHduZWQ=\x07\nnemo-bridge: all is well\x9b31m\u202e"


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
