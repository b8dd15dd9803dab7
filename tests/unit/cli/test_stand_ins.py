"""`nemo-bridge run` names the stand-in where a remote on this machine is missing at the start."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.cli.stand_ins import PATIENCE, hint
from bridge.config import load
from bridge.core.errors import AuthError, BridgeError, NotConnectedError
from bridge.registry import AdapterRegistry
from tests.support.clock import FakeClock

ABSENT = NotConnectedError("no connection to 127.0.0.1:8080: connection refused; nothing listens there")


@pytest.mark.parametrize(
    ("kind", "url", "error", "told"),
    [
        ("json-rpc", "http://127.0.0.1:8080/rpc", ABSENT, True),
        ("http", "http://localhost:8080", ABSENT, True),
        ("json-rpc", "http://127.0.0.1:8080/rpc", None, False),
        ("json-rpc", "http://127.0.0.1:8080/rpc", AuthError("no"), False),
        ("json-rpc", "https://127.0.0.1:8080/rpc", ABSENT, False),
        ("json-rpc", "http://10.0.0.1:8080/rpc", ABSENT, False),
        ("mqtt", "mqtt://127.0.0.1", ABSENT, False),
    ],
    ids=["json-rpc", "http", "there", "other error", "tls", "elsewhere", "broker"],
)
async def test_who_is_told(kind: str, url: str, error: BridgeError | None, told: bool, tmp_path: Path) -> None:
    """Only where a stand-in could listen, and nothing else does: one line with the command."""
    file = tmp_path / "shop.hcl"
    file.write_text(f'integration "shop" {{\n  type = "{kind}"\n  endpoint {{\n    url = "{url}"\n  }}\n}}\n')
    configuration = load([file], adapters=AdapterRegistry(), environ={})
    health: dict[str, Any] = {"shop": SimpleNamespace(error=None if error is None else error.to_wire())}
    clock = FakeClock()
    with capture_logs() as lines:
        hinting = asyncio.create_task(
            hint(configuration.integrations.values(), lambda: health, "nemo-bridge mock shop.hcl", clock)
        )
        await asyncio.sleep(0)
        assert lines == []  # the remote has a moment to come
        await clock.advance(PATIENCE)
        await hinting
    assert [(one["integration"], one["command"]) for one in lines] == (
        [("shop", "nemo-bridge mock shop.hcl")] if told else []
    )
