"""A mixed run: whoever shows the numbers of a bridge, they are the same, and they are what has happened."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from bridge.core.model import CircuitState, ConnectionStatus
from tests.integration.observe.test_console import console
from tests.support.bus.program import Program
from tests.support.servers.nats_server import nats_client, nats_server
from tests.support.servers.redis_server import RedisServer, redis_server
from tests.support.servers.remote import Remote, refusing_port, remote
from tests.support.sidecar.metrics import Series, samples_of
from tests.support.sidecar.sidecar import Sidecar, integration, json_rpc, sidecar
from tests.support.wait import PATIENCE, until

_BRIDGE = """
  status = "127.0.0.1:0"
  console {
    tap = true
  }
"""
_BLOCKS = """
integration "fixed" {
  type = "static"
  config {
    values = { one = 1, two = 2 }
  }
}

subscription "values" {
  integration = "fixed"
  topic       = "*"
  emit        = "data.${message.topic}"
}

subscription "jobs" {
  integration = "redis"
  queue       = "jobs"
  emit        = "job.new"
}

subscription "nameless" {
  integration = "redis"
  topic       = "nameless"
  emit        = "no type ${message.payload}"
}

subscription "prices" {
  integration = "nats"
  topic       = "prices.>"
  emit        = "data.${message.topic}"
}

route "orders" {
  on          = ["order"]
  integration = "api"
  operation   = "request"
  method      = "orders.create"
  params      = [event.payload]
  delivery    = "at_least_once"
}

route "refused" {
  on          = ["refused"]
  integration = "api"
  operation   = "request"
  method      = "error"
  params      = [event.payload]
  delivery    = "at_least_once"
}

route "looked_up" {
  on          = ["look.up"]
  integration = "fixed"
  operation   = "request"
  method      = "get"
  params      = { key = event.payload }
}

route "held" {
  on          = ["held"]
  integration = "asleep"
  operation   = "request"
  method      = "orders.create"
  params      = [event.payload]
  delivery    = "at_least_once"
}

route "idle" {
  on          = ["idle"]
  integration = "api"
  operation   = "request"
  method      = "echo"
}
"""


def _sums(**ends: int) -> dict[str, int]:
    """The accounting of an integration of which nothing but this is known; `accepted` is the sum."""
    parts = ("succeeded", "failed", "dead_lettered", "expired", "shed", "in_flight", "queued")
    return {"accepted": sum(ends.values())} | {name: ends.get(name, 0) for name in parts}


#: What `_use` does, counted by hand: how its operations ended or wait.
_ACCOUNTING = {
    "api": _sums(succeeded=4 + 1 + 5, failed=3, dead_lettered=2),
    "fixed": _sums(succeeded=4, failed=2),
    "asleep": _sums(queued=3),
    "gone": _sums(failed=2),
    "nats": _sums(succeeded=3),
    "redis": _sums(succeeded=2 + 1),
    "small": _sums(succeeded=1, expired=1, shed=2),
    "weak": _sums(failed=2, shed=3),
}
#: Likewise: messages from outside, and those of them that became no event.
_MESSAGES = {"fixed": 2, "redis": 5 + 2, "nats": 3}
_DROPPED = {"redis": 2}
#: Likewise: of each integration with dead letters how many, and of each with events in the outbox.
_LETTERS = {"api": 2}
_PENDING = {"asleep": 3}
#: Likewise: of each route how many operations succeeded and failed.
_ROUTES = {"orders": (5, 0), "refused": (0, 2), "looked_up": (3, 1), "held": (0, 0), "idle": (0, 0)}
_SUBSCRIPTIONS = {("fixed", "values"): 2, ("redis", "jobs"): 5, ("redis", "nameless"): 2, ("nats", "prices"): 3}
_RETRIES = {"api": 2}
#: How integrations are in the end that are not connected, or whose circuit is not closed.
_STATUSES = {"asleep": "paused", "gone": "disconnected", "weak": "degraded"}
_CIRCUITS = {"weak": "open"}
_ERRORS = {"gone": "not_connected", "weak": "unavailable"}


@dataclass
class World:
    """A sidecar with its remotes, and a program on its bus."""

    running: Sidecar
    program: Program
    remote: Remote
    redis: RedisServer
    nats_port: int

    async def ask(self, command: str, payload: Any) -> Any:
        """Return the result of a command of the bridge."""
        answer = await self.program.ask(f"bridge.{command}", payload)
        assert answer["ok"], answer
        return answer["result"]

    async def ask_until(self, command: str, part: Callable[[Any], Any], wanted: Any) -> Any:
        """Ask again and again until a part of the result is as wanted; return the whole result."""
        end = time.monotonic() + PATIENCE
        while True:
            result = await self.ask(command, {})
            found = part(result)
            if found == wanted or time.monotonic() > end:
                assert found == wanted
                return result
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    with remote() as service, redis_server() as redis, nats_server(jetstream=False) as nats:
        text = json_rpc("api", service.url, timeout="20s", attempts=3, config='idempotent = ["flaky_safe"]')
        text += json_rpc("small", service.url, timeout="20s", limit="max_in_flight = 1\nqueue = 1")
        text += json_rpc("weak", service.url, timeout="20s", threshold=2, open_for="1h")
        text += json_rpc("gone", f"http://127.0.0.1:{refusing_port()}/rpc") + json_rpc("asleep", service.url)
        text += integration("redis", redis.port) + integration("nats", nats.port) + _BLOCKS
        with sidecar(text, more=_BRIDGE, heartbeat="200ms") as running, running.program() as program:
            for name in _ACCOUNTING:
                await program.wait(f"health.{name}", lambda event: event["payload"]["status"] != "connecting")
            yield World(running, program, service, redis, nats.port)


async def _use(world: World) -> None:
    """Do a little of everything."""
    program = world.program
    # Answers of all kinds, and two retries.
    for number in range(4):
        assert (await program.request("api", "echo", [number]))["ok"]
    for _ in range(3):
        assert not (await program.request("api", "error"))["ok"]
    world.remote.fails = 2
    assert (await program.request("api", "flaky_safe", ["x"]))["attempts"] == 3
    # The outbox: delivered, dead letters, and what waits for an integration that is paused.
    assert (await program.ask("integration.asleep.pause"))["ok"]
    for number in range(5):
        program.emit("order", {"id": number})
    for number in range(2):
        program.emit("refused", {"id": number})
    for number in range(3):
        program.emit("held", {"id": number})
    for _ in range(2):
        assert not (await program.request("gone", "echo"))["ok"]
    # Fixed values, by commands and by a route.
    for method, params in (("get", {"key": "one"}), ("put", {})):
        await program.request("fixed", method, params)
    for key in ("one", "two", "one", "three"):
        await program.ask("look.up", key)
    # One runs, one waits until its time is up, and there is no room for others.
    program.emit("integration.small.request", {"method": "wait", "params": [1]}, "runs")
    await until(lambda: world.remote.calls["wait"])
    soon = str(time.time_ns() // 1_000_000 + 2000)
    program.emit("integration.small.request", {"method": "echo"}, "waits", {"deadline_ms": soon})
    for _ in range(2):
        assert (await program.request("small", "echo"))["error"]["kind"] == "overloaded"
    assert not (await program.response("waits"))["payload"]["ok"]
    world.remote.hold.set()
    assert (await program.response("runs"))["payload"]["ok"]
    # Two failures open a circuit.
    kinds = [(await program.request("weak", "http:500"))["error"]["kind"] for _ in range(5)]
    assert kinds[2:] == ["circuit_open"] * 3
    # Brokers, to them and from them; of some messages no event can be made.
    for number in range(2):
        await program.ask("integration.redis.publish", {"topic": "out", "message": number})
    await program.ask("integration.redis.enqueue", {"queue": "work", "message": 1})
    for number in range(3):
        await program.ask("integration.nats.publish", {"topic": "out", "message": number})
    with world.redis.client() as client:
        for number in range(5):
            client.xadd("jobs", {"data": json.dumps(number)})
        for _ in range(2):
            client.publish("nameless", '"of this event"')
    async with nats_client(world.nats_port) as client:
        for number in range(3):
            await client.publish(f"prices.{number}", b"1")
        await client.flush()


#: What `bridge.status` has in the end: of each integration its sums, and its messages and how many were dropped.
_SUMS = {name: (sums, _MESSAGES.get(name, 0), _DROPPED.get(name, 0)) for name, sums in _ACCOUNTING.items()}
#: What the series of the last 15 minutes have in the end, as soon as the last sample was taken: of all, and of each.
_SERIES = {
    name: (
        sums["succeeded"],
        sums["accepted"] - sums["succeeded"] - sums["in_flight"] - sums["queued"],
        _MESSAGES.get(name, 0),
    )
    for name, sums in _ACCOUNTING.items()
}
_SERIES["all"] = tuple(map(sum, zip(*_SERIES.values(), strict=True)))


def _sums_of(status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: (one["accounting"], one["messages"], one["dropped"]) for name, one in status.items() if name != "bridge"
    }


def _series_of(overview: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    series = {row["integration"]: row.get("series", {}) for row in overview["integrations"]}
    series["all"] = overview["series"]
    return {
        name: tuple(sum(one.get(key, ())) for key in ("succeeded", "failed", "messages"))
        for name, one in series.items()
    }


def _numbers(health: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `health.<id>` says, without what a health check changes while all is quiet."""
    kind = None if health["error"] is None else health["error"]["kind"]
    return {name: value for name, value in health.items() if name not in {"latency_ms", "error"}} | {"kind": kind}


def _check_row(row: Mapping[str, Any], health: Mapping[str, Any], name: str) -> None:
    """Check the line of an integration in an overview against its health, and against what has happened."""
    for key in ("integration", "type", "status", "since", "circuit", "in_flight", "dropped"):
        assert row[key] == health[key], (name, key)
    assert row["warnings"] == len(health["warnings"])
    assert row["queued"] + row["pending"] == health["queued"]
    assert row["pending"] == _PENDING.get(name, 0)
    assert row["dead_letters"] == _LETTERS.get(name, 0)
    assert row["unwell"] == len(health["subscriptions"]) == 0
    assert (None if row["error"] is None else row["error"]["kind"]) == _ERRORS.get(name)


def _check_overview(overview: Mapping[str, Any], status: Mapping[str, Any]) -> None:
    """Check `bridge.overview`, or what a console shows of it."""
    rows = {row["integration"]: row for row in overview["integrations"]}
    assert rows.keys() == _ACCOUNTING.keys()
    for name, row in rows.items():
        _check_row(row, status[name], name)
    for key in ("status", "name", "version", "pid", "integrations"):
        assert overview["bridge"][key] == status["bridge"][key]
    for key in ("pending", "bytes", "dead_letters", "problem", "missing"):
        assert overview["bridge"]["outbox"][key] == status["bridge"]["outbox"][key]
    for key in ("rejected", "gaps", "missing", "dropped"):
        assert overview["bridge"]["bus"][key] == status["bridge"]["bus"][key]
    for key in ("received", "published"):
        assert overview["bridge"]["bus"][key] >= status["bridge"]["bus"][key] > 0
    assert {one["route"]: (one["succeeded"], one["failed"]) for one in overview["routes"]} == _ROUTES
    found = {(one["integration"], one["subscription"]): one["messages"] for one in overview["subscriptions"]}
    assert found == _SUBSCRIPTIONS
    assert _series_of(overview) == _SERIES


def _check_inspection(found: Mapping[str, Any], health: Mapping[str, Any], overview: Mapping[str, Any]) -> None:
    """Check `bridge.inspect`, or what a console shows of it."""
    name = health["integration"]
    assert _numbers(found["health"]) == _numbers(health)
    _check_row(found["row"], health, name)
    assert found["retries"] == _RETRIES.get(name, 0)
    assert found["attempts"] >= found["retries"]
    assert len(found["dead_letters"]) == _LETTERS.get(name, 0)
    assert len(found["circuit"]) == (name in _CIRCUITS)
    for kind in ("routes", "subscriptions"):
        numbers = ("succeeded", "failed") if kind == "routes" else ("messages",)
        label = kind.removesuffix("s")
        mine = [one for one in overview[kind] if one["integration"] == name]
        assert [[one[label], *(one[key] for key in numbers)] for one in found[kind]] == [
            [one[label], *(one[key] for key in numbers)] for one in mine
        ]
    # Each operation that failed is a failure of some kind; a dead letter fails before it becomes one.
    sums = health["accounting"]
    assert sum(found["failures"].values()) == sum(sums[key] for key in ("failed", "dead_lettered", "expired", "shed"))


class _Metrics:
    """Metrics, asked for what integrations have."""

    def __init__(self, samples: Mapping[Series, float]) -> None:
        self._samples = samples

    def of(self, name: str, /, **labels: str) -> float:
        """Return the value of one series."""
        return self._samples[f"nemo_bridge_{name}", frozenset(labels.items())]

    def by(self, name: str, label: str, /, **labels: str) -> dict[str, float]:
        """Return the values of the series with these labels and one more, by the value of that one."""
        found = {}
        for (series, pairs), value in self._samples.items():
            rest = dict(pairs)
            if series == f"nemo_bridge_{name}" and (key := rest.pop(label, None)) is not None and rest == labels:
                found[key] = value
        return found


def _check_metrics(metrics: _Metrics, found: Mapping[str, Any]) -> None:
    """Check the metrics of an integration against what `bridge.inspect` says of it."""
    health, row, name = found["health"], found["row"], found["row"]["integration"]
    sums = health["accounting"]
    ends = {key: sums[key] for key in ("succeeded", "failed", "dead_lettered", "expired", "shed")}
    assert metrics.by("operations_ended_total", "outcome", integration=name) == ends
    for key, value in {
        "operations_accepted_total": sums["accepted"],
        "operations_in_flight": row["in_flight"],
        "operations_queued": health["queued"],
        "integration_outbox_pending": row["pending"],
        "integration_dead_letters": row["dead_letters"],
        "attempts_total": found["attempts"],
        "retries_total": found["retries"],
        "messages_total": health["messages"],
        "messages_dropped_total": row["dropped"],
        "subscriptions_unwell": row["unwell"],
        "subscriptions_unheard": 0,
        "reconnects_total": health["reconnects"],
        "integration_status_since_timestamp_seconds": row["since"] / 1000,
        "integration_warnings": row["warnings"],
    }.items():
        assert metrics.of(key, integration=name) == value, (name, key)
    assert metrics.by("failures_total", "kind", integration=name) == found["failures"]
    statuses = metrics.by("integration_status", "status", integration=name, type=row["type"])
    assert statuses == {one.value: one.value == row["status"] for one in ConnectionStatus}
    circuits = metrics.by("circuit_state", "state", integration=name)
    assert circuits == {one.value: one.value == row["circuit"] for one in CircuitState}
    changes = metrics.by("circuit_transitions_total", "state", integration=name)
    assert sum(changes.values()) == len(found["circuit"])
    for route in found["routes"]:
        outcomes = metrics.by("route_operations_total", "outcome", integration=name, route=route["route"])
        assert outcomes == {"succeeded": route["succeeded"], "failed": route["failed"]}
    messages = metrics.by("subscription_messages_total", "subscription", integration=name)
    assert messages == {one["subscription"]: one["messages"] for one in found["subscriptions"]}
    counts = metrics.by("operation_duration_seconds_count", "operation", integration=name)
    assert counts == {key: sum(one["count"] for one in buckets) for key, buckets in found["durations"].items()}
    for operation, buckets in found["durations"].items():
        shown = metrics.by("operation_duration_seconds_bucket", "le", integration=name, operation=operation)
        assert [*shown.values()] == [*accumulate(one["count"] for one in buckets)]


def _check_metrics_of_bridge(metrics: _Metrics, status: Mapping[str, Any]) -> None:
    """Check the metrics of the bridge itself against the answer of `bridge.status` before them."""
    one = status["bridge"]
    assert metrics.of("info", version=one["version"], name=one["name"]) == 1
    assert [key for key, value in metrics.by("status", "status").items() if value] == [one["status"]]
    for key in ("pending", "bytes", "dead_letters"):
        assert metrics.of(f"outbox_{key}") == one["outbox"][key]
    for key in ("orphans", "problem", "loss"):
        assert metrics.of(f"outbox_{key}") == 0
    for key in ("rejected", "missing", "dropped"):
        assert metrics.of(f"bus_events_{key}_total") == one["bus"][key]
    for key in ("received", "published"):
        assert metrics.of(f"bus_events_{key}_total") >= one["bus"][key]
    assert metrics.of("bus_gaps_total") == one["bus"]["gaps"]


async def test_all_say_the_same():
    """After calls, retries, dead letters, outages and messages from outside, all that shows numbers has the same ones.

    Compared, once all is quiet, are the events `health.*`, the answers of `bridge.status`, `bridge.overview` and
    `bridge.inspect`, the metrics, and the frames of a console with both of its views. The sums of operations by their
    end, messages, dead letters, routes and subscriptions are compared with what was done, too.
    """
    async with _world() as world, AsyncExitStack() as stack:
        await _use(world)
        program = world.program
        status = await world.ask_until("status", _sums_of, _SUMS)
        for name in _ACCOUNTING:
            assert status[name]["status"] == _STATUSES.get(name, "connected")
            assert status[name]["circuit"] == _CIRCUITS.get(name, "closed")
        assert status["bridge"]["outbox"]["pending"] == sum(_PENDING.values())
        assert status["bridge"]["outbox"]["dead_letters"] == sum(_LETTERS.values())

        since = program.mark()
        for name in _ACCOUNTING:
            event = await program.wait(f"health.{name}", since=since)
            assert _numbers(event["payload"]) == _numbers(status[name])
        event = await program.wait("health.bridge", since=since)
        assert event["payload"]["outbox"]["pending"] == status["bridge"]["outbox"]["pending"]
        assert event["payload"]["integrations"] == status["bridge"]["integrations"]

        overview = await world.ask_until("overview", _series_of, _SERIES)
        _check_overview(overview, status)
        inspections = {name: await world.ask("inspect", {"integration": name}) for name in _ACCOUNTING}
        for name, inspection in inspections.items():
            _check_inspection(inspection, status[name], overview)

        metrics = _Metrics(await samples_of(world.running))
        _check_metrics_of_bridge(metrics, status)
        for inspection in inspections.values():
            _check_metrics(metrics, inspection)

        viewer = await stack.enter_async_context(console(world.running.page))
        await viewer.say(view="overview")
        _check_overview((await viewer.next("overview"))["data"], status)
        for name, inspection in inspections.items():
            await viewer.say(view="integration", integration=name)
            shown = (await viewer.next("integration"))["data"]
            _check_inspection(shown, status[name], overview)
            for key in ("attempts", "retries", "failures", "durations", "failed", "circuit", "dead_letters"):
                assert shown[key] == inspection[key], (name, key)
