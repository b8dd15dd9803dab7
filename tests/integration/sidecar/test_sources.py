"""Sources without a server (static, timer, file) in a whole sidecar, seen by an independent program."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.bus.program import Program
from tests.support.sidecar.sidecar import Sidecar, short_directory, sidecar

_CONFIGURATION = """
integration "settings" {
  type = "static"
  config {
    file = "settings.csv"
  }
}

integration "clock" {
  type = "timer"
  config {
    schedule "fast" {
      every = "50ms"
    }
    schedule "yearly" {
      cron      = "0 0 1 1 *"
      time_zone = "Europe/Berlin"
    }
  }
}

integration "files" {
  type = "file"
  config {
    root     = "files"
    interval = "20ms"
  }
  resilience {
    timeout = "2s"
  }
}

subscription "settings" {
  integration = "settings"
  topic       = "*"
  emit        = "settings.${message.topic}"
}

subscription "fast" {
  integration = "clock"
  topic       = "fast"
  emit        = "tick.fast"
}

subscription "inbox" {
  integration = "files"
  topic       = "inbox/*"
  emit        = "inbox.changed"
}

subscription "lines" {
  integration = "files"
  topic       = "tail:journal"
  emit        = "journal.line"
}

route "write" {
  on          = ["save.*"]
  integration = "files"
  operation   = "publish"
  topic       = "inbox/${event.payload.name}"
  message     = event.payload.content
}
"""


@pytest.fixture
def process() -> Iterator[Sidecar]:
    """A sidecar with all three."""
    with short_directory() as directory:
        (directory / "files").mkdir()
        (directory / "settings.csv").write_text("key,value\ncurrency,EUR\nlimit,20\n")
        with sidecar(_CONFIGURATION, directory) as running:
            yield running


@pytest.fixture
def bus(process: Sidecar) -> Iterator[Program]:
    """A program on its bus, which may begin when all are connected."""
    with process.program() as program:
        yield program


async def _connected(bus: Program, *names: str) -> None:
    for name in names:
        await bus.wait(f"health.{name}", lambda event: event["payload"]["status"] == "connected")


async def test_static_values(process: Sidecar, bus: Program) -> None:
    """Read by command; all emitted again when a reload finds one changed, and none when nothing has changed."""
    await _connected(bus, "settings")
    assert (await bus.request("settings", "get", {"key": "limit"}))["result"] == "20"
    error = (await bus.request("settings", "get", {"key": "nothing"}))["error"]
    assert (error["kind"], error["code"]) == ("rejected", "not_found")
    since = bus.mark()
    assert (await bus.ask("bridge.reload", {}))["ok"]
    (process.directory / "settings.csv").write_text("key,value\ncurrency,EUR\nlimit,30\n")
    plan = (await bus.ask("bridge.reload", {}))["result"]
    assert plan["changed"] == ["settings"]
    event = await bus.wait("settings.limit", since=since)
    assert event["payload"] == {"topic": "limit", "message": "30", "headers": {}}
    assert (await bus.wait("settings.currency", since=since))["payload"]["message"] == "EUR"
    (process.directory / "settings.csv").unlink()
    os.mkfifo(process.directory / "settings.csv")
    refused = await bus.ask("bridge.reload", {})
    assert "is not a regular file" in refused["error"]["message"]
    (process.directory / "settings.csv").unlink()
    (process.directory / "settings.csv").write_text("key,value\nlimit\n")
    refused = await bus.ask("bridge.reload", {})
    assert not refused["ok"]
    assert "line 2" in str(refused["error"])
    assert (await bus.request("settings", "get", {"key": "limit"}))["result"] == "30"
    assert len(bus.seen("settings.limit", since)) == 1


async def test_timer(bus: Program) -> None:
    """Ticks 50 ms apart by schedule; a schedule that is not there is said by name."""
    first = (await bus.wait("tick.fast"))["payload"]["message"]
    later = (
        await bus.wait("tick.fast", lambda event: event["payload"]["message"]["scheduled_at"] > first["scheduled_at"])
    )["payload"]["message"]
    steps = (later["scheduled_at"] - first["scheduled_at"]) / 50
    assert abs(steps - (1 + later["missed"])) < 0.1
    assert abs(first["scheduled_at"] - datetime.now(UTC).timestamp() * 1000) < 60_000
    error = (await bus.ask("integration.clock.subscribe", {"topic": "slow"}))["error"]
    assert error["kind"] == "invalid"
    assert "fast, yearly" in error["message"]
    assert (await bus.ask("integration.clock.subscribe", {"topic": "yearly"}))["ok"]
    assert (await bus.ask("integration.clock.publish", {"topic": "x", "message": 1}))["error"][
        "kind"
    ] == "not_supported"


async def test_file(process: Sidecar, bus: Program) -> None:
    """An event becomes a file, a file an event; lines follow; nothing leaves the root; a lost root comes back."""
    await _connected(bus, "files")
    root = process.directory / "files"
    bus.emit("save.order", {"name": "a.json", "content": {"id": 7}})
    news = (await bus.wait("inbox.changed"))["payload"]["message"]
    assert {"change": "created", "path": "inbox/a.json", "size": 8}.items() <= news.items()
    assert (await bus.request("files", "read", {"path": "inbox/a.json"}))["result"] == {"id": 7}
    for number in (1, 2):
        publish = {"topic": "journal", "message": {"n": number}, "headers": {"append": "true"}}
        assert (await bus.ask("integration.files.publish", publish))["ok"]
    await bus.wait("journal.line", lambda event: event["payload"]["message"] == {"n": 2})
    assert [event["payload"]["message"] for event in bus.seen("journal.line")] == [{"n": 1}, {"n": 2}]
    for path in ("../settings.csv", "/etc/passwd"):
        assert (await bus.request("files", "read", {"path": path}))["error"]["kind"] == "invalid"
    (root / "link").symlink_to(process.directory / "settings.csv")
    assert (await bus.request("files", "read", {"path": "link"}))["error"]["code"] == "link"
    since = bus.mark()
    moved = _swap(root)
    await bus.wait("health.files", lambda event: event["payload"]["status"] == "disconnected", since=since)
    since = bus.mark()
    moved.rename(root)
    await bus.wait("health.files", lambda event: event["payload"]["status"] == "connected", since=since)
    assert (await bus.request("files", "read", {"path": "inbox/a.json"}))["result"] == {"id": 7}


def _swap(root: Path) -> Path:
    return root.rename(root.with_name("away"))
