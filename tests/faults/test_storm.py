"""`scripts/storm` as a person runs it: all nine integrations, each remote killed once; and what it calls broken."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import mosquitto, nats_server, redis_server

pytestmark = pytest.mark.idle_machine

_STORM = Path(__file__).parents[2] / "scripts" / "storm"


@pytest.mark.slow
@pytest.mark.skipif(
    None in {mosquitto.PROGRAM, nats_server.PROGRAM, redis_server.PROGRAM} and os.environ.get("CI") != "true",
    reason="mosquitto, nats-server and redis-server are needed",
)
def test_every_promise_is_kept() -> None:
    """One round: others undisturbed, all back, nothing lost, the sums balance; each integration has its line."""
    done = subprocess.run(
        [_STORM, "--seconds", "1", "--rate", "120", "--seed", "7"],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=58,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every promise kept" in done.stdout
    assert len(re.findall(r"^[a-z-]+ +\d+ +\d+ +\d+ ", done.stdout, re.MULTILINE)) == 9, done.stdout
    assert "6 kills" in done.stdout
