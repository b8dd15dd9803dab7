"""`bridge.reload`: what changed is applied, what did not is not touched, a faulty file changes nothing."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from bridge.cli.plan import plan as show_plan
from bridge.cli.talk import BusOptions
from tests.support.bus.program import Program
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.remote import Remote, remote
from tests.support.servers.tls import make_certificates
from tests.support.sidecar.sidecar import Sidecar, json_rpc, sidecar
from tests.support.wait import until


@pytest.fixture
def service() -> Iterator[Remote]:
    """The service."""
    with remote() as running:
        yield running


@pytest.fixture
def process(service: Remote) -> Iterator[Sidecar]:
    """A sidecar with two integrations."""
    with sidecar(json_rpc("kept", service.url, timeout="5s") + json_rpc("old", service.url, timeout="5s")) as running:
        yield running


@pytest.fixture
def bus(process: Sidecar) -> Iterator[Program]:
    """A program on its bus."""
    with process.program() as program:
        yield program


def _route(name: str, method: str) -> str:
    return f"""
route "{name}" {{
  on          = ["go"]
  integration = "kept"
  operation   = "request"
  method      = "{method}"
  params      = ["{method}"]
}}
"""


def _rewrite(process: Sidecar, text: str) -> None:
    head, _, _ = process.file.read_text().partition("\nintegration")
    process.file.write_text(head + text)


async def test_added_changed_removed(bus: Program, process: Sidecar, service: Remote) -> None:
    """The plan says what was done; names and routes follow; an untouched integration keeps its calls in flight."""
    bus.emit("integration.kept.request", {"method": "wait", "params": ["w"]}, "flying")
    await until(lambda: service.calls["wait"] == 1)
    since = bus.mark()
    _rewrite(process, json_rpc("kept", service.url, timeout="5s") + json_rpc("new", service.url) + _route("go", "one"))
    since = bus.mark()
    dry_run = (await bus.ask("bridge.reload", {"dry_run": True}))["result"]
    assert not bus.seen("health.old", since)
    plan = (await bus.ask("bridge.reload", {}))["result"]
    nothing: dict[str, Any] = {"added": [], "removed": [], "changed": {}}
    assert (
        plan
        == dry_run
        == {
            "added": ["new"],
            "changed": [],
            "removed": ["old"],
            "unchanged": ["kept"],
            "integrations": {"added": ["new"], "removed": ["old"], "changed": {}},
            "routes": nothing | {"added": ["go"]},
            "subscriptions": nothing,
            "fabrics": nothing,
            "needs_restart": [],
            "settings": {},
            "stranded": {},
        }
    )
    assert bus.seen("health.old", since)[-1]["payload"]["status"] == "stopped"
    assert (await bus.request("new", "echo", [1]))["ok"]
    assert (await bus.request("old", "echo", [1]))["error"]["kind"] == "unknown_integration"
    status = (await bus.ask("bridge.status", {}))["result"]
    assert set(status) == set(status["bridge"]["integrations"]) | {"bridge"} == {"bridge", "kept", "new"}
    bus.emit("go", None, "routed")
    assert (await bus.response("routed", since=since))["payload"]["result"] == ["one"]
    service.hold.set()
    assert (await bus.response("flying", since=since))["payload"]["ok"]

    _rewrite(process, json_rpc("kept", service.url, timeout="6s") + json_rpc("new", service.url) + _route("go", "two"))
    plan = (await bus.ask("bridge.reload", {}))["result"]
    assert (plan["changed"], plan["unchanged"]) == (["kept"], ["new"])
    assert plan["integrations"]["changed"] == {"kept": {"resilience.timeout": ["5s", "6s"]}}
    assert plan["routes"]["changed"] == {"go": {"method": ["one", "two"], "params": [["one"], ["two"]]}}
    bus.emit("go", None, "again")
    assert (await bus.response("again", since=since))["payload"]["result"] == ["two"]
    with process.program("health.") as late:
        await until(lambda: {e["event_type"] for e in late.seen()} == {"health.bridge", "health.kept", "health.new"})


@pytest.mark.parametrize(
    "text", ['integration "kept" {', 'integration "kept" {\n  type = "jsonrpc"\n}', 'route "r" {\n  on = ["a"]\n}']
)
async def test_a_faulty_file_changes_nothing(bus: Program, process: Sidecar, service: Remote, text: str) -> None:
    """The error says where; everything goes on as before."""
    process.file.write_text(process.file.read_text() + text)
    answer = await bus.ask("bridge.reload", {})
    assert (answer["ok"], answer["error"]["kind"]) == (False, "invalid")
    assert process.file.name in answer["error"]["message"]
    for name in ("kept", "old"):
        assert (await bus.request(name, "echo", [name]))["result"] == [name]


async def test_calls_of_what_is_removed_are_answered(bus: Program, process: Sidecar, service: Remote) -> None:
    """A call in flight on an integration that goes away ends there, and is answered once."""
    bus.emit("integration.old.request", {"method": "wait", "params": ["w"]}, "gone")
    await until(lambda: service.calls["wait"] == 1)
    since = bus.mark()
    _rewrite(process, json_rpc("kept", service.url, timeout="5s"))
    bus.emit("bridge.reload", {}, "reload")
    await until(lambda: "unknown_integration" in str(bus.seen(prefix="response.", since=since)) or _asks(bus))
    service.hold.set()
    assert (await bus.response("reload", since=since))["payload"]["result"]["removed"] == ["old"]
    gone = (await bus.response("gone", since=since))["payload"]
    assert gone.get("result") == ["w"], gone
    assert len([one for one in bus.seen(prefix="response.", since=since) if one["correlation_id"] == "gone"]) == 1


def _asks(bus: Program) -> bool:
    bus.emit("integration.old.request", {"method": "echo"}, str(uuid.uuid4()))
    return False


async def test_calls_in_flight_survive_a_change_of_their_settings(service: Remote, tmp_path: Path) -> None:
    """Twenty calls, and a durable one without a key, are answered although time limit and credentials change."""
    durable = _route("keep", "wait").replace('"request"', '"request"\n  delivery = "at_least_once"')
    text, data = json_rpc("kept", service.url, timeout="9s") + durable, f'data_dir = "{tmp_path}"'
    with sidecar(text, more=data) as process, process.program() as bus:
        bus.emit("go", None, "durable")
        calls = [f"flying-{number}" for number in range(20)]
        for one in calls:
            bus.emit("integration.kept.request", {"method": "wait", "params": [one]}, one)
        await until(lambda: service.calls["wait"] == 21)
        for change in (
            json_rpc("kept", service.url, timeout="8s"),
            json_rpc("kept", f"{service.url}?v=2", timeout="7s"),
        ):
            _rewrite(process, change + durable)
            assert (await bus.ask("bridge.reload", {}))["result"]["changed"] == ["kept"]
        assert (await bus.request("kept", "echo", ["new"]))["result"] == ["new"]
        service.hold.set()
        for one in calls:
            assert (await bus.response(one))["payload"]["result"] == [one]
        assert (await bus.response("durable"))["payload"]["result"] == ["wait"]
        assert service.calls["wait"] == 21


async def test_the_command_plan(
    bus: Program, process: Sidecar, service: Remote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan FILE` shows what a reload of the bridge's own file would do, or how another file differs from it."""

    async def planned(*files: Path, as_json: bool = True) -> str:
        options = BusOptions(None, process.publish, process.subscribe)
        await asyncio.to_thread(show_plan, options, files, [], running=True, as_json=as_json, timeout="10s")
        return capsys.readouterr().out

    own = process.file.read_text()
    other = tmp_path / "other.hcl"
    secret = json_rpc("old", service.url, more='auth {\n type = "bearer"\n token = "t"\n }')
    other.write_text(own.replace('timeout = "5s"', 'timeout = "7s"') + secret.replace('"old"', '"new"'))
    for files in ((), (process.file,)):
        assert (await planned(*files, as_json=False)).splitlines()[1:] == ["no changes"]
    found = json.loads(await planned(other))
    assert found["integrations"] == {
        "added": ["new"],
        "removed": [],
        "changed": {name: {"resilience.timeout": ["5s", "7s"]} for name in ("kept", "old")},
    }
    process.file.write_text(other.read_text())
    assert json.loads(await planned(process.file)) == found
    assert '    resilience.timeout: "5s" → "7s"' in (await planned(other, as_json=False)).splitlines()
    process.file.write_text(own + "integration {")
    with pytest.raises(typer.Exit):
        await planned(process.file)
    assert process.file.name in capsys.readouterr().err
    assert (await bus.request("old", "echo", [1]))["result"] == [1]


async def test_what_would_be_stranded(service: Remote, tmp_path: Path) -> None:
    """Events in the outbox of an integration that goes away are counted, before and after."""
    durable = _route("keep", "wait").replace('"request"', '"request"\n  delivery = "at_least_once"')
    text = json_rpc("kept", service.url, timeout="9s") + durable
    with sidecar(text, heartbeat="100ms", more=f'data_dir = "{tmp_path}"') as process, process.program() as bus:
        bus.emit("integration.kept.pause", {}, "pause")
        await bus.response("pause")
        for number in range(3):
            bus.emit("go", number)
        await bus.wait("health.bridge", lambda event: event["payload"]["outbox"]["pending"] == 3)
        _rewrite(process, json_rpc("other", service.url))
        for command in ({"dry_run": True}, {}, {}):
            plan = (await bus.ask("bridge.reload", command))["result"]
            assert plan["stranded"] == {"kept": 3}
        _rewrite(process, text)
        assert (await bus.ask("bridge.reload", {"dry_run": True}))["result"]["stranded"] == {}
        assert (await bus.ask("bridge.configuration", {}))["result"]["pending"] == {"kept": 3}


async def test_the_option_watch(service: Remote) -> None:
    """`run --watch` reloads by itself when the file changes."""
    with sidecar(json_rpc("kept", service.url), options=["--watch"]) as process, process.program() as bus:
        _rewrite(process, json_rpc("kept", service.url) + json_rpc("new", service.url))
        await bus.wait("health.new")
        process.term()
        assert process.wait() == 0


async def test_an_empty_configuration_is_refused(bus: Program, process: Sidecar) -> None:
    """A file that was truncated does not remove everything."""
    process.file.write_text("")
    answer = await bus.ask("bridge.reload", {})
    assert (answer["ok"], answer["error"]["kind"]) == (False, "invalid")
    assert "no integration, route or subscription any more" in answer["error"]["message"]
    assert (await bus.request("kept", "echo", ["k"]))["result"] == ["k"]


async def test_what_needs_a_restart_is_said(bus: Program, process: Sidecar) -> None:
    """A changed `bridge` block waits for a restart, and the plan names it."""
    process.file.write_text(process.file.read_text().replace('"5s"\n', '"6s"\n', 1))
    for command in ({"dry_run": True}, {}):
        plan = (await bus.ask("bridge.reload", command))["result"]
        assert plan["needs_restart"] == ["bridge"]
        assert plan["settings"] == {"bridge": {"heartbeat": ["5s", "6s"]}}
        assert plan["changed"] == []


async def test_reloads_at_the_same_time(bus: Program, process: Sidecar, service: Remote) -> None:
    """Ten at once are done one after the other, each answered."""
    since, ids = bus.mark(), [str(uuid.uuid4()) for _ in range(10)]
    _rewrite(process, json_rpc("kept", service.url) + json_rpc("old", service.url))
    for one in ids:
        bus.emit("bridge.reload", {}, one)
    plans = [(await bus.response(one, since=since))["payload"]["result"] for one in ids]
    assert sorted(len(plan["changed"]) for plan in plans) == [0] * 9 + [2]
    assert (await bus.request("old", "echo", [1]))["ok"]


async def test_an_authority_that_was_renewed(tmp_path: Path) -> None:
    """`failed` with the old file; with the new one under the same name it is connected right after a reload."""
    certificates = make_certificates(tmp_path)
    cert, key = certificates.server_files(unknown_ca=True)
    with mosquitto(f"certfile {cert}", f"keyfile {key}") as broker:
        text = f"""
integration "events" {{
  type = "mqtt"
  endpoint {{
    url = "mqtts://127.0.0.1:{broker.port}"
  }}
  tls {{
    ca = "{certificates.ca_file}"
  }}
}}
"""
        with sidecar(text) as process, process.program() as bus:

            async def status(wanted: str) -> None:
                await bus.wait("health.events", lambda event: event["payload"]["status"] == wanted)

            await status("failed")
            assert (await bus.ask("bridge.reload", {}))["result"]["unchanged"] == ["events"]
            certificates.unknown.cert_pem.write_to_path(tmp_path / "ca.pem")
            assert (await bus.ask("bridge.reload", {}))["result"]["changed"] == ["events"]
            await status("connected")
