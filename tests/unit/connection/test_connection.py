"""A running integration: its health, its answers and its reports."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bridge.connection import Connection, SubscriptionSpec
from bridge.connection.subscriptions import Subscriptions
from bridge.core.endpoint import NO_AUTH, AuthBasic, Endpoint, Strict, Tls
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    ProtocolError,
    RejectedError,
)
from bridge.core.model import Operation, Outcome, Publish, Request
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Deliver,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.redaction import Redactor
from bridge.core.settings import CircuitBreakerSettings, HealthSettings, ResilienceSettings, RetrySettings
from tests.support.clock import FakeClock
from tests.support.guard.operations import operation
from tests.support.guard.tracer import RecordingTracer


class Bus:
    """Records published events and last values."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.kept: dict[str, Any] = {}

    def publish(self, event_type: str, payload: Any, **_: Any) -> None:
        self.events.append((event_type, msgspec.to_builtins(payload)))

    publish_or_report = publish

    def keep(self, event_type: str, payload: Any, **_: Any) -> None:
        self.kept[event_type] = msgspec.to_builtins(payload)
        self.publish(event_type, payload)

    def forget(self, event_type: str) -> None:
        del self.kept[event_type]

    def reject_loop(self, event_type: str) -> None:
        raise AssertionError(event_type)

    def forget_last(self, owner: object) -> None:
        pass

    def look_again(self) -> None:
        pass

    def offer(self, event_type: str, payload: Any, *, headers: Any) -> bool:
        raise AssertionError(event_type)

    def when_confirmed(self, then: Callable[[], None]) -> None:
        raise AssertionError(then)

    async def room(self) -> None:
        raise AssertionError


class Adapter(AdapterBase):
    """Answers as the test sets it; the method `hang` never answers."""

    protocol = "fake"

    def __init__(self, running: "RunningConnection") -> None:
        self._running = running

    async def connect(self) -> None:
        if self._running.refuse is not None:
            raise self._running.refuse

    async def check(self) -> None:
        await self.connect()

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        if topic not in self._running.topics:
            raise RejectedError("forbidden")
        self._running.subscribed.append(Subscription(topic))
        return self._running.subscribed[-1]

    async def request(self, command: Request, context: Context) -> Any:
        self._running.contexts.append(context)
        if command.method == "hang":
            await asyncio.Event().wait()
        if self._running.fail is not None:
            raise self._running.fail
        return command.method


@dataclass
class Settings:
    """An integration without a configuration file."""

    spec: AdapterSpec
    id: str = "api"
    endpoint: Endpoint | None = None
    auth: Any = NO_AUTH
    tls: Tls = field(default_factory=Tls)
    config: Any = None
    resilience: ResilienceSettings = field(
        default_factory=lambda: ResilienceSettings(
            retry=RetrySettings(max_attempts=1), circuit_breaker=CircuitBreakerSettings(failure_threshold=2)
        )
    )
    health: HealthSettings = field(default_factory=HealthSettings)


class RunningConnection:
    """A connection that runs, on a fake clock."""

    def __init__(
        self,
        *,
        has_session: bool = True,
        specs: Sequence[SubscriptionSpec] = (),
        tracer: RecordingTracer | None = None,
        attempts: int = 1,
    ) -> None:
        self.clock = FakeClock()
        self.bus = Bus()
        self.refuse: BridgeError | None = None
        self.fail: BridgeError | None = None
        self.contexts: list[Context] = []
        self.outcomes: list[Outcome] = []
        self.changes = 0
        self.topics: set[str] = set()
        self.subscribed: list[Subscription] = []
        spec = AdapterSpec(
            protocol="fake",
            summary="",
            operations=frozenset({"request"}),
            auth=frozenset(),
            config=Strict,
            schemes={},
            create=self._create,
            has_session=has_session,
        )
        retry = RetrySettings(max_attempts=attempts, budget=1.0)
        breaker = CircuitBreakerSettings(failure_threshold=2)
        self.connection = Connection(
            Settings(spec, resilience=ResilienceSettings(retry=retry, circuit_breaker=breaker)),
            specs,
            bus=self.bus,
            clock=self.clock,
            rng=random.Random(1),
            on_change=self._changed,
            tracer=tracer,
        )

    def _create(self, setup: AdapterSetup) -> Adapter:
        self.setup = setup
        return Adapter(self)

    def _changed(self) -> None:
        self.changes += 1

    async def __aenter__(self) -> Self:
        self.task = asyncio.ensure_future(self.connection.run())
        await self.clock.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def call(self, method: str = "m", **fields: Any) -> Outcome | None:
        """Submit one request and return its outcome, if it has one already."""
        before = len(self.outcomes)
        what: Operation = operation(**{"command": Request(method=method), **fields})
        self.connection.submit(what, lambda _, outcome: self.outcomes.append(outcome))
        await self.clock.settle()
        return self.outcomes[-1] if len(self.outcomes) > before else None

    @property
    def health(self) -> dict[str, Any]:
        """The last payload of `health.api`."""
        return self.bus.kept["health.api"]

    def statuses(self) -> list[str]:
        """Return the published payloads of `health.api`, in order."""
        return [payload["status"] for event_type, payload in self.bus.events if event_type == "health.api"]

    def said(self) -> list[str]:
        """Return the resilience events, in order."""
        return [event_type for event_type, _ in self.bus.events if event_type.startswith("resilience.")]


async def test_health_is_published_once_for_each_change():
    """Health has the previous status and the time of the change; the gateway gets a callback, too."""
    async with RunningConnection() as running:
        assert running.statuses() == ["connecting", "connected"]
        now = running.bus.kept["health.api"]
        assert (now["previous"], now["since"], now["circuit"]) == ("connecting", running.clock.wall_ms(), "closed")
        await running.clock.advance(100.0)
        assert running.statuses() == ["connecting", "connected"]
        assert running.changes == 1


async def test_a_heartbeat_publishes_health_again():
    """A heartbeat publishes the same state again, without a change."""
    async with RunningConnection() as running:
        running.connection.publish_health(heartbeat=True)
        assert running.statuses() == ["connecting", "connected", "connected"]


async def test_the_status_is_the_one_that_was_told(monkeypatch: pytest.MonkeyPatch):
    """What changes before health tells it is not seen yet, so that `health.bridge` never says anything else."""
    async with RunningConnection() as running:
        monkeypatch.setattr(Subscriptions, "well", False)
        assert running.connection.status == running.health["status"] == "connected"
        running.connection.publish_health()
        assert running.connection.status == running.health["status"] == "degraded"


async def test_a_call_is_answered():
    """A call gets its result through the callback."""
    async with RunningConnection() as running:
        outcome = await running.call("hello")
        assert (outcome.result, outcome.attempts) == ("hello", 1)


async def test_what_comes_before_it_runs_waits():
    """A call that comes between the making of a connection and its start is answered like any other, unless it ends."""
    running = RunningConnection(has_session=False)
    assert await running.call("early") is None
    async with running:
        (outcome,) = running.outcomes
        assert (outcome.result, outcome.attempts) == ("early", 1)
    assert (await running.call("late")).error.message == "api has ended"


async def test_paused_and_resumed_before_it_runs():
    """A resume that comes before the start does not start what has nothing to run on."""
    running = RunningConnection(has_session=False)
    await running.call("early")
    running.connection.pause()
    running.connection.resume()
    assert running.outcomes == []
    async with running:
        assert [outcome.result for outcome in running.outcomes] == ["early"]


async def test_a_bridge_that_ends_before_it_runs_answers():
    """What waits for the start of a connection that never comes is answered with `stopping`."""
    running = RunningConnection(has_session=False)
    await running.call("early")
    await running.connection.stop_queued()
    assert [outcome.error.kind for outcome in running.outcomes] == ["stopping"]


async def test_connected_with_an_open_circuit_is_degraded():
    """The health changes with the circuit, and the events of the circuit come first."""
    async with RunningConnection() as running:
        running.fail = ConnectionLostError("gone")
        await running.call()
        await running.call()
        assert running.statuses() == ["connecting", "connected", "degraded"]
        assert running.said() == ["resilience.api.circuit.opened"]
        assert (await running.call()).error.kind == "circuit_open"


async def test_reports_carry_operation_and_cause():
    """Each resilience event names its operation and its cause, as the bus contract requires."""
    async with RunningConnection() as running:
        running.fail = ConnectionLostError("gone")
        await running.call()
        await running.call()
        (opened,) = [payload for event_type, payload in running.bus.events if event_type.startswith("resilience.")]
        assert (opened["integration"], opened["operation"]) == ("api", "request")
        assert opened["cause"] == {"source": "app", "id": 1, "event_type": "integration.api.request"}


async def test_refused_credentials_are_failed_until_a_call_gets_through():
    """Refused credentials make the status `failed`; a successful call ends it."""
    async with RunningConnection(has_session=False) as running:
        running.fail = AuthError("no", permanent=True)
        await running.call()
        assert running.statuses()[-1] == "failed"
        assert running.bus.kept["health.api"]["error"]["kind"] == "auth"
        running.fail = None
        await running.call()
        assert running.statuses()[-1] == "connected"
        assert running.bus.kept["health.api"]["error"] is None


async def test_a_call_does_not_outweigh_a_loss_that_the_adapter_reports():
    """If the adapter reports a lost feed, the integration stays `disconnected` although calls succeed."""
    async with RunningConnection(has_session=False) as running:
        running.refuse = NotConnectedError("no stream")
        running.setup.on_lost(ConnectionLostError("the stream ended"))
        await running.clock.settle()
        await running.clock.advance(1.0)
        assert running.statuses()[-1] == "disconnected"
        assert (await running.call()).ok
        assert running.statuses()[-1] == "disconnected"


async def test_a_session_protocol_answers_not_connected_at_once():
    """The error names the reason why there is no connection."""
    running = RunningConnection()
    running.refuse = NotConnectedError("refused by the remote")
    async with running:
        outcome = await running.call()
        assert outcome.error.kind == "not_connected"
        assert "refused by the remote" in outcome.error.message
        assert outcome.attempts == 1


async def test_paused_and_resumed():
    """Operations that come during a pause wait for `resume`."""
    async with RunningConnection() as running:
        running.connection.pause()
        assert await running.call() is None
        assert running.bus.kept["health.api"]["status"] == "paused"
        assert running.bus.kept["health.api"]["queued"] == 0
        assert running.connection.health().queued == 1
        running.connection.resume()
        await running.clock.settle()
        assert running.outcomes[-1].ok
        assert running.bus.kept["health.api"]["status"] == "connected"


async def test_draining_ends_in_stopped_and_resume_begins_again():
    """Draining finishes what runs and answers new operations with `stopping`."""
    async with RunningConnection() as running:
        await running.call("hang", deadline=running.clock.monotonic() + 1.0)
        running.connection.drain()
        draining = asyncio.ensure_future(running.connection.drained())
        await running.clock.settle()
        assert (await running.call()).error.kind == "stopping"
        assert not draining.done()
        await running.clock.advance(1.1)
        assert draining.done()
        assert running.bus.kept["health.api"]["status"] == "stopped"
        running.connection.resume()
        assert (await running.call()).ok


async def test_what_is_cut_off_by_the_end_is_still_answered():
    """If the bridge ends during a call, the caller gets `stopping`, once."""
    async with RunningConnection() as running:
        assert await running.call("hang") is None
    (outcome,) = running.outcomes
    assert outcome.error.kind == "stopping"
    assert outcome.error.maybe_sent


async def test_what_travels_outside():
    """The adapter gets unknown headers and `hop` plus one, but not the headers of the bus."""
    headers = {"traceparent": "t", "idempotency_key": "k", "seq": "4", "deadline_ms": "5", "hop": "2"}
    async with RunningConnection() as running:
        await running.call(headers=headers, hop=2, idempotency_key="k")
        (context,) = running.contexts
        assert context.headers == {"traceparent": "t", "hop": "3"}
        assert context.idempotency_key == "k"


async def test_the_session_of_the_failed_attempt_tells_whether_to_try_again(monkeypatch: pytest.MonkeyPatch):
    """A method that may be called twice is, although the session on which it was called has ended with the attempt."""
    monkeypatch.setattr(Adapter, "is_idempotent", lambda _, command: command.method == "read")

    async def cut(adapter: Adapter, command: Request, _: Context) -> str:
        if running.fail is not None:
            error, running.fail = running.fail, None
            running.setup.on_lost(error)
            raise error
        return command.method

    monkeypatch.setattr(Adapter, "request", cut)
    async with RunningConnection(attempts=2) as running:
        for method, repeated in (("read", True), ("write", False)):
            running.fail = ConnectionLostError("cut")
            await running.call(method)
            await running.clock.advance(100.0)
            assert (running.outcomes[-1].attempts > 1) is repeated


async def test_each_attempt_travels_with_its_own_place_in_the_trace():
    """What is sent names its attempt, and what comes of the operation names the operation; each span ends once."""
    tracer = RecordingTracer()
    ended: list[Operation] = []
    async with RunningConnection(tracer=tracer, attempts=2) as running:
        running.fail = NotConnectedError("refused")
        asked = operation(7, headers={"traceparent": "t", "baggage": "b", "hop": "2"}, hop=2)
        running.connection.submit(asked, lambda operation, _: ended.append(operation))
        await running.clock.settle()
        running.fail = None
        await running.clock.advance(10.0)
    assert tracer.ended == [("fake-7", [None]), ("fake-7/1", ["not_connected"]), ("fake-7/2", [None])]
    assert [dict(context.headers) for context in running.contexts] == [
        {"traceparent": f"fake-7/{number}", "baggage": "b", "hop": "3"} for number in (1, 2)
    ]
    assert [one.headers for one in ended] == [{"traceparent": "fake-7", "baggage": "b", "hop": "2"}]


async def test_what_is_not_tried_or_cut_off_ends_in_the_trace_too():
    """An open circuit ends an operation without an attempt; the end of the bridge ends the attempt that runs."""
    tracer = RecordingTracer()
    async with RunningConnection(tracer=tracer) as running:
        running.connection.guard.breaker.force_open(operation(1))
        await running.call(cause=operation(2).cause)
        running.connection.guard.breaker.reset(operation(1))
        await running.call("hang", cause=operation(3).cause)
    assert tracer.ended == [("fake-2", ["circuit_open"]), ("fake-3", ["stopping"]), ("fake-3/1", ["stopping"])]


async def test_an_operation_that_the_adapter_lacks():
    """An operation that the adapter does not have ends as `not_supported`."""
    async with RunningConnection() as running:
        outcome = await running.call(name="publish", command=Publish(topic="t", message=1))
        assert outcome.error.kind == "not_supported"


async def test_what_is_not_safe_is_told():
    """A warning is in each health, without secrets of the configuration."""
    running = RunningConnection()
    spec = msgspec.structs.replace(running.connection.settings.spec, schemes={"x": (1, False), "xs": (2, True)})
    auth = AuthBasic(type="basic", password=SecretStr("hunter2"))
    settings = Settings(spec, endpoint=Endpoint(url="x://inner.example"), auth=auth)
    running.connection = Connection(
        settings, (), bus=running.bus, clock=running.clock, rng=random.Random(1), redactor=Redactor(["inner.example"])
    )
    told = "`auth`: the password travels unencrypted to ***:1; use TLS, by `xs://` or `tls = true`"
    async with running:
        await running.clock.advance(100)
        assert running.connection.health().warnings == [told]


async def test_health_holds_the_sums():
    """`health.<id>` accounts for every operation, and counts each connection after the first."""
    async with RunningConnection() as running:
        await running.call("go")
        running.fail = RejectedError("no")
        await running.call("go")
        health = msgspec.to_builtins(running.connection.health())
        assert health["accounting"] == {
            "accepted": 2, "succeeded": 1, "failed": 1, "dead_lettered": 0, "expired": 0, "shed": 0,
            "in_flight": 0, "queued": 0,
        }  # fmt: skip
        assert (health["reconnects"], health["messages"], health["warnings"]) == (0, 0, [])
        running.setup.on_lost(ConnectionLostError("gone"))
        await running.clock.advance(6)
        assert running.connection.health().reconnects == 1


async def test_a_subscription_that_is_not_live_is_told():
    """The integration is degraded and names it; it is well again when the subscription is."""
    async with RunningConnection(specs=[SubscriptionSpec("w", "t")]) as running:
        assert running.health["status"] == "degraded"
        error = {"kind": "rejected", "message": "forbidden", "retryable": False}
        assert running.health["subscriptions"] == {"w": {"status": "failed", "error": error}}
        assert (await running.call()).ok
        running.topics.add("t")
        await running.clock.advance(60.1)
        assert running.health["status"] == "connected"
        assert running.health["subscriptions"] == {}
        running.topics.clear()
        running.setup.on_subscription_ended(running.subscribed[0], RejectedError("revoked"))
        assert running.health["status"] == "degraded"
        assert running.health["subscriptions"]["w"]["error"]["message"] == "revoked"


async def test_dropped_messages_are_counted_and_reported_at_a_limited_rate():
    """Five of a kind in a second are events of their own, the rest of a flood is one; none is uncounted."""
    async with RunningConnection() as running:
        with capture_logs() as logs:
            for _ in range(1000):
                running.setup.on_dropped(ProtocolError("no JSON, token=s3cret"), "t" * 500)
            running.setup.on_dropped(InvalidError("no event type"), "u")
            await running.clock.advance(1.1)
        failed = [payload for event, payload in running.bus.events if event == "resilience.api.failed"]
        assert [one["count"] for one in failed if one["error"]["kind"] == "protocol"] == [1] * 5 + [995]
        assert [one["count"] for one in failed if one["error"]["kind"] == "invalid"] == [1]
        assert (failed[0]["operation"], failed[0]["cause"], len(failed[0]["topic"])) == ("subscribe", None, 200)
        assert running.connection.health().dropped == 1001
        assert len([line for line in logs if line["event"] == "message not put on the bus"]) == 7


async def test_warnings_of_a_session():
    """Each new text is one event, health has those of the current session, and a text can be taken back."""
    async with RunningConnection() as running:

        def told() -> list[str]:
            return [payload["text"] for event, payload in running.bus.events if event == "resilience.api.degraded"]

        running.setup.on_warning("qos", "granted 0")
        running.setup.on_warning("qos", "granted 0")
        assert running.health["warnings"] == ["granted 0"]
        assert told() == ["granted 0"]
        for n in range(100):
            running.setup.on_warning("other", f"text {n}")
        await running.clock.advance(1.1)
        assert running.health["warnings"] == ["granted 0", "text 99"]
        assert told() == ["granted 0", "text 0", "text 99"]
        running.setup.on_warning("other", None)
        assert running.health["warnings"] == ["granted 0"]
        before = running.setup
        running.setup.on_lost(ConnectionLostError("gone"))
        await running.clock.advance(1.0)
        assert running.health["warnings"] == []
        before.on_warning("qos", "late")
        running.setup.on_warning("qos", "granted 0")
        assert running.health["warnings"] == ["granted 0"]
        assert told() == ["granted 0", "text 0", "text 99"], "the next session says the same, which is no news"
        for n in range(50):
            running.setup.on_warning(f"name {n}", "x" * 2000)
        assert len(running.health["warnings"]) <= 21
        assert max(map(len, running.health["warnings"])) <= 500
        assert any("more than 20" in text for text in running.health["warnings"])
