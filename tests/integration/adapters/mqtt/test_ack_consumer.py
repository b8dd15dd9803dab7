"""`ack = "consumer"` over MQTT against a real Mosquitto: what was not acknowledged comes again, whatever dies."""

from typing import Any

import pytest

from tests.support.adapters.mqtt import connected
from tests.support.bus.program import Program
from tests.support.servers.mosquitto import Mosquitto, mosquitto
from tests.support.servers.proxy import fault_proxy
from tests.support.sidecar.restarts import restarts
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until

PERSISTENT = ("persistence true", "autosave_interval 1", "autosave_on_changes true")


def block(port: int, visibility: str = "20s", more: str = "", config: str = "") -> str:
    """An integration, and a subscription in which two messages may be unanswered."""
    return f"""
integration "remote" {{
  type = "mqtt"
  endpoint {{
    url = "mqtt://127.0.0.1:{port}"
  }}
  config {{
    client_id   = "sidecar"
    clean_start = false
    {config}
  }}
  health {{
    interval = "300ms"
    timeout  = "500ms"
  }}
}}
subscription "jobs" {{
  integration = "remote"
  topic       = "jobs/+"
  emit        = "job.come"
  ack         = "consumer"
  prefetch    = 2
  visibility  = "{visibility}"
  {more}
}}
subscription "news" {{
  integration = "remote"
  topic       = "news/#"
  emit        = "news.come"
}}
"""


async def put(broker: Mosquitto, *messages: Any, qos: int = 1, topic: str = "jobs/a", key: str | None = None) -> None:
    """Publish messages."""
    headers = None if key is None else {"idempotency_key": key}
    async with connected(broker.url) as outside:
        for message in messages:
            await outside.publish(topic, message, qos=qos, headers=headers)


async def come(program: Program, message: Any, attempts: int, since: int = 0) -> str:
    """Wait for a message in its n-th delivery, or a later one; its id."""
    found = await program.wait(
        "job.come",
        lambda event: event["payload"]["message"] == message and event["payload"]["attempts"] >= attempts,
        since=since,
    )
    return str(found["payload"]["message_id"])


async def settle(program: Program, how: str, message_id: str, **more: Any) -> Any:
    """Send `ack` or `nack`."""
    return await program.ask(f"integration.remote.{how}", {"message_id": message_id, **more})


def jobs(program: Program, since: int = 0) -> list[Any]:
    """The messages that have come by now."""
    return [event["payload"]["message"] for event in program.seen("job.come", since)]


async def in_session(program: Program, status: str, since: int = 0) -> None:
    """Wait for a state of the connection."""
    await program.wait("health.remote", lambda event: event["payload"]["status"] == status, since=since, seconds=20)


@pytest.mark.parametrize(("qos", "version"), [(1, "5"), (2, "5"), (1, "3.1.1")])
async def test_only_so_many_are_unanswered(qos, version):
    """The third comes when one is acknowledged; what is given back comes again; other subscriptions go on meanwhile."""
    config = f'version = "{version}"'
    with (
        mosquitto() as broker,
        sidecar(block(broker.port, more=f"qos = {qos}", config=config)) as running,
        running.program() as program,
    ):
        await in_session(program, "connected")
        await put(broker, 1, 2, 3, 4, qos=qos)
        first, second = await come(program, 1, 1), await come(program, 2, 1)
        await put(broker, "rain", topic="news/weather")
        await program.wait("news.come")
        assert jobs(program) == [1, 2]
        assert (await settle(program, "ack", second))["ok"]
        third = await come(program, 3, 1)
        assert (await settle(program, "nack", first, delay_ms=300))["ok"]
        fourth = await come(program, 4, 1)
        for one in (third, fourth):
            assert (await settle(program, "ack", one))["ok"]
        assert await come(program, 1, 2) == first
        assert (await settle(program, "ack", first))["ok"]
        for unknown in (first, "?"):
            assert (await settle(program, "ack", unknown))["error"]["kind"] == "invalid"
        # Published without acknowledgement: delivered, and nobody has to answer.
        await put(broker, "x", qos=0)
        loose = await program.wait("job.come", lambda event: event["payload"]["message"] == "x")
        assert "message_id" not in loose["payload"]
        assert jobs(program) == [1, 2, 3, 4, 1, "x"]


async def test_who_never_answers_gets_it_again_until_it_is_given_up():
    """In time, one attempt higher; after so many deliveries that is told, and what is behind it comes."""
    with (
        mosquitto() as broker,
        sidecar(block(broker.port, "300ms", "max_deliveries = 2", "receive_maximum = 1")) as running,
        running.program() as program,
    ):
        await in_session(program, "connected")
        await put(broker, "poison", "good")
        bad = await come(program, "poison", 1)
        assert await come(program, "poison", 2) == bad
        dead = await program.wait("resilience.remote.given_up")
        assert (dead["payload"]["message"]["message"], dead["payload"]["message"]["attempts"]) == ("poison", 2)
        assert "2 times" in dead["payload"]["error"]["message"]
        # The broker sends one at a time: that this one comes says that the other was acknowledged.
        assert (await settle(program, "ack", await come(program, "good", 1)))["ok"]
        assert (await settle(program, "ack", bad))["error"]["kind"] == "invalid"


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_killed_sidecar_delivers_again_what_was_not_acknowledged(qos):
    """With an id of its own, and counted anew; what was acknowledged does not come."""
    with mosquitto() as broker, restarts(block(broker.port, "2s", f"qos = {qos}")) as start:
        with start().program() as program:
            await in_session(program, "connected")
            await put(broker, 1, 2, 3, qos=qos)
            one, two = await come(program, 1, 1), await come(program, 2, 1)
            assert (await settle(program, "ack", one))["ok"]
            await come(program, 3, 1)
            await program.ask("integration.remote.publish", {"topic": "x", "message": 1})  # the broker has read so far
        with start().program() as program:
            again = await come(program, 2, 1)  # it may have been said before anybody listened
            assert again != two
            assert (await settle(program, "ack", two))["error"]["kind"] == "invalid"
            assert (await settle(program, "ack", again))["ok"]
            await put(broker, 4, qos=qos)
            await come(program, 3, 1)
            await come(program, 4, 1)
            assert set(jobs(program)) == {2, 3, 4}


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_held_outlives_the_connection(qos):
    """Same id, attempts go on; what was acknowledged out of turn, and could not be told, does not come again."""
    with mosquitto() as broker:
        async with fault_proxy("127.0.0.1", broker.port) as proxy:
            with sidecar(block(proxy.port, "2s", f"qos = {qos}")) as running, running.program() as program:
                await in_session(program, "connected")
                await put(broker, 1, 2, 3, qos=qos, key=None)
                one, two = await come(program, 1, 1), await come(program, 2, 1)
                assert (await settle(program, "ack", two))["ok"]
                since = program.mark()
                proxy.end_all(reset=True)
                await in_session(program, "disconnected", since)
                await in_session(program, "connected", since)
                assert await come(program, 1, 2) == one
                assert (await settle(program, "ack", one))["ok"]
                assert (await settle(program, "ack", await come(program, 3, 1)))["ok"]
                await put(broker, 4, qos=qos)
                assert (await settle(program, "ack", await come(program, 4, 1)))["ok"]
                assert jobs(program).count(2) == 1


async def test_a_sender_that_repeats_itself_is_heard_once():
    """The same key: acknowledged, and no event, while the first is held and after; and after a reconnection, too."""
    with mosquitto() as broker:
        async with fault_proxy("127.0.0.1", broker.port) as proxy:
            with sidecar(block(proxy.port, "2s")) as running, running.program() as program:
                await in_session(program, "connected")
                await put(broker, "once", key="k")
                held = await come(program, "once", 1)
                await put(broker, "once", key="k")
                since = program.mark()
                proxy.end_all(reset=True)
                await in_session(program, "connected", since)
                assert await come(program, "once", 2) == held
                assert (await settle(program, "ack", held))["ok"]
                await put(broker, "once", key="k")
                await put(broker, "next")
                await come(program, "next", 1)
                assert jobs(program) == ["once", "once", "next"]
                assert {event["payload"]["message_id"] for event in program.seen("job.come")[:2]} == {held}


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "lost"])
async def test_a_restarted_broker_still_has_what_is_held(keeps):
    """Or, where it has lost everything, the sidecar has; either way it can be acknowledged afterwards."""
    with mosquitto(*(PERSISTENT if keeps else ())) as broker:
        with sidecar(block(broker.port, "1500ms")) as running, running.program() as program:
            await in_session(program, "connected")
            await put(broker, 1)
            held = await come(program, 1, 1)
            since = program.mark()
            if keeps:
                broker.stop()
            else:
                broker.kill()
            broker.start()
            await in_session(program, "connected", since)
            assert await come(program, 1, 2) == held
            assert (await settle(program, "ack", held))["ok"]
            await put(broker, 2)
            assert (await settle(program, "ack", await come(program, 2, 1)))["ok"]
        with sidecar(block(broker.port)) as running, running.program() as program:
            await in_session(program, "connected")
            await put(broker, 3)
            await come(program, 3, 1)
            assert jobs(program) == [3], "the broker has had all acknowledgements"


async def test_a_late_application_does_not_stall_the_connection():
    """Pings, publishing and the other subscription go on for more than the keep-alive while the window is full."""
    with (
        mosquitto() as broker,
        sidecar(block(broker.port, config='keep_alive = "1s"\n    receive_maximum = 2'), heartbeat="1s") as running,
        running.program() as program,
    ):
        await in_session(program, "connected")
        await put(broker, *range(50))
        await come(program, 1, 1)
        since = program.mark()
        await until(lambda: len(program.seen("health.remote", since)) > 2, "three seconds")
        assert (await program.ask("integration.remote.publish", {"topic": "x", "message": 1}))["ok"]
        assert jobs(program) == [0, 1]
        assert not [e for e in program.seen("health.remote") if e["payload"]["status"] == "disconnected"]
