"""Play recordings of the bus through a configuration, with faults."""

from pathlib import Path

import msgspec
import pytest

from bridge.config import load
from bridge.core.model import Event
from bridge.core.redaction import Redactor
from bridge.registry import AdapterRegistry
from bridge.simulation import replay as module
from bridge.simulation.replay import first_broken, read_trace, replay
from bridge.simulation.report import replay_report

CONFIGURATION = """
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = env.SHOP_URL
  }
}
route "orders" {
  on          = ["order.created"]
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params      = event.payload
  emit        = "order.confirmed"
}
"""
FAULTS = """
remote "shop" {
  answers = [{ result = { number = 1 } }]
}
step {
  at     = "500ms"
  remote = "shop"
  down   = true
}
step {
  at     = "5s"
  remote = "shop"
  down   = false
}
"""


def event(at_ms: int, event_type: str, source: str | None = "till", **headers: str) -> Event:
    """An event of a recording that began some time ago."""
    return Event(
        id=at_ms + 1,
        event_type=event_type,
        raw=msgspec.Raw(msgspec.msgpack.encode({"at": at_ms})),
        timestamp=1_700_000_000_000 + at_ms,
        source=source,
        correlation_id=f"c-{at_ms}",
        headers=headers or None,
    )


EVENTS = [
    event(0, "order.created"),
    event(1, "order.confirmed", "bridge"),
    event(2, "health.shop", "bridge/other"),
    event(1000, "order.created", None),
    event(900, "order.created"),
    event(60_000, "order.created", deadline_ms="1700000060500"),
]


@pytest.fixture
def configuration(tmp_path: Path):
    """A shop, and a file in which its remote is down for a while."""
    (tmp_path / "shop.hcl").write_text(CONFIGURATION)
    (tmp_path / "faults.hcl").write_text(FAULTS)
    return load(
        [tmp_path / "shop.hcl"],
        adapters=AdapterRegistry(),
        environ={},
        with_placeholders=True,
        faults=tmp_path / "faults.hcl",
    )


def test_what_is_played():
    """The events of programs, in the order of the recording, at their distances; those of a bridge are left out."""
    trace = read_trace(EVENTS)
    assert [at for at, _ in trace.events] == [0.0, 1.0, 1.0, 60.0]
    assert (trace.left_out, trace.lasts, trace.began_ms) == (2, 60.0, 1_700_000_000_000)
    assert read_trace([EVENTS[1]]).events == ()


def test_a_recording_with_faults_of_a_file(configuration):
    """Each event meets the routes as in real life, while the remote is up and while it is down."""
    found = replay(configuration, read_trace(EVENTS))
    told = {one.event.correlation_id: one.event.payload for one in found.record.events("response.order.created")}
    assert {name: payload["ok"] for name, payload in told.items()} == {
        "c-0": True,
        "c-1000": False,
        "c-900": False,
        "c-60000": True,
    }
    assert told["c-0"]["result"] == {"number": 1}
    assert (found.faults, found.broken, found.notes) == ((), (), ())
    lines = [line.text for line in replay_report(found, "bridge", Redactor())]
    assert '     0.000 s  emit     order.created (c-0) {"at": 0}' in lines
    assert "     0.500 s  step     shop is down" in lines
    assert lines[-1] == "all invariants hold"


def test_faults_of_a_seed(configuration):
    """A seed has the same faults and the same outcome each time; another one has others."""
    trace = read_trace(EVENTS)
    reports = [
        [line.text for line in replay_report(replay(configuration, trace, seed=seed), "bridge", Redactor())]
        for seed in (4, 4, 5)
    ]
    assert reports[0] == reports[1] != reports[2]
    assert any(line.startswith("fault at ") for line in reports[0] + reports[2])


def test_the_first_seed_that_breaks_an_invariant(configuration, monkeypatch):
    """Seeds are tried in order, up to the first with which something does not hold."""
    trace = read_trace(EVENTS)
    assert first_broken(configuration, trace, range(3)) is None
    tried = []

    def planted(run):
        tried.append(run)
        return ["sums_balance: planted"] if len(tried) == 2 else []

    monkeypatch.setattr(module, "violations", planted)
    seed, found = first_broken(configuration, trace, range(7, 12))
    assert (seed, found.broken, len(tried)) == (8, ("sums_balance: planted",), 2)
    last = list(replay_report(found, "bridge", Redactor()))[-1]
    assert (last.text, last.kind) == ("does not hold: sums_balance: planted", "failed")


def test_a_bridge_of_a_fabric():
    """It is played alone, with a stand-in for what others offer, and nothing is left to do, whatever the faults are."""
    file = Path(__file__).parents[3] / "examples" / "fabric.hcl"
    configuration = load([file], adapters=AdapterRegistry(), environ={}, with_placeholders=True)
    trace = read_trace([event(7_333 * number, "ticket.opened") for number in range(6)])
    assert first_broken(configuration, trace, [3, 33]) is None
    played = replay(configuration, trace, seed=33)
    assert {fault.remote for fault in played.faults} >= {"label_printer", "cluster"}
