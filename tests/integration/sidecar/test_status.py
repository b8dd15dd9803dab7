"""`nemo-bridge status` against a running sidecar: what it prints, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.servers.remote import refusing_port, remote
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import json_rpc, short_directory, sidecar
from tests.support.wait import until

_ROOT = Path(__file__).parents[3]
Done = subprocess.CompletedProcess[str]


def status(directory: Path, *arguments: str) -> Done:
    """Run the command against the bus in a directory."""
    place = ("--publish", f"ipc://{directory}/p", "--subscribe", f"ipc://{directory}/s")
    done = fork_server.run("status", *arguments, *place)
    assert "Traceback" not in done.stderr + done.stdout
    return done


async def test_all_is_well():
    """Connected: 0, a table for people, one JSON object for machines, and sums that balance."""
    with remote() as shop, sidecar(json_rpc("shop", shop.url)) as running, running.program() as program:
        await program.wait("health.shop", lambda event: event["payload"]["status"] == "connected")
        for number in range(3):
            assert (await program.request("shop", "echo", [number]))["ok"]
        done = status(running.directory, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        answer: dict[str, Any] = json.loads(done.stdout)
        sums = answer["shop"]["accounting"]
        assert sums["accepted"] == sums["succeeded"] == 3
        assert sums.pop("accepted") == sum(sums.values())
        assert answer["bridge"]["bus"]["received"] > 0
        done = status(running.directory)
        assert done.returncode == 0
        assert "shop" in done.stdout
        assert "connected" in done.stdout


async def test_something_is_not_well():
    """A remote that is not there, and one whose certificate nobody looks at: 1, with the reason and the warning."""
    blocks = json_rpc("gone", f"http://127.0.0.1:{refusing_port()}/rpc", more="tls {\n verify = false\n}")
    with sidecar(blocks) as running, running.program() as program:
        await program.wait("health.gone", lambda event: event["payload"]["status"] == "disconnected")
        done = status(running.directory)
        assert done.returncode == 1
        assert "gone: not_connected: " in done.stdout
        assert "gone: `tls.verify = false`: anybody can pose as the remote" in done.stdout
        await until(lambda: "`tls.verify = false`" in running.text)


async def test_subscriptions_by_command():
    """They are shown with who asked for them; where there are none, there is no table of them."""
    timer = 'integration "clock" {\n type = "timer"\n config {\n every = "50ms"\n }\n}\n'
    with sidecar(timer) as running, running.program(source="forgetful") as program:
        await program.wait("health.clock", lambda event: event["payload"]["status"] == "connected")
        assert "by command" not in status(running.directory).stdout
        assert (await program.ask("integration.clock.subscribe", {"topic": "*"}))["ok"]
        [shown] = [line for line in status(running.directory).stdout.splitlines() if "subscription-1" in line]
        assert shown.split()[:3] == ["subscription-1", "clock", "*"]
        assert shown.split()[-1] == "forgetful"


def test_nobody_answers():
    """Without a bus: 3, and one line that says so; nothing on standard output."""
    with short_directory() as directory:
        done = status(directory, "--timeout", "300ms")
        assert (done.returncode, done.stdout) == (3, "")
        assert len(done.stderr.splitlines()) == 1


def test_watching():
    """With --watch it says it again and again, until interrupted."""
    with remote() as shop, sidecar(json_rpc("shop", shop.url)) as running:
        place = ("--publish", running.publish, "--subscribe", running.subscribe)
        command = [sys.executable, "-m", "bridge", "status", "--json", "--watch", *place]
        watching = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert watching.stdout is not None
            for _ in range(2):
                assert json.loads(watching.stdout.readline())["bridge"]["status"] == "ready"
        finally:
            watching.kill()
            watching.communicate()
