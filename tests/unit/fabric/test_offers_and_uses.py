"""A command on one bus is executed by another bridge that offers its integration, as if it were local."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from bridge.core.errors import ConnectionLostError, ErrorKind, RejectedError
from bridge.core.model import MAX_HOP, ConnectionStatus, Event, Outcome
from bridge.core.settings import ResilienceSettings, RetrySettings
from bridge.fabric.offers import Offers
from bridge.simulation.cluster import MemoryCluster, MemorySession
from tests.support.clock import FakeClock
from tests.support.fabric.bridges import Bridge, Known, all_running
from tests.support.guard.operations import operation

SUBJECT = "nemo.plant.use.erp"
ONE_SECOND = ResilienceSettings(timeout=1.0, retry=RetrySettings(max_attempts=1))


class Fleet:
    """A bridge that uses `erp`, and others that offer it, in one fabric in memory.

    Attributes:
        clock: All time.
        cluster: The broker.
        known: What the user knows of the others.
        user: The bridge that uses `erp`.
        makers: Those that offer it.
        sessions: The session of each, by name.
    """

    def __init__(self, *makers: str, resilience: ResilienceSettings | None = None, **limits: int) -> None:
        self.clock = FakeClock()
        self.cluster = MemoryCluster(self.clock, **limits)
        self.known = Known(list(makers), 30.0)
        self.user = Bridge(self.clock, "user", own=False, known=self.known)
        self.makers = {name: Bridge(self.clock, name, own=True, resilience=resilience) for name in makers}
        self.sessions: dict[str, MemorySession] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all."""
        bridges = [*self.makers.values(), self.user]
        self.sessions = {one.name: self.cluster.session(one.name) for one in bridges}
        async with all_running({one: self.sessions[one.name] for one in bridges}):
            await self.clock.advance(1.0)
            try:
                yield
            finally:
                self.cluster.heal()  # nobody moves the clock on while all ends

    async def asked(self, method: str, params: object = None, seconds: float = 0.1, **headers: str) -> dict:
        """Return the payload of the response to a request on the user's bus."""
        self.user.call(method, params, **headers)
        await self.clock.advance(seconds)
        return self.user.responses[-1]

    def calls(self, method: str) -> dict[str, int]:
        """Return how often each maker's remote was called."""
        return {name: one.remote.calls[method] for name, one in self.makers.items()}


async def test_a_command_is_answered_as_if_it_were_local():
    """The response has the remote's result; on the other bus it came from the user's program, one crossing further."""
    fleet = Fleet("maker")
    maker = fleet.makers["maker"]
    async with fleet.running():
        response = await fleet.asked("orders.create", {"item": "bolt", "raw": b"\x00\xff"})
        assert response["ok"]
        assert response["result"] == {"item": "bolt", "raw": {"$bytes": "AP8="}, "number": 0}
        assert fleet.user.bus.published[-1][0] == "response.integration.erp.request"
        assert maker.part.context.counts.served == 1
        assert maker.responses == []


@pytest.mark.parametrize(
    ("operation", "payload", "result"),
    [
        ("publish", {"topic": "t", "message": 1}, {}),
        ("enqueue", {"queue": "q", "message": 1}, {"message_id": "q-1"}),
        ("request", {"method": "echo", "params": [1], "notify": True}, None),
    ],
)
async def test_the_other_operations(operation, payload, result):
    """`publish`, `enqueue` and notifications are carried, too."""
    fleet = Fleet("maker")
    async with fleet.running():
        fleet.user.command(operation, payload)
        await fleet.clock.advance(0.1)
        assert fleet.user.responses[-1]["result"] == result


@pytest.mark.parametrize("operation", ["subscribe", "dequeue", "ack"])
async def test_what_is_not_supported(operation):
    """All other operations are `not_supported`, and nobody is asked."""
    fleet = Fleet("maker")
    async with fleet.running():
        fleet.user.command(operation, {})
        assert fleet.user.responses[-1]["error"]["kind"] == "not_supported"
        assert not fleet.cluster.calls["ask"]


async def test_the_error_of_the_remote():
    """Kind, code, message and data are the remote's; both buses are told of the failure."""
    fleet = Fleet("maker")
    async with fleet.running():
        response = await fleet.asked("fail", {"code": 7, "message": "no stock", "data": {"left": 0}})
        error = {"kind": "rejected", "message": "no stock", "retryable": False, "code": 7, "data": {"left": 0}}
        assert response["error"] == error
        assert fleet.user.failures() == ["rejected"]
        assert fleet.makers["maker"].failures() == ["rejected"]
        assert fleet.makers["maker"].bus.payloads("resilience.erp.failed")[0]["cause"]["source"] == "user/app"


async def test_an_open_circuit_there():
    """An integration whose circuit is open says when to try again."""
    fleet = Fleet("maker")
    async with fleet.running():
        maker = fleet.makers["maker"].manager.connections.get("erp")
        assert maker is not None
        maker.guard.breaker.force_open(operation(integration="erp"))
        error = (await fleet.asked("echo"))["error"]
        assert (error["kind"], error["retryable"]) == ("circuit_open", True)


async def test_nobody_offers_it():
    """Nobody serves it: `unavailable` at once in the response, and in health when the bridge has started."""
    fleet = Fleet()
    async with fleet.running():
        error = (await fleet.asked("echo", seconds=0.0))["error"]
        assert (error["kind"], error["retryable"]) == ("unavailable", True)
        assert "'erp'" in error["message"]
        assert "'plant'" in error["message"]
        assert fleet.user.health["status"] == "connecting"
        await fleet.clock.advance(3.0)
        health = fleet.user.health
        assert (health["status"], health["error"]["kind"]) == ("disconnected", "unavailable")


async def test_somebody_is_about_to_serve_it():
    """While a node is known to offer it, a command that none has taken is sent again for a moment."""
    fleet = Fleet("maker")
    maker = fleet.makers["maker"]
    fleet.sessions = {name: fleet.cluster.session(name) for name in ("user", "maker")}
    async with fleet.user.running(fleet.sessions["user"]):
        await fleet.clock.advance(1.0)
        fleet.user.call("echo", 1)
        await fleet.clock.advance(0.3)
        assert fleet.user.responses == []
        async with maker.running(fleet.sessions["maker"]):
            await fleet.clock.advance(0.3)
            assert fleet.user.responses[-1]["result"] == 1
    assert maker.remote.calls["echo"] == 1


async def test_somebody_is_said_to_offer_it_and_never_serves():
    """After a second it is `unavailable`, and surely not sent."""
    fleet = Fleet("maker")
    async with fleet.user.running(fleet.cluster.session("user")):
        await fleet.clock.advance(1.0)
        fleet.user.call("echo")
        await fleet.clock.advance(1.1)
        assert fleet.user.responses[-1]["error"]["kind"] == "unavailable"
        assert 3 < fleet.cluster.calls["ask"] < 20


async def test_a_node_that_is_known_to_be_lost_is_not_asked():
    """A broker may hand commands to a process that stands still; where no other offers it, they are refused at once."""
    fleet = Fleet("maker")
    async with fleet.running():
        fleet.known.nodes = []
        error = (await fleet.asked("echo", seconds=0.0))["error"]
        assert (error["kind"], error["retryable"]) == ("unavailable", True)
        assert not fleet.cluster.calls["ask"]


async def test_attempts_are_those_of_the_node_that_executes_it():
    """A response has their number; what was refused there before the first one has none, and its key is not used up."""
    fleet = Fleet("maker")
    async with fleet.running():
        maker = fleet.makers["maker"].manager.connections.get("erp")
        assert maker is not None
        maker.guard.breaker.force_open(operation(integration="erp"))
        shed = await fleet.asked("echo", 1, idempotency_key="k")
        assert (shed["error"]["kind"], shed["attempts"]) == ("circuit_open", 0)
        maker.guard.breaker.reset(operation(integration="erp"))
        answer = await fleet.asked("echo", 1, idempotency_key="k")
        assert (answer["result"], answer["attempts"]) == (1, 1)


async def test_many_nodes_share_the_work():
    """Each command goes to one of the nodes that offer it, and all of them get some."""
    fleet = Fleet("one", "two", "three")
    async with fleet.running():
        for number in range(30):
            assert (await fleet.asked("echo", number))["result"] == number
        assert sum(fleet.calls("echo").values()) == 30
        assert min(fleet.calls("echo").values()) > 0


async def test_a_frozen_node_costs_only_its_own_commands():
    """Commands at a node that does not answer end in `timeout` after its time and five seconds; the others go on."""
    fleet = Fleet("one", "two")
    fleet.known.seconds = 2.0
    async with fleet.running():
        fleet.cluster.silence("one")
        for _ in range(10):
            fleet.user.call("echo", 1)
        await fleet.clock.advance(1.0)
        assert [one["ok"] for one in fleet.user.responses] == [True] * 5
        await fleet.clock.advance(5.9)
        assert len(fleet.user.responses) == 5
        await fleet.clock.advance(0.2)
        late = fleet.user.responses[5:]
        assert [(one["error"]["kind"], one["error"]["retryable"]) for one in late] == [("timeout", False)] * 5


async def test_the_time_limit_where_no_node_says_how_long_it_takes():
    """It is 30 seconds."""
    fleet = Fleet("one")
    fleet.known.seconds = None
    async with fleet.running():
        fleet.cluster.silence("one")
        fleet.user.call("echo")
        await fleet.clock.advance(29.9)
        assert not fleet.user.responses
        await fleet.clock.advance(0.2)
        assert fleet.user.responses[0]["error"]["kind"] == "timeout"


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
async def test_a_deadline_is_the_time_that_is_left(skew):
    """The wall clocks of two machines differ; the caller's time is up on both sides after the same time."""
    fleet = Fleet("maker")
    apart = FakeClock()
    apart.set_wall(skew)
    maker = Bridge(apart, "maker", own=True)
    fleet.makers["maker"] = maker
    maker.remote.frozen = False
    async with fleet.running():
        await apart.advance(1.0)
        fleet.user.call("sleep", None, deadline_ms=str(fleet.clock.wall_ms() + 2000))
        await fleet.clock.advance(1.9)
        await apart.advance(1.9)
        assert maker.remote.calls["sleep"] == 1
        assert fleet.user.responses == []
        assert maker.failures() == []
        await fleet.clock.advance(0.2)
        await apart.advance(0.2)
        assert fleet.user.responses[-1]["error"]["kind"] == "deadline"
        assert maker.failures() == ["deadline"]


async def test_the_caller_total_time():
    """`timeout_ms` of a request holds over the fabric."""
    fleet = Fleet("maker")
    async with fleet.running():
        fleet.user.command("request", {"method": "sleep", "timeout_ms": 500})
        await fleet.clock.advance(0.6)
        assert fleet.user.responses[-1]["error"]["kind"] == "deadline"
        assert fleet.makers["maker"].failures() == ["deadline"]


async def test_an_attempt_that_takes_too_long_there():
    """The time limit of one attempt is that of the node that offers it."""
    fleet = Fleet("maker", resilience=ONE_SECOND)
    async with fleet.running():
        assert (await fleet.asked("sleep", seconds=1.1))["error"]["kind"] == "timeout"


async def test_a_repeated_key_runs_once():
    """The same key of the same source runs once, whether its first command runs still or was answered."""
    fleet = Fleet("maker")
    maker = fleet.makers["maker"]
    async with fleet.running():
        answers = [await _raw(fleet, "orders.create", {"a": 1}, key="k") for _ in range(2)]
        assert maker.remote.created == 1
        assert answers[0] == answers[1]
        assert answers[0]["result"] == {"a": 1, "number": 0}
        assert (await _raw(fleet, "orders.create", {"a": 1}, key="other"))["result"]["number"] == 1
        assert (await _raw(fleet, "orders.create", {"a": 1}, key="k", route="r"))["result"]["number"] == 2
        assert (await _raw(fleet, "orders.create", {"a": 1}, key="k", node="third"))["result"]["number"] == 3


async def test_a_key_that_is_repeated_while_its_first_command_runs():
    """Both askers get the one answer."""
    fleet = Fleet("maker")
    maker = fleet.makers["maker"]
    async with fleet.running():
        asked = [_asking(fleet, "sleep", None, key="k", left_ms=2000) for _ in range(2)]
        await fleet.clock.advance(1.0)
        assert maker.remote.calls["sleep"] == 1
        await fleet.clock.advance(1.5)
        assert [_read(await one)["error"]["kind"] for one in asked] == ["deadline", "deadline"]
        assert maker.failures() == ["deadline"]


async def test_an_error_that_is_answered_from_memory():
    """Code and data of a remembered error are those of the first answer."""
    fleet = Fleet("maker")
    async with fleet.running():
        params = {"code": "X", "message": "no", "data": [1]}
        first = await _raw(fleet, "fail", params, key="k")
        assert first["error"]["code"] == "X"
        assert await _raw(fleet, "fail", params, key="k") == first
        assert fleet.calls("fail") == {"maker": 1}


async def test_headers_of_a_command():
    """Trace context and unknown headers go along, the key too; a command has one crossing more, and its source."""
    fleet = Fleet("maker")
    maker = fleet.makers["maker"]
    seen: list[Event] = []
    execute = maker.dispatcher.execute_for_node

    def watched(event: Event, scope: str, done: Callable[[Outcome], None]) -> None:
        seen.append(event)
        execute(event, scope, done)

    maker.offers = Offers(maker.part.context, execute=watched, status=lambda _: ConnectionStatus.CONNECTED)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with fleet.running():
        until = fleet.clock.wall_ms() + 5000
        said = {"traceparent": trace, "shop": "7", "hop": "2", "idempotency_key": "k", "deadline_ms": str(until)}
        fleet.user.call("echo", 1, **said, seq="9", origin="x", fabric="plant", repeated="1")
        await fleet.clock.advance(0.1)
    (event,) = seen
    assert event.headers == {**said, "hop": "3"}
    assert (event.event_type, event.source, event.correlation_id) == ("integration.erp.request", "user/app", "c")


async def test_a_command_that_has_crossed_too_many_bridges():
    """After eight crossings it is refused, and the other bridge tells of the loop."""
    fleet = Fleet("maker")
    async with fleet.running():
        error = (await fleet.asked("echo", 1, hop=str(MAX_HOP - 1)))["error"]
        assert error["kind"] == "rejected"
        assert "hop" in error["message"]
        assert fleet.makers["maker"].bus.loops == ["integration.erp.request"]
        assert fleet.calls("echo") == {"maker": 0}


def _read(answer: bytes) -> dict:
    return msgspec.msgpack.decode(answer)


def _in(fleet: Fleet, seconds: float) -> str:
    return str(fleet.clock.wall_ms() + round(seconds * 1000))


async def _raw(
    fleet: Fleet,
    method: str,
    params: object,
    *,
    key: str,
    route: str | None = None,
    node: str = "other",
    left_ms: float = 5000,
) -> dict:
    """Ask as another node does, and return what it gets."""
    asking = _asking(fleet, method, params, key=key, route=route, node=node, left_ms=left_ms)
    await fleet.clock.advance(0.1)
    return _read(await asking)


def _asking(
    fleet: Fleet,
    method: str,
    params: object,
    *,
    key: str,
    route: str | None = None,
    node: str = "other",
    left_ms: float = 5000,
) -> asyncio.Future[bytes]:
    """Begin to ask as another node does."""
    request = {
        "v": 1,
        "node": node,
        "operation": "request",
        "payload": {"method": method, "params": params},
        "source": "app",
        "id": 1,
        "correlation_id": None,
        "route": route,
        "headers": {"idempotency_key": key},
        "left_ms": left_ms,
    }
    return asyncio.ensure_future(fleet.sessions["user"].ask(SUBJECT, msgspec.msgpack.encode(request)))


async def test_an_answer_that_is_too_large():
    """An answer beyond `max_payload` is `protocol`; a request beyond it is `invalid`."""
    fleet = Fleet("maker", max_payload=20_000)
    async with fleet.running():
        assert (await fleet.asked("echo", "x" * 21_000))["error"]["kind"] == "invalid"
        maker = fleet.makers["maker"]
        maker.remote.answer = lambda *_: "x" * 21_000  # type: ignore[method-assign]
        error = (await fleet.asked("echo"))["error"]
        assert error["kind"] == "protocol"
        assert "20000" in error["message"]


async def test_an_error_that_is_too_large():
    """An error beyond `max_payload` comes without the remote's data."""
    fleet = Fleet("maker", max_payload=20_000)
    async with fleet.running():
        maker = fleet.makers["maker"]

        def refuse(*_: object) -> None:
            raise RejectedError("no", code=3, data="x" * 30_000)

        maker.remote.answer = refuse  # type: ignore[method-assign]
        assert (await fleet.asked("echo"))["error"] == {"kind": "rejected", "message": "no", "retryable": False}


async def test_a_command_that_is_too_large_for_the_other_bus():
    """It is `invalid`, and says so."""
    fleet = Fleet("maker")
    fleet.makers["maker"] = Bridge(fleet.clock, "maker", own=True, max_message=10_000)
    async with fleet.running():
        error = (await fleet.asked("echo", "x" * 11_000))["error"]
        assert error["kind"] == "invalid"
        assert "too large" in error["message"]


async def test_the_integration_goes_away_and_comes_back():
    """Within a second of the loss nobody is asked any more, and within a second of its return it is served again."""
    fleet = Fleet("maker")
    maker = fleet.makers["maker"]
    async with fleet.running():
        assert maker.offers.serving == ["erp"]
        maker.remote.kill()
        await fleet.clock.advance(1.0)
        assert maker.offers.serving == []
        fleet.known.nodes = []
        assert (await fleet.asked("echo"))["error"]["kind"] == "unavailable"
        maker.remote.alive = True
        await fleet.clock.advance(6.0)
        assert maker.manager.connections.get("erp").status == "connected"
        assert maker.offers.serving == ["erp"]
        fleet.known.nodes = ["maker"]
        assert (await fleet.asked("echo", 2))["result"] == 2


async def test_health_of_a_used_integration():
    """It is `connected` while somebody offers it and this bridge is in the fabric; each change shows at once."""
    fleet = Fleet("maker")
    async with fleet.running():
        assert fleet.user.health["status"] == "connected"
        for _ in range(3):
            fleet.known.nodes = []
            fleet.user.uses.touch()
            await fleet.clock.advance(0.2)
            assert fleet.user.health["status"] == "disconnected"
            assert fleet.user.health["error"]["kind"] == "unavailable"
            await fleet.clock.advance(12.0)
            fleet.known.nodes = ["maker"]
            fleet.user.uses.touch()
            await fleet.clock.advance(0.2)
            assert fleet.user.health["status"] == "connected"
            await fleet.clock.advance(12.0)


async def test_health_without_a_session():
    """Before the fabric is joined the used integration says so, and is connected as soon as it is."""
    fleet = Fleet("maker")
    async with asyncio.TaskGroup() as tasks:
        managing = tasks.create_task(fleet.user.manager.run())
        await fleet.clock.settle()
        await fleet.user.manager.apply({"erp": fleet.user.settings}, {})
        await fleet.clock.advance(60.0)
        assert "not in the fabric" in fleet.user.health["error"]["message"]
        fleet.user.call("echo")
        await fleet.clock.settle()
        assert fleet.user.responses[-1]["error"]["kind"] == "unavailable"
        using = tasks.create_task(fleet.user.uses.run(fleet.cluster.session("user")))
        await fleet.clock.advance(0.1)
        assert fleet.user.health["status"] == "connected"
        using.cancel()
        await fleet.clock.advance(0.2)
        assert fleet.user.health["status"] == "disconnected"
        managing.cancel()


async def test_draining():
    """A node that drains is asked no more; what it has taken ends and is answered."""
    fleet = Fleet("one", "two")
    one = fleet.makers["one"]
    async with fleet.running():
        for _ in range(2):
            fleet.user.call("sleep", None, deadline_ms=_in(fleet, 3))
        await fleet.clock.advance(0.1)
        assert fleet.calls("sleep") == {"one": 1, "two": 1}
        await one.offers.drain()
        assert one.offers.serving == []
        for number in range(6):
            assert (await fleet.asked("echo", number))["result"] == number
        assert fleet.calls("echo") == {"one": 0, "two": 6}
        one.remote.kill()
        await fleet.clock.advance(0.1)
        kinds = [each["error"]["kind"] for each in fleet.user.responses if not each["ok"]]
        assert kinds == ["connection_lost"]


async def test_draining_ends_though_the_broker_is_silent():
    """It takes two seconds at most."""
    fleet = Fleet("one")
    async with fleet.running():
        fleet.cluster.silence("one")
        draining = asyncio.ensure_future(fleet.makers["one"].offers.drain())
        await fleet.clock.advance(2.1)
        assert draining.done()
        fleet.cluster.heal()


async def test_an_asker_that_gives_up_leaves_nothing_behind():
    """A command that is cancelled leaves no task, timer or waiting answer; its late answer is ignored."""
    fleet = Fleet("maker")
    async with fleet.running():
        await fleet.clock.advance(0.1)
        tasks = asyncio.all_tasks()
        fleet.user.call("sleep", None, deadline_ms=_in(fleet, 2))
        await fleet.clock.advance(1.0)
        connection = fleet.user.manager.connections.get("erp")
        assert connection is not None
        connection.guard.cancel_all()
        await fleet.clock.advance(3.0)
        assert asyncio.all_tasks() <= tasks
        assert fleet.user.part.garbage == []


async def test_the_session_is_lost():
    """What was sent ends in `connection_lost`, which says that it may have been executed; then it is `unavailable`."""
    fleet = Fleet("maker")
    async with fleet.running():
        fleet.user.call("sleep", None, deadline_ms=_in(fleet, 60))
        await fleet.clock.advance(0.1)
        fleet.sessions["user"].lose(ConnectionLostError("gone"))
        await fleet.clock.advance(0.1)
        error = fleet.user.responses[-1]["error"]
        assert (error["kind"], error["retryable"]) == ("connection_lost", False)


GOOD = {
    "v": 1,
    "node": "other",
    "operation": "request",
    "payload": {"method": "echo"},
    "source": None,
    "id": 1,
    "correlation_id": None,
    "route": None,
    "headers": {},
    "left_ms": 5000,
}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        b"\x81" * 5000,
        msgspec.msgpack.encode({"v": 1}),
        *(
            msgspec.msgpack.encode({**GOOD, **change})
            for change in (
                {"v": 2},
                {"v": "1"},
                {"node": "a.b"},
                {"node": ""},
                {"operation": "subscribe"},
                {"operation": "circuit.reset"},
                {"headers": {"a": 1}},
                {"left_ms": -1},
                {"left_ms": float("nan")},
                {"left_ms": float("inf")},
                {"id": -1},
                {"source": 7},
                {"route": "r" * 300},
                {"payload": msgspec.msgpack.Ext(5, b"x")},
                {"payload": msgspec.Raw(b"\x91" * 200 + b"\x01")},
            )
        ),
    ],
)
async def test_garbage_that_is_asked(body):
    """What no bridge has asked is counted, answered as `invalid`, and calls nothing; the next command works."""
    fleet = Fleet("maker")
    maker = fleet.makers["maker"]
    async with fleet.running():
        asking = asyncio.ensure_future(fleet.sessions["user"].ask(SUBJECT, body))
        await fleet.clock.advance(0.1)
        answer = _read(await asking)
        assert answer["error"]["kind"] == "invalid"
        assert len(maker.part.garbage) == 1
        assert maker.remote.calls.total() == 0
        assert (await fleet.asked("echo", 1))["result"] == 1


async def test_a_payload_that_does_not_fit():
    """A command that a bridge has sent and that does not fit its schema is `invalid`, and no garbage."""
    fleet = Fleet("maker")
    async with fleet.running():
        body = msgspec.msgpack.encode({**GOOD, "payload": {"methods": 1}})
        asking = asyncio.ensure_future(fleet.sessions["user"].ask(SUBJECT, body))
        await fleet.clock.advance(0.1)
        assert _read(await asking)["error"]["kind"] == "invalid"
        assert fleet.makers["maker"].part.garbage == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"hello",
        msgspec.msgpack.encode({"v": 1, "attempts": 1}),
        msgspec.msgpack.encode({"v": 2, "attempts": 1, "result": 1}),
        msgspec.msgpack.encode({"v": 1, "attempts": 1, "error": {"kind": "odd"}}),
        msgspec.msgpack.encode({"v": 1, "attempts": 1, "result": {"$bytes": "?"}}),
        b"\x83\xa1v\x01\xa8attempts\x01\xa6result" + b"\x91" * 5000 + b"\x01",
    ],
)
async def test_garbage_that_is_answered(body):
    """An answer that no bridge has written is `protocol`, and counted; it ends nothing else."""
    fleet = Fleet("maker")
    async with fleet.user.running(fleet.cluster.session("user")):
        liar = fleet.cluster.session("liar")
        await liar.serve(SUBJECT, "nemo", lambda asked: asked.answer(body), lambda _: None)
        await fleet.clock.advance(1.0)
        error = (await fleet.asked("echo"))["error"]
        assert error["kind"] == "protocol"
        assert len(fleet.user.part.garbage) == 1


@pytest.mark.parametrize(
    "result", [msgspec.msgpack.Ext(5, b"x"), {1: 2}, msgspec.Raw(b"\x91" * 100 + b"\x01")], ids=["ext", "keys", "deep"]
)
async def test_a_result_that_the_bus_cannot_carry(result):
    """It is `protocol`, as with any other remote."""
    fleet = Fleet("maker")
    body = msgspec.msgpack.encode({"v": 1, "attempts": 1, "result": result})
    async with fleet.user.running(fleet.cluster.session("user")):
        liar = fleet.cluster.session("liar")
        await liar.serve(SUBJECT, "nemo", lambda asked: asked.answer(body), lambda _: None)
        await fleet.clock.advance(1.0)
        assert (await fleet.asked("echo"))["error"]["kind"] == "protocol"


KINDS: list[ErrorKind] = [*ErrorKind.__args__]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_error(kind):
    """An error keeps its kind, `retryable` and `retry_after_ms`; only `deadline` without a deadline is `timeout`."""
    sent = {"kind": kind, "message": "m", "retryable": False, "maybe_sent": False, "retry_after_ms": 7}
    body = msgspec.msgpack.encode({"v": 1, "attempts": 1, "error": sent})
    fleet = Fleet("maker")
    async with fleet.user.running(fleet.cluster.session("user")):
        node = fleet.cluster.session("node")
        await node.serve(SUBJECT, "nemo", lambda asked: asked.answer(body), lambda _: None)
        await fleet.clock.advance(1.0)
        error = (await fleet.asked("echo"))["error"]
        if kind == "deadline":
            assert error["kind"] == "timeout"
        else:
            assert error == {"kind": kind, "message": "m", "retryable": False, "retry_after_ms": 7}


async def test_a_node_that_stood_still_executes_nothing_that_is_too_old():
    """What it reads first may have waited as long as it stood still; whoever asked was told that nobody answers."""
    fleet = Fleet("maker")
    maker = fleet.makers["maker"]
    async with fleet.running():
        fleet.clock.stand_still(60.0)
        asked = [_asking(fleet, "echo", 1, key=str(number)) for number in range(2)]
        patient = _asking(fleet, "echo", 1, key="patient", left_ms=70_000)
        await fleet.clock.advance(0.1)
        for one in asked:
            error = _read(await one)["error"]
            assert (error["kind"], error["maybe_sent"], error["retryable"]) == ("unavailable", False, True)
        assert _read(await patient)["error"] is None
        assert maker.remote.calls["echo"] == 1
        await fleet.clock.advance(1.5)
        assert (await _raw(fleet, "echo", 1, key="fresh"))["error"] is None


async def test_a_subject_that_may_not_be_served():
    """A refusal is told, tried again after a while, and holds up nothing else."""
    fleet = Fleet("maker")
    fleet.cluster.refuse("serve", RejectedError("permissions violation"), "maker")
    async with fleet.running():
        offers = fleet.makers["maker"].offers
        assert offers.serving == []
        assert offers.problems() == ["'erp' is not offered: permissions violation"]
        await fleet.clock.advance(61.0)
        assert offers.serving == ["erp"]
        assert offers.problems() == []


async def test_a_service_that_the_broker_ends():
    """It is served again, after a pause."""
    fleet = Fleet("maker")
    async with fleet.running():
        fleet.sessions["maker"].revoke(SUBJECT, ConnectionLostError("ended"))
        await fleet.clock.advance(0.01)
        assert fleet.makers["maker"].offers.serving == []
        await fleet.clock.advance(1.0)
        assert fleet.makers["maker"].offers.serving == ["erp"]


async def test_a_broker_that_does_not_confirm_a_service():
    """It is an error after ten seconds, not a wait without an end; it is offered when the broker is back."""
    fleet = Fleet("maker")
    async with fleet.running():
        offers = fleet.makers["maker"].offers
        fleet.cluster.silence("maker", direction="to")
        fleet.sessions["maker"].revoke(SUBJECT, ConnectionLostError("ended"))
        await fleet.clock.advance(13.0)
        assert offers.problems() == [
            "'erp' is not offered: offering 'erp': the broker has not answered within 10 s",
        ]
        fleet.cluster.heal()
        await fleet.clock.advance(15.0)
        assert offers.serving == ["erp"]
        assert offers.problems() == []
