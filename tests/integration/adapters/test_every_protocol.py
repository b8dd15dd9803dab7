"""What holds for every protocol that reaches something, through one sidecar that has them all."""

import asyncio
import subprocess
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers.proxy import fault_proxy
from tests.support.servers.seven import Served, seven, seven_that_refuse
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import sidecar

_INTERVAL, _LIMIT = 0.5, 0.5
_QUICK = f"""
  health {{
    interval = "{_INTERVAL}s"
    timeout  = "{_LIMIT}s"
  }}
"""
#: Topic of a subscription → the command whose message it brings.
_SUBSCRIPTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rpc_ws": ("news", "request", {"method": "tell", "params": {"method": "news", "params": {"n": 1}}}),
    "socket": ("*", "publish", {"topic": "*", "message": {"n": 1}}),
    "mqtt": ("news", "publish", {"topic": "news", "message": {"n": 1}}),
    "redis": ("news", "publish", {"topic": "news", "message": {"n": 1}}),
    "nats": ("news", "publish", {"topic": "news", "message": {"n": 1}}),
}


def _subscriptions() -> str:
    return "".join(
        f'subscription "{name}" {{\n  integration = "{name}"\n  topic = "{topic}"\n  emit = "seen.{name}"\n}}\n'
        for name, (topic, _, _) in _SUBSCRIPTIONS.items()
    )


@pytest.mark.slow
async def test_a_frozen_peer_is_found_and_its_subscriptions_come_back() -> None:
    """Each within interval and time limit of its check; thawed, each is connected, and its subscription is there."""
    with seven() as served:
        text = "".join(one.integration(_QUICK) for one in served) + _subscriptions()
        with sidecar(text) as running, running.program() as program:
            for one in served:
                await program.wait(f"health.{one.name}", lambda event: event["payload"]["status"] == "connected")
            since, began = program.mark(), time.monotonic()
            for one in served:
                one.freeze()
            for one in served:
                await program.wait(
                    f"health.{one.name}", lambda event: event["payload"]["status"] == "disconnected", since=since
                )
            # As long as a check may take, and what a busy machine adds.
            assert time.monotonic() - began < _INTERVAL + _LIMIT + 4
            for one in served:
                one.thaw()
            for one in served:
                await program.wait(
                    f"health.{one.name}",
                    lambda event: event["payload"]["status"] == "connected",
                    since=since,
                    seconds=10,
                )
            for name, (_, operation, payload) in _SUBSCRIPTIONS.items():
                said = await program.ask(f"integration.{name}.{operation}", payload)
                assert said["ok"], (name, said)
                await program.wait(f"seen.{name}", lambda event: event["payload"]["message"] == {"n": 1}, since=since)


@pytest.mark.slow
async def test_wrong_credentials_are_failed_and_tried_slowly(tmp_path: Path) -> None:
    """A person is needed, no server is hammered, and the secret is nowhere. HTTP learns it from its first check."""
    async with seven_that_refuse(tmp_path) as served, AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(fault_proxy("127.0.0.1", one.port)) for one in served]
        text = "".join(one.integration(_QUICK, proxy.port) for one, proxy in zip(served, proxies, strict=True))
        with sidecar(text) as running, running.program() as program:
            for one in served:
                event = await program.wait(
                    f"health.{one.name}", lambda event: event["payload"]["status"] == "failed", seconds=15
                )
                assert event["payload"]["error"]["kind"] == "auth", one.name
            tried = [proxy.accepted for proxy in proxies]
            await asyncio.sleep(2.5)
            assert [proxy.accepted for proxy in proxies] == tried
            assert max(tried) <= 3
            assert "wr0ng-s3cret" not in running.text + str(program.log)


def _check(folder: Path, served: list[Served]) -> subprocess.CompletedProcess[str]:
    file = folder / "all.hcl"
    limits = '  resilience {\n    timeout = "5s"\n  }\n'
    local = 'integration "clock" {\n  type = "timer"\n  config {\n    every = "1s"\n  }\n}\n'
    local += 'integration "values" {\n  type = "static"\n  config {\n    values = { a = 1 }\n  }\n}\n'
    local += f'integration "files" {{\n  type = "file"\n  config {{\n    root = "{folder}"\n  }}\n}}\n'
    file.write_text("".join(one.integration(limits) for one in served) + local)
    return fork_server.run("check", "--connect", str(file))


@pytest.mark.slow
def test_check_connect_tries_every_protocol(tmp_path: Path) -> None:
    """All that are there are connected; all that are gone are told, each with its kind of error."""
    with seven() as served:
        good = _check(tmp_path, served)
        assert good.returncode == 0, good.stdout + good.stderr
        for name in [*(one.name for one in served), "clock", "values", "files"]:
            assert any(
                line.strip().startswith(f"{name}:") and "connected" in line for line in good.stdout.splitlines()
            ), name
        for one in served:
            one.kill()
        bad = _check(tmp_path, served)
    assert bad.returncode == 1
    for one in served:
        assert any(
            line.strip().startswith(f"{one.name}:") and "not_connected" in line for line in bad.stdout.splitlines()
        ), one


@pytest.mark.slow
async def test_check_connect_proves_the_credentials_of_every_protocol(tmp_path: Path) -> None:
    """Each refusal is told as such, without the secret."""
    async with seven_that_refuse(tmp_path) as served:
        done = await asyncio.to_thread(_check, tmp_path, served)
    assert done.returncode == 1
    for one in served:
        assert any(line.strip().startswith(f"{one.name}:") and "auth:" in line for line in done.stdout.splitlines()), (
            one
        )
    assert "wr0ng-s3cret" not in done.stdout + done.stderr
