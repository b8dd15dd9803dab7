"""Run tests of a configuration on the real gateway, and show what is found and said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config import Configuration, load
from bridge.core.redaction import Redactor
from bridge.registry import AdapterRegistry
from bridge.simulation.cases import CaseResult, run_case
from bridge.simulation.report import report

GROUND = """
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "${env.SHOP_URL}/rpc"
  }
  auth {
    type  = "bearer"
    token = env.SHOP_TOKEN
  }
  resilience {
    timeout = "2s"
  }
}
integration "events" {
  type = "mqtt"
  endpoint {
    address = "broker.example"
  }
}
route "orders" {
  on          = ["order.created"]
  where       = event.payload.total > 0
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params      = { id = event.payload.id, total = event.payload.total }
  emit        = "order.confirmed"
}
subscription "metrics" {
  integration = "events"
  topic       = "metrics/#"
  emit        = "data.metrics"
}
"""
ORDER = 'step {\nemit = "order.created"\npayload = { id = 1, total = 3 }\ncorrelation_id = "c"\n}\n'

Runs = Callable[..., list[CaseResult]]


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Configuration]:
    """A function that loads a string after `GROUND`."""

    def from_text(text: str, ground: str = GROUND) -> Configuration:
        file = tmp_path / "shop.hcl"
        file.write_text(ground + text, "utf-8")
        return load([file], adapters=AdapterRegistry(), environ={}, with_placeholders=True)

    return from_text


@pytest.fixture
def runs(loaded: Callable[..., Configuration]) -> Runs:
    """A function that runs all tests of a string after `GROUND`."""

    def of_text(text: str, ground: str = GROUND) -> list[CaseResult]:
        configuration = loaded(text, ground)
        return [run_case(configuration, case, Redactor(configuration.secrets)) for case in configuration.cases]

    return of_text


#: The example of the page that fixes the names, with short blocks.
EXAMPLE = """
test "an order survives two failures" {
  remote "shop" {                       # stands in for the integration
    answers = [                         # in order; the last one repeats
      { error = "not_connected" },      # surely not sent, so tried again
      { error = "not_connected" },
      { result = { number = 7 }, after = "300ms" },
    ]
  }
  step {
    at      = "0s"
    emit    = "order.created"
    payload = { id = 1, total = 3 }
  }
  step {                                # a message from outside
    at      = "5s"
    message = "metrics"                 # the subscription
    topic   = "metrics/cpu"
    payload = { v = 1 }
  }
  step {
    at     = "10s"
    remote = "shop"
    down   = true                       # refuses connections until `down = false`
  }
  expect {
    event   = "order.confirmed"
    by      = "2s"
    payload = { number = 7 }            # what is named must be equal; more may be there
  }
  expect {
    call   = "shop"                     # attempts that were made at the stand-in
    method = "orders.create"
    times  = 3
  }
  expect {
    event  = "resilience.shop.circuit.opened"
    times  = 0
  }
}
"""


def test_the_example(runs):
    """Three attempts, a confirmation, a message from outside; nothing is needed from the environment."""
    (result,) = runs(EXAMPLE)
    assert result.ok
    assert not result.failures
    assert [one.event.payload["message"] for one in result.record.events("data.metrics")] == [{"v": 1}]


def test_what_nobody_tells_a_remote(runs):
    """A remote without a block answers null; one without sessions that is down refuses each call."""
    text = f'test "null" {{\n{ORDER}expect {{\nevent = "order.confirmed"\npayload = null\n}}\n}}\n'
    text += 'test "down" {\nstep {\nremote = "shop"\ndown = true\n}\n' + ORDER.replace("{\n", '{\nat = "1s"\n', 1)
    text += 'step {\nat = "1m"\nremote = "shop"\ndown = false\n}\n'
    text += 'expect {\nevent = "response.order.created"\npayload = { error = { kind = "not_connected" } }\n}\n'
    text += 'expect {\nevent = "health.shop"\npayload = { status = "disconnected" }\nby = "59s"\n}\n'
    text += 'expect {\nevent = "health.shop"\npayload = { status = "connected", previous = "disconnected" }\n}\n}\n'
    assert [result.ok for result in runs(text)] == [True, True]


@pytest.mark.parametrize(
    ("answer", "payload", "times"),
    [
        ('error = "timeout"', 'ok = false, error = { kind = "timeout" }', 1),
        (
            'error = "rejected", code = 7, message = "no", data = [1]',
            'ok = false, error = { kind = "rejected", code = 7, message = "no", data = [1] }',
            1,
        ),
        ('error = "throttled"', 'ok = false, error = { kind = "throttled" }, attempts = 3', 3),
        ('result = { "$bytes" = "AAE=" }, after = "1500ms"', 'ok = true, result = { "$bytes" = "AAE=" }', 1),
        ('error = "auth"', 'ok = false, error = { kind = "auth" }', 1),
    ],
)
def test_answers(runs, answer, payload, times):
    """Each kind of answer becomes the response of the contract; what may have been done is not done again."""
    text = f'test "t" {{\nremote "shop" {{\nanswers = [{{ {answer} }}]\n}}\n{ORDER}'
    text += f'expect {{\nevent = "response.order.created"\ncorrelation_id = "c"\npayload = {{ {payload} }}\n}}\n'
    (result,) = runs(text + f'expect {{\ncall = "shop"\ntimes = {times}\n}}\n}}')
    assert result.ok, result.failures


TIMER = """
integration "ticks" {
  type = "timer"
  config {
    every = "20m"
  }
}
subscription "ticks" {
  integration = "ticks"
  topic       = "default"
  emit        = "tick"
}
"""


def test_when_a_test_ends(runs):
    """With a timer after `lasts`, or the last `by`; else when all is done and nothing more is awaited."""
    (timed,) = runs('test "t" {\nlasts = "70m"\nexpect {\nevent = "tick"\ntimes = 3\n}\n}', TIMER)
    assert (timed.ok, timed.ended_ms) == (True, 70 * 60_000)
    (bound,) = runs('test "t" {\nexpect {\nevent = "tick"\nby = "21m"\ntimes = 1\n}\n}', TIMER)
    assert (bound.ok, bound.ended_ms) == (True, 21 * 60_000)
    text = f'test "a" {{\n{ORDER}expect {{\nevent = "order.confirmed"\n}}\n}}\n'
    text += f'test "b" {{\n{ORDER}expect {{\nevent = "order.lost"\n}}\n}}\n'
    text += f'test "c" {{\n{ORDER}expect {{\nevent = "order.lost"\nby = "5m"\n}}\n}}\n'
    soon, never, by = runs(text)
    assert soon.ended_ms < 60_000
    assert never.ended_ms == 3_600_000
    assert 300_000 <= by.ended_ms < 400_000


def test_events_without_end(runs):
    """A circle of events that takes no time is stopped as in real life, and is no hang."""
    text = 'route "again" {\non = ["order.confirmed"]\nintegration = "shop"\noperation = "request"\nmethod = "m"\n'
    text += 'emit = "${event.payload.next}"\n}\n'
    text += 'test "t" {\nremote "shop" {\nanswers = [{ result = { next = "order.confirmed" } }]\n}\n'
    text += ORDER + 'expect {\nevent = "order.confirmed"\n}\n}'
    (result,) = runs(text)
    assert result.ended_ms < 60_000
    assert len(result.record.events("order.confirmed")) == 8


def test_the_report_of_a_failure(runs, tmp_path):
    """Each failure has its place, what came, notes with the likely reason, and the timeline."""
    text = 'test "typo" {\nstep {\nemit = "order.creatd"\n}\nexpect {\nevent = "order.confirmed"\n}\n}\n'
    text += 'test "nothing" {\nlasts = "1m"\n' + ORDER.replace("total = 3", "total = 0")
    text += 'expect {\ncall = "shop"\n}\n}\n'
    text += 'test "once" {\nlasts = "1m"\nremote "shop" {\nanswers = [{ error = "unavailable" }]\n}\n' + ORDER
    text += 'expect {\ncall = "shop"\ntimes = 2\n}\n}\n'
    found = [line.text for line in report(runs(text), "bridge", Redactor())]
    start = GROUND.count("\n")
    assert found == [
        "FAILED  typo  (3600.000 s)",
        "",
        f"    shop.hcl:{start + 5}: expected event order.confirmed, at least once",
        "      no such event came",
        "",
        "    note: no route takes `order.creatd`; did you mean `order.created`?",
        "",
        "    what happened, in virtual time:",
        "           0.000 s  emit     order.creatd null",
        "",
        "FAILED  nothing  (60.000 s)",
        "",
        f"    shop.hcl:{start + 16}: expected call shop, at least once",
        "      no call was made",
        "",
        "    note: `where` of route `orders` is not true for this `order.created`: event.payload.total > 0",
        "",
        "    what happened, in virtual time:",
        '           0.000 s  emit     order.created (c) {"id": 1, "total": 0}',
        "",
        "FAILED  once  (60.000 s)",
        "",
        f"    shop.hcl:{start + 30}: expected call shop, exactly twice",
        "      came only once: at 0.000 s",
        "",
        (
            "    note: `orders.create` was not tried again, because the remote may have done it; to allow that, list "
            'it under `idempotent` in `config` of "shop", or give the event an `idempotency_key`'
        ),
        "",
        "    what happened, in virtual time:",
        '           0.000 s  emit     order.created (c) {"id": 1, "total": 3}',
        '           0.000 s  call     shop request orders.create {"id": 1, "total": 3} -> error unavailable',
        (
            '           0.000 s  event    resilience.shop.failed {"attempts": 1, "error": "unavailable: the stand-in '
            'answers with `unavailable`"}'
        ),
        (
            '           0.000 s  event    response.order.created (c) {"ok": false, "error": "unavailable: the stand-in '
            'answers with `unavailable`", "attempts": 1}'
        ),
        "",
        "3 tests: 0 passed, 3 failed",
    ]


def test_a_long_timeline_is_cut_around_the_place(runs):
    """Of many lines those before the place are shown, and how many were left out on both sides."""
    steps = "".join(ORDER.replace("{\n", f'{{\nat = "{second}s"\n', 1) for second in range(60))
    text = f'test "t" {{\n{steps}expect {{\nevent = "order.confirmed"\nby = "30s"\ntimes = 30\n}}\n}}'
    found = [line.text for line in report(runs(text), "bridge", Redactor())]
    shown = [line for line in found if line.startswith("      …") or " s  " in line]
    assert len(shown) == 32
    assert "before; --timeline shows all" in shown[0]
    assert "after; --timeline shows all" in shown[-1]
    assert any("30.000 s" in line for line in shown)


def test_a_bridge_of_a_fabric(runs):
    """It is alone in a test: a stand-in answers for what others offer, and the bridge emits for a `singleton`."""
    fabric = """
integration "cluster" {
  type = "nats"
  endpoint {
    url = "nats://cluster.example"
  }
}
integration "clock" {
  type = "timer"
  config {
    every = "10s"
  }
}
fabric "plant" {
  integration = "cluster"
  use         = ["printer"]
  delivery    = "at_least_once"
  export      = ["**"]
}
subscription "ticks" {
  integration = "clock"
  topic       = "default"
  emit        = "tick"
  singleton   = "plant"
}
route "print" {
  on          = ["tick"]
  integration = "printer"
  operation   = "request"
  method      = "print"
  emit        = "printed"
}
"""
    test = """
test "each tick is printed" {
  remote "printer" {
    answers = [{ error = "unavailable" }, { result = 1 }]
  }
  expect {
    event   = "printed"
    by      = "25s"
    payload = 1
    times   = 1
  }
  expect {
    call   = "printer"
    method = "print"
    by     = "25s"
    times  = 2
  }
  expect {
    call  = "cluster"
    times = 0
    by    = "25s"
  }
}
test "an answer that never comes is an error after half a minute" {
  remote "printer" {
    answers = [{ error = "timeout" }]
  }
  expect {
    event = "resilience.printer.failed"
    by    = "45s"
    times = 1
  }
}
"""
    assert [result.failures for result in runs(test, fabric)] == [(), ()]


def test_the_tests_of_the_example():
    """The tests of the example pass."""
    file = Path(__file__).parents[3] / "examples" / "tested.hcl"
    configuration = load([file], adapters=AdapterRegistry(), environ={}, with_placeholders=True)
    results = [run_case(configuration, case, Redactor()) for case in configuration.cases]
    assert len(results) == 5
    assert [result.case.name for result in results if not result.ok] == []
