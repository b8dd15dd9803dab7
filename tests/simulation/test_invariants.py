"""Each invariant of the simulation finds the fault that it is for, where it is planted into the bridge."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from bridge.bus import Bus
from bridge.bus.listeners import Listeners
from bridge.connection.connection import Connection
from bridge.connection.inbound import Delivery
from bridge.core.backoff import Backoff
from bridge.core.model import Outcome
from bridge.core.ports import AckDecision
from bridge.core.responder import Responder
from bridge.gateway import IntegrationGateway
from bridge.outbox import Outbox, dead_letters
from bridge.outbox.delivery_queue import DeliveryQueue
from bridge.outbox.entry import Entry, Progress
from bridge.outbox.store import LetterCount
from bridge.resilience.accounting import Accounting
from bridge.resilience.circuit import CircuitBreaker
from bridge.resilience.limits import Limiter
from bridge.simulation import Answer, Simulation
from bridge.simulation.faults import Fault, plan, random_faults
from bridge.simulation.invariants import INVARIANTS, finish, violations
from tests.support.simulation.configured import configured

_TEXT = """
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:1/rpc"
  }
  resilience {
    timeout = "1s"
    circuit_breaker {
      failure_threshold = 3
      timeout           = "5s"
    }
  }
}
integration "events" {
  type = "mqtt"
  endpoint {
    url = "mqtt://127.0.0.1:1"
  }
}
route "orders" {
  on          = ["order.*"]
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params      = event.payload
  delivery    = "at_least_once"
  receipts    = true
  key         = "one"
}
route "copies" {
  on          = ["order.*"]
  integration = "events"
  operation   = "publish"
  topic       = "copies"
  message     = event.payload
}
subscription "metrics" {
  integration = "events"
  topic       = "metrics/#"
  emit        = "data.metrics"
}
"""


def _run(folder: Path) -> list[str]:
    """Run a gateway whose remotes fail for a while; return what is not as it must be."""
    configuration = configured(folder, _TEXT)
    failing = [*[Answer(error="unavailable")] * 8, Answer(error="rejected")]
    with Simulation(configuration, answers={"shop": [*failing, Answer(result=1, after=0.1)]}) as world:
        for number in range(10):
            emit = partial(world.emit, "order.created", {"n": number}, correlation_id=f"c{number}")
            world.at(number, partial(emit, headers={"idempotency_key": f"k{number}"}))
            world.at(number, partial(world.deliver, "metrics", "metrics/cpu", number))
        world.at(300, partial(world.emit, "bridge.replay", {}, correlation_id="replay"))
        for seconds, command in ((120, "pause"), (122, "resume")):
            world.at(seconds, partial(world.emit, f"integration.events.{command}", {}, correlation_id=command))
        world.at(121, partial(world.emit, "order.created", {"n": 10}, correlation_id="c10"))
        for seconds, listens in ((130, False), (132, True)):
            world.at(seconds, partial(world.listen, listens))
        world.at(131, partial(world.deliver, "metrics", "metrics/cpu", 10))
        plan(world, [Fault(3.5, 4.0, "down", "events"), Fault(20, 0.0, "dies_opening", "events", 12)])
        world.start()
        world.run(600)
        return violations(finish(world, configuration))


def test_a_run_without_a_planted_fault(tmp_path: Path) -> None:
    """All invariants hold, although remotes fail."""
    assert _run(tmp_path) == []


def _sums(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = Accounting.sums
    monkeypatch.setattr(Accounting, "sums", lambda self: msgspec.structs.replace(sums(self), shed=sums(self).shed + 1))


def _said_to_be_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    done = DeliveryQueue._done
    delivered = Outcome(attempts=1)
    monkeypatch.setattr(
        DeliveryQueue,
        "_done",
        lambda self, entry, connection, ended, _: done(self, entry, connection, ended, delivered),
    )


def _no_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Responder, "_receipt", lambda *_: None)


def _two_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    respond = Responder._respond

    def twice(self: Responder, *arguments: Any) -> None:
        respond(self, *arguments)
        respond(self, *arguments)

    monkeypatch.setattr(Responder, "_respond", twice)


def _no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = DeliveryQueue._hold

    def without_key(self: DeliveryQueue, entry: Entry) -> None:
        entry.body = msgspec.structs.replace(entry.body, key=None)
        hold(self, entry)

    monkeypatch.setattr(DeliveryQueue, "_hold", without_key)


def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "failed", lambda *_, **__: 0.05)


def _open_circuit_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CircuitBreaker, "allows", lambda _: True)


def _attempts_miscounted(monkeypatch: pytest.MonkeyPatch) -> None:
    after = Progress.after
    monkeypatch.setattr(Progress, "after", lambda self, attempts, history: after(self, attempts + 1, history))


def _letters_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_remove", lambda *_: None)


def _pause_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limiter, "pause", lambda _: None)


def _somebody_always_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listeners, "has", lambda *_: True)


def _receipts_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Bus._encode

    def and_cut(self: Bus, event_type: str, *arguments: Any) -> tuple[bytes, bytes]:
        frame, body = encode(self, event_type, *arguments)
        return frame, body[:-1] if event_type.startswith("receipt.") else body

    monkeypatch.setattr(Bus, "_encode", and_cut)


def _acknowledged_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Delivery, "__call__", lambda *_: AckDecision.ACK)


def _health_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = Connection.publish_health

    def once(self: Connection, *, heartbeat: bool = False) -> None:
        if not self._said or self._silent:
            publish(self, heartbeat=heartbeat)

    monkeypatch.setattr(Connection, "publish_health", once)


def _letters_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "dead_letters", {"shop": LetterCount(1, 0)})


def _outbox_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeliveryQueue, "pump", lambda _: None)


def _a_task_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    run = IntegrationGateway.run
    tasks = []

    async def and_a_task(self: IntegrationGateway) -> None:
        tasks.append(asyncio.create_task(asyncio.Event().wait()))
        await run(self)

    monkeypatch.setattr(IntegrationGateway, "run", and_a_task)


def _a_bug_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    start = IntegrationGateway._set_status

    def and_an_error(self: IntegrationGateway, *arguments: Any) -> None:
        structlog.get_logger().error("bug")
        start(self, *arguments)

    monkeypatch.setattr(IntegrationGateway, "_set_status", and_an_error)


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "sums_balance": _sums,
    "one_end_of_each_stored_event": _said_to_be_delivered,
    "one_outcome_is_told": _no_receipts,
    "one_response": _two_responses,
    "order_by_key": _no_order,
    "sessions_within_backoff": _no_backoff,
    "breaker_is_legal": _open_circuit_lets_through,
    "numbers_are_true": _attempts_miscounted,
    "letters_are_kept": _letters_stay,
    "pauses_are_kept": _pause_does_nothing,
    "listeners_are_waited_for": _somebody_always_listens,
    "all_can_be_read": _receipts_are_cut,
    "messages_are_kept": _acknowledged_and_dropped,
    "health_is_the_state": _health_is_late,
    "overview_is_the_state": _letters_that_are_gone,
    "all_comes_to_an_end": _outbox_stands_still,
    "no_task_is_left": _a_task_of_nobody,
    "no_bug_is_logged": _a_bug_is_logged,
}


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_a_planted_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invariant: str) -> None:
    """A bridge with the fault that an invariant is for does not pass it."""
    PLANTED[invariant](monkeypatch)
    assert invariant in {line.partition(":")[0] for line in _run(tmp_path)}


def test_random_faults_are_the_same_for_a_seed() -> None:
    """A seed gives the same faults each time, in order, each with a line for a person."""
    first, second = (random_faults(random.Random(5), ["a", "b"], until=100, most=50) for _ in range(2))
    assert first == second
    assert first == sorted(first, key=lambda one: one.at)
    assert all(str(one).startswith("at ") for one in first)
