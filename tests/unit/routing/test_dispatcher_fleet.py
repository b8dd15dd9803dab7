"""`bridge.fleet` and `bridge.forget_node` are checked and answered."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from bridge.core.errors import InvalidError
from bridge.core.model import Event
from bridge.core.payloads import Fleet, Forgotten
from bridge.core.responder import Responder
from bridge.routing.dispatcher import Dispatcher
from bridge.routing.router import Router
from tests.support.clock import FakeClock


class _Bus:
    def __init__(self) -> None:
        self.published: dict[str, Any] = {}

    def publish(self, event_type: str, payload: Any, **_: Any) -> None:
        self.published[event_type] = msgspec.to_builtins(payload)

    publish_or_report = publish


class _Controls:
    def __init__(self) -> None:
        self.work: list[Coroutine[Any, Any, None]] = []

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        self.work.append(work)

    def fleet(self) -> Fleet:
        return Fleet(fabrics={})

    async def forget_node(self, node: str, fabric: str | None) -> Forgotten:
        if node == "alive":
            raise InvalidError("node alive is connected")
        return Forgotten(fabrics=[fabric or "all"])


async def _answer(operation: str, payload: Any) -> Any:
    bus, controls, clock = _Bus(), _Controls(), FakeClock()
    dispatcher = Dispatcher(
        Router({}, ()),
        {},
        controls,
        outbox=None,
        bus=bus,
        responder=Responder(bus, most=10_000, clock=clock),
        source="bridge",
        clock=clock,
    )
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    event_type = f"bridge.{operation}"
    dispatcher.on_event(
        Event(id=1, event_type=event_type, raw=raw, timestamp=1, source="app", correlation_id="c", headers=None)
    )
    await asyncio.gather(*controls.work)
    return bus.published[f"response.{event_type}"]


@pytest.mark.parametrize(
    ("operation", "payload", "result"),
    [
        ("fleet", {}, {"fabrics": {}}),
        ("fleet", None, {"fabrics": {}}),
        ("forget_node", {"node": "desk-9"}, {"fabrics": ["all"]}),
        ("forget_node", {"node": "desk-9", "fabric": "plant"}, {"fabrics": ["plant"]}),
    ],
)
async def test_what_is_asked_is_answered(operation: str, payload: Any, result: Any) -> None:
    """The answer is what the gateway returns."""
    assert (await _answer(operation, payload))["result"] == result


@pytest.mark.parametrize(
    ("operation", "payload", "told"),
    [
        ("fleet", {"node": "desk-9"}, "fleet: "),
        ("forget_node", None, "forget_node: "),
        ("forget_node", {"node": ""}, "forget_node: "),
        ("forget_node", {"fabric": "plant"}, "forget_node: "),
        ("forget_node", {"node": "alive"}, "node alive is connected"),
    ],
)
async def test_what_is_wrong_is_said(operation: str, payload: Any, told: str) -> None:
    """Arguments that do not fit, and what the gateway refuses, are `invalid`."""
    answer = await _answer(operation, payload)
    assert answer["error"]["kind"] == "invalid"
    assert answer["error"]["message"].startswith(told)
