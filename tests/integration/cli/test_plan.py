"""`nemo-bridge plan` against a bridge that runs."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bridge.contract import examples
from bridge.core.model import Event
from tests.support.bus.stand_in import answering, bus_endpoints
from tests.support.sidecar import fork_server

FABRIC = """
integration "cluster" {
  type = "nats"
  endpoint {
    url = "nats://127.0.0.1"
  }
}
fabric "plant" {
  integration = "cluster"
  node        = "desk-7"
}
"""


def _answers_without_fabrics(event: Event) -> dict[str, Any]:
    """Answer as a bridge of an earlier version, which knows no fabrics."""
    result = {key: value for key, value in examples.RESULTS[event.event_type].items() if key != "fabrics"}
    return {"ok": True, "result": result, "attempts": 1, "duration_ms": 1.0}


def _plan(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command before a bus with a bridge of an earlier version."""

    async def run(endpoints: tuple[str, str]) -> subprocess.CompletedProcess[str]:
        bus = {"NEMO_BUS_PUBLISH": endpoints[0], "NEMO_BUS_SUBSCRIBE": endpoints[1]}
        async with answering(endpoints, _answers_without_fabrics, ("bridge.",)):
            return await asyncio.to_thread(fork_server.run, "plan", *words, environ=bus)

    with bus_endpoints() as endpoints:
        return asyncio.run(run(endpoints))


@pytest.mark.parametrize("with_files", [False, True], ids=["its own files", "other files"])
def test_a_bridge_of_an_earlier_version(tmp_path: Path, *, with_files: bool) -> None:
    """What it says is shown; it has no fabrics, so that one in the files is new."""
    (tmp_path / "bridge.hcl").write_text(FABRIC)
    files = [str(tmp_path / "bridge.hcl")] if with_files else []
    done = _plan("--json", *files)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["fabrics"] == {"added": ["plant"] if with_files else [], "removed": [], "changed": {}}
    assert found["integrations"]["added"] == (["cluster"] if with_files else ["metrics"])
    shown = _plan(*files)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert ('+ fabric "plant"' in shown.stdout) is with_files
