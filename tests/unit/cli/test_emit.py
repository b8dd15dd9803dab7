"""`nemo-bridge emit`: what it says where nothing takes the event, and what it shows with --wait."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import msgspec
import pytest

from bridge.bus.listeners import Listeners
from bridge.cli import emit
from bridge.cli.exit_codes import ExitCode
from bridge.cli.talk import BusOptions
from bridge.client import Listener
from bridge.core.clock import RealClock
from bridge.core.errors import InvalidError
from bridge.core.model import Event

ME = "client/me"
#: One route that takes it.
ROUTED = {"command": False, "stops": False, "error": None, "routes": []}
OK = {"ok": True, "result": {"id": 7}, "attempts": 1, "duration_ms": 1.0}
FAILED = {
    "ok": False,
    "error": {"kind": "rejected", "message": "no such product", "retryable": False},
    "attempts": 1,
    "duration_ms": 1.0,
}


def matched(*routes: tuple[str, bool | None], **more: Any) -> dict[str, Any]:
    """Return a bridge's answer about routes to `shop`."""
    listed = [{"route": name, "integration": "shop", "operation": "request", "where": where} for name, where in routes]
    return ROUTED | {"routes": listed} | more


class Bus:
    """A bus with bridges that answer as scripted, in place of `BusClient`.

    Attributes:
        emitted: What was emitted, commands to the bridge left out.
    """

    source = ME

    def __init__(self, bridges: dict[str, dict[str, Any]], script: Callable[["Bus", str], None]) -> None:
        self.clock = RealClock()
        self.listeners = Listeners()
        self.emitted: list[tuple[str, Any]] = []
        self._bridges = bridges
        self._script = script
        self._listener = Listener(100)
        self._correlation_id = ""

    @contextlib.contextmanager
    def listen(self) -> Iterator[Listener]:
        yield self._listener

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def has_listener(self, event_type: str) -> bool:
        return self.listeners.has(event_type)

    @property
    def taken_patterns(self) -> frozenset[str]:
        return self.listeners.taken_patterns

    def emit(self, event_type: str, payload: Any, *, correlation_id: str | None, headers: Any) -> None:
        """Answer questions, and play the script when the event comes."""
        self.put(event_type, payload, ME, correlation_id)
        if event_type in {"bridge.match", "bridge.ping"}:
            assert headers == ({"tenant": "north"} if event_type == "bridge.match" else None)
            for source, answer in self._bridges.items():
                result = answer if event_type == "bridge.match" else payload
                self.put(f"response.{event_type}", OK | {"result": result}, source, correlation_id)
        else:
            self.emitted.append((event_type, payload))
            self._correlation_id = correlation_id or ""
            self._script(self, event_type)

    async def ask(self, event_type: str, payload: Any, *, timeout: float) -> Event:
        """Return the first bridge's answer."""
        assert event_type == "bridge.match"
        if not self._bridges:
            raise TimeoutError
        source, answer = next(iter(self._bridges.items()))
        return self.event("response.bridge.match", OK | {"result": answer}, source, "c")

    def put(self, event_type: str, payload: Any, source: str = "bridge", correlation_id: str | None = "") -> None:
        """Put an event onto the bus; by default with the correlation id of the event that was emitted."""
        wanted = self._correlation_id if correlation_id == "" else correlation_id
        self._listener.put(self.event(event_type, payload, source, wanted))

    @staticmethod
    def event(event_type: str, payload: Any, source: str, correlation_id: str | None) -> Event:
        """Return an event as it comes off the bus."""
        raw = msgspec.Raw(msgspec.msgpack.encode(payload))
        return Event(
            id=1,
            event_type=event_type,
            raw=raw,
            timestamp=1,
            source=source,
            correlation_id=correlation_id,
            headers=None,
        )


class Options(BusOptions, frozen=True):
    """Options that lead to a bus of the test."""

    scripted: Any = None

    def client(self, prefixes: Sequence[str], *, listens: bool = True) -> Any:
        """Return the bus; who waits must not count as a listener."""
        assert listens is (prefixes == ())
        return self.scripted


def run(bus: Bus, event_type: str, *, wait: bool, timeout: str = "30s") -> ExitCode:
    """Emit an event with a header for the conditions, and one that must not go into the question."""
    header = ["tenant=north", "idempotency_key=k"] if wait else []
    return emit.emit(
        Options(None, None, None, scripted=bus),
        event_type,
        '{"id": 7}',
        None,
        header,
        wait=wait,
        timeout=timeout,
        as_json=wait,
    )


def nothing(_: Bus, __: str) -> None:
    """Nothing comes."""


def shown(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    """The types of the events that were shown, and what was said on standard error."""
    said = capsys.readouterr()
    return [json.loads(line)["event_type"] for line in said.out.splitlines()], said.err


def taking(bus: Bus, *patterns: str) -> Bus:
    """Let a bridge tell that its routes take these patterns."""
    for pattern in patterns:
        bus.listeners.add(f"client.takes.{pattern}".encode())
    return bus


# --- without --wait


@pytest.mark.parametrize("listener", ["client.takes.order.*", "order.cre"])
def test_somebody_takes_it(listener: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A route or a subscriber is enough; nothing is said."""
    bus = Bus({}, nothing)
    bus.listeners.add(listener.encode())
    assert run(bus, "order.created", wait=False) == ExitCode.OK
    assert (bus.emitted, shown(capsys)) == ([("order.created", {"id": 7})], ([], ""))


@pytest.mark.parametrize(("event_type", "hint"), [("order.craeted", "; did you mean 'order.created'?"), ("lamp", "")])
def test_nothing_takes_it(event_type: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is emitted all the same, and said that nothing takes it, with the type that was probably meant."""
    bus = taking(Bus({}, nothing), "order.created")
    assert run(bus, event_type, wait=False) == ExitCode.OK
    says = f"nothing takes {event_type}: no route matches it, and nobody on the bus subscribes to it{hint}"
    assert (len(bus.emitted), shown(capsys)) == (1, ([], f"nemo-bridge: {says}\n"))


UNKNOWN = {"kind": "unknown_integration", "message": "there is no integration 'shpo'", "retryable": False}


@pytest.mark.parametrize(
    ("bridges", "says"),
    [
        ({"bridge": ROUTED | {"command": True}}, ""),
        ({"bridge": ROUTED | {"error": UNKNOWN}}, "no bridge executes it: there is no integration 'shpo'"),
        ({"bridge": {"odd": 1}}, ""),
        ({}, "nothing takes integration.shpo.request: no bridge answers on this bus"),
    ],
)
def test_a_command(bridges: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A bridge is asked whether it executes it, because that does not show on the bus."""
    bus = Bus(bridges, nothing)
    assert run(bus, "integration.shpo.request", wait=False) == ExitCode.OK
    assert (len(bus.emitted), shown(capsys)) == (1, ([], f"nemo-bridge: {says}\n" if says else ""))


def test_json_needs_wait() -> None:
    """What --json would print comes only with --wait."""
    with pytest.raises(InvalidError, match="--wait"):
        emit.emit(
            Options(None, None, None, scripted=Bus({}, nothing)),
            "a",
            "1",
            None,
            [],
            wait=False,
            timeout="1s",
            as_json=True,
        )


# --- with --wait


def answered(bus: Bus, event_type: str) -> None:
    """A call with one retry, its answer, and what belongs to it; and much that does not."""
    bus.put("resilience.shop.retry", {}, correlation_id="another")
    bus.put("resilience.shop.retry", {})
    bus.put("health.shop", {}, correlation_id=None)
    bus.put("resilience.shop.circuit.opened", {}, correlation_id="another")
    bus.put("resilience.bank.circuit.opened", {}, correlation_id=None)
    bus.put(f"response.{event_type}", OK | {"route": "orders"})
    bus.put("receipt.shop.delivered", {})
    bus.put("order.confirmed", {"id": 7})


def test_all_that_comes_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Response, retry, circuit, receipt and the route's own event, in order, up to the last; nothing of others."""
    bus = Bus({"bridge": matched(("orders", True))}, answered)
    assert run(bus, "order.created", wait=True) == ExitCode.OK
    assert shown(capsys) == (
        [
            "resilience.shop.retry",
            "resilience.shop.circuit.opened",
            "response.order.created",
            "receipt.shop.delivered",
            "order.confirmed",
        ],
        "",
    )


def test_a_failure_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """One of two routes fails, in two bridges; each is waited for, the one whose condition is false is not."""

    def script(bus: Bus, event_type: str) -> None:
        bus.put(f"response.{event_type}", OK | {"route": "orders"}, "bridge/b")
        bus.put(f"response.{event_type}", OK | {"route": ["odd"]}, "bridge/b")
        bus.put(f"response.{event_type}", FAILED | {"route": "orders"}, "bridge/a")

    routes = {"bridge/a": matched(("orders", True), ("large", False)), "bridge/b": matched(("orders", None))}
    assert run(Bus(routes, script), "order.created", wait=True) == ExitCode.FAILED
    assert shown(capsys) == (["response.order.created"] * 3, "")


def test_a_command_is_answered_by_one_bridge(capsys: pytest.CaptureFixture[str]) -> None:
    """The others, which do not have the integration, are not waited for."""

    def script(bus: Bus, event_type: str) -> None:
        bus.put(f"response.{event_type}", OK, "bridge/b")

    bridges = {"bridge/a": ROUTED, "bridge/b": ROUTED | {"command": True}}
    assert run(Bus(bridges, script), "integration.shop.request", wait=True) == ExitCode.OK
    assert shown(capsys) == (["response.integration.shop.request"], "")


def test_a_command_that_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Its response says why."""

    def script(bus: Bus, event_type: str) -> None:
        bus.put(f"response.{event_type}", FAILED)

    bridges = {"bridge": ROUTED | {"error": UNKNOWN}}
    assert run(Bus(bridges, script), "integration.shpo.request", wait=True) == ExitCode.FAILED
    assert shown(capsys) == (["response.integration.shpo.request"], "")


def test_a_response_that_does_not_come(capsys: pytest.CaptureFixture[str]) -> None:
    """It says which route has not answered in the time."""
    bus = Bus({"bridge": matched(("orders", True), ("audit", True))}, answered)
    assert run(bus, "order.created", wait=True, timeout="50ms") == ExitCode.FAILED
    assert shown(capsys)[1] == "nemo-bridge: no response within 0.05 s: route audit\n"


@pytest.mark.parametrize(
    ("answer", "listener", "code", "says"),
    [
        (matched(("large", False)), "", ExitCode.FAILED, "`where` is not true for this event in route large"),
        (ROUTED, "", ExitCode.FAILED, "nothing takes order.craeted: .*did you mean 'order.created'"),
        (ROUTED, "order.craeted", ExitCode.FAILED, "no route matches order.craeted, but a program .* subscribes to it"),
        (ROUTED, "client.exports.order.*", ExitCode.FAILED, "no route matches order.craeted, but a fabric exports it"),
        (ROUTED | {"stops": True}, "", ExitCode.OK, "order.craeted stops the bridge"),
    ],
)
def test_no_response_will_come(
    answer: dict[str, Any], listener: str, code: ExitCode, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is emitted, and not waited for; why is said."""
    bus = taking(Bus({"bridge": answer}, nothing), "order.created")
    if listener:
        bus.listeners.add(listener.encode())
    assert run(bus, "order.craeted", wait=True) == code
    lines, said = shown(capsys)
    assert (len(bus.emitted), lines) == (1, [])
    assert re.search(says, said), said


def test_no_bridge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a bridge nothing is emitted."""
    monkeypatch.setattr(emit, "_PATIENCE", 0.05)
    bus = Bus({}, nothing)
    assert run(bus, "order.created", wait=True) == ExitCode.NO_ANSWER
    assert (bus.emitted, shown(capsys)) == (
        [],
        ([], "nemo-bridge: order.created was not emitted: no bridge answers on this bus\n"),
    )
