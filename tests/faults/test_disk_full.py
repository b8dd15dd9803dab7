"""The disk under the outbox takes no more: by a limit on the size of files, and on a small file system."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bus.program import Program
from tests.support.servers.remotes import Stand, stand
from tests.support.sidecar.sidecar import sidecar

_NONE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_ROUTE = """
route "kept" {
  on          = ["kept"]
  integration = "json-rpc"
  operation   = "request"
  method      = "note"
  params      = { number = event.payload.number }
  delivery    = "at_least_once"
  receipts    = true
}
"""


@pytest.fixture
def remote() -> Iterator[Stand]:
    """A service with a ledger."""
    with stand("json-rpc") as running:
        yield running


def _send(bus: Program, number: int) -> None:
    headers = {"idempotency_key": f"k{number}"}
    bus.emit("kept", {"number": number, "filler": "x" * 2000}, f"event/{number}", headers, source="app")


def _refused(event: dict[str, Any]) -> bool:
    return not event["payload"]["ok"] and event["payload"]["error"]["kind"] == "overloaded"


async def test_a_full_disk_stops_accepting_and_resumes(remote: Stand, tmp_path: Path) -> None:
    """Refusals say why, health is `degraded`; with room again all goes on, and what was accepted is delivered."""
    with sidecar(remote.integration() + _ROUTE, heartbeat="300ms", more=f'data_dir = "{tmp_path}/data"') as running:  # noqa: SIM117 - one line would be too long
        with running.program() as bus:
            _send(bus, 0)
            await bus.wait("receipt.json-rpc.delivered")
            remote.kill()
            for number in range(1, 20):
                _send(bus, number)
            await bus.wait("health.bridge", lambda event: event["payload"]["outbox"]["pending"] >= 10)
            largest = max(file.stat().st_size for file in (tmp_path / "data").glob("outbox.db*[lb]"))
            resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
            since, number = bus.mark(), 20
            while not any(map(_refused, bus.seen("response.kept", since))):
                assert number < 3000, "the disk never fills"
                _send(bus, number)
                number += 1
                await bus.ask("bridge.ping")
            health = await bus.wait("health.bridge", lambda event: event["payload"]["outbox"]["problem"], since=since)
            assert health["payload"]["status"] == "degraded"
            assert (await bus.ask("bridge.ping"))["ok"]
            resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, _NONE)
            remote.start()
            await bus.wait("health.bridge", lambda e: e["payload"]["status"] == "ready", since=bus.mark() - 1)
            refused = {event["correlation_id"] for event in bus.seen("response.kept", since) if _refused(event)}
            accepted = {f"event/{one}" for one in range(number)} - refused
            for name in accepted:
                await bus.wait("receipt.json-rpc.delivered", lambda e, name=name: e["correlation_id"] == name)
            reached = {f"event/{one}" for _, one in remote.ledger()}
            assert accepted <= reached
            # A refused one says nothing about itself: it may be sent again, by the same key.
            again = int(min(refused).partition("/")[2])
            _send(bus, again)
            await bus.wait("receipt.json-rpc.delivered", lambda e: e["correlation_id"] == f"event/{again}")


def test_a_file_system_of_two_megabytes(tmp_path: Path) -> None:
    """Filled twice, the second time beside a program that takes even the reserve: each event is sent once, all end."""
    mount = f"mount -t tmpfs -o size=2M none {tmp_path}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    run = f"{mount} && {sys.executable} -m tests.support.guard.small_disk {tmp_path}"
    here = Path(__file__).parents[2]
    output = subprocess.run(
        ["unshare", "-rm", "sh", "-c", run], cwd=here, check=True, stdout=subprocess.PIPE, timeout=60
    ).stdout
    report = json.loads(output.splitlines()[-1])
    alone, beside, freed = report["alone"], report["beside a filler"], report["freed"]
    assert (alone["sent"], alone["pending"]) == (True, 0)
    assert alone["accepted"] > 300
    assert beside == {"accepted": beside["accepted"], "sent": beside["accepted"], "once": True, "problem": True}
    assert beside["accepted"] > 300, "the room in the database is used again"
    assert freed["told"] == beside["accepted"]
