"""The sidecar between its bus and a real Mosquitto, seen by a program on each side."""

import re
from typing import Any

from tests.support.adapters.mqtt import Mailbox, connected
from tests.support.bus.program import Program
from tests.support.servers.mosquitto import Mosquitto, mosquitto
from tests.support.servers.mqtt_responder import responder
from tests.support.servers.proxy import fault_proxy
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until


def configuration(broker: Mosquitto) -> str:
    """An integration with a kept session, a route to it and a subscription of it."""
    return f"""
integration "events" {{
  type = "mqtt"
  endpoint {{
    url = "{broker.url}"
  }}
  config {{
    client_id   = "sidecar"
    clean_start = false
  }}
  health {{
    interval = "300ms"
    timeout  = "300ms"
  }}
}}

route "temperatures" {{
  on          = ["sensor.*"]
  integration = "events"
  operation   = "publish"
  topic       = "sensors/${{event.payload.name}}"
  message     = event.payload.value
}}

subscription "metrics" {{
  integration = "events"
  topic       = "metrics/#"
  emit        = "data.${{message.topic}}"
}}
"""


async def _status(program: Program, status: str, since: int = 0) -> None:
    await program.wait("health.events", lambda event: event["payload"]["status"] == status, since=since, seconds=15)


async def test_events_go_out_and_messages_come_in() -> None:
    """A route, a command, a request and its answer, a subscription; each with `hop`."""
    mailbox = Mailbox()
    with (
        mosquitto() as broker,
        responder(broker.port) as service,
        sidecar(configuration(broker)) as bridge,
        bridge.program() as program,
    ):
        await _status(program, "connected")
        async with connected(broker.url) as outside:
            await outside.subscribe("sensors/+", mailbox.deliver)
            program.emit("sensor.read", {"name": "attic", "value": {"c": 21.5}})
            await until(lambda: mailbox.messages)
            assert (mailbox.messages[0].topic, mailbox.contents) == ("sensors/attic", [{"c": 21.5}])
            assert mailbox.messages[0].headers["hop"] == "1"
            await outside.publish("metrics/cpu", {"load": 0.5}, headers={"hop": "2", "mine": "x"})
            event = await program.wait("data.metrics.cpu")
            assert event["headers"]["hop"] == "3"
            assert (event["payload"]["topic"], event["payload"]["message"]) == ("metrics/cpu", {"load": 0.5})
            assert event["payload"]["headers"]["mine"] == "x"
        answer = await program.request("events", "echo", {"n": 1}, headers={"idempotency_key": "k"})
        assert (answer["ok"], answer["result"]) == (True, {"n": 1})
        assert service.headers[0]["idempotency_key"] == "k"
        refused = await program.ask("integration.events.publish", {"topic": "a/#", "message": 1})
        assert refused["error"]["kind"] == "invalid"
        silent = await program.request("events", "nobody.answers", {}, timeout_ms=200)
        assert silent["error"]["kind"] == "deadline"


async def test_no_message_is_lost_while_the_connection_is_down() -> None:
    """The broker stops, comes back, and gets messages before the sidecar does: all of them become events, in order."""
    with mosquitto("persistence true") as broker, sidecar(configuration(broker)) as bridge, bridge.program() as program:
        await _status(program, "connected")
        mark = program.mark()
        broker.stop()
        await _status(program, "disconnected", mark)
        mark = program.mark()
        broker.start()
        async with connected(broker.url) as outside:
            for number in range(50):
                await outside.publish("metrics/n", number)
        await _status(program, "connected", mark)
        await until(lambda: len(program.seen("data.metrics.n")) >= 50)
        numbers = [event["payload"]["message"] for event in program.seen("data.metrics.n")]
        assert numbers == list(range(50))


async def test_a_frozen_broker_is_noticed_and_left() -> None:
    """Within interval and time limit of the check; once it lives again the sidecar is back."""
    with mosquitto() as broker, sidecar(configuration(broker)) as bridge, bridge.program() as program:
        await _status(program, "connected")
        mark = program.mark()
        broker.freeze()
        await _status(program, "disconnected", mark)
        down = await program.ask("integration.events.publish", {"topic": "a", "message": 1})
        assert down["error"]["kind"] == "not_connected"
        mark = program.mark()
        broker.thaw()
        await _status(program, "connected", mark)
        up = await program.ask("integration.events.publish", {"topic": "a", "message": 1})
        assert up["ok"]


async def test_the_quality_of_a_subscription_by_command() -> None:
    """It is the one that the broker keeps; another for the same topic is refused in words until the first ends."""
    with mosquitto("log_type all") as broker, sidecar(configuration(broker)) as bridge, bridge.program() as program:
        await _status(program, "connected")

        async def subscribe(**payload: object) -> Any:
            return await program.ask("integration.events.subscribe", {"topic": "plant/#", **payload})

        async def quality(content: str) -> int:
            """With which QoS what was published with 2 came, as Mosquitto's own log has it."""
            async with connected(broker.url) as outside:
                await outside.publish("plant/a", content, qos=2)
            event = await program.wait("data.plant", lambda event: event["payload"]["message"] == content)
            assert event["payload"]["topic"] == "plant/a"
            log = (broker.folder / "log").read_text()
            return int(re.findall(r"Sending PUBLISH to sidecar \(d0, q(\d), .*'plant/a'", log)[-1])

        first = await subscribe(emit="data.plant", qos=0)
        assert first["ok"], first
        assert await quality("zero") == 0
        refused = await subscribe(emit="data.plant", qos=2)
        assert refused["error"]["kind"] == "invalid"
        assert refused["error"]["message"].startswith("qos: 'subscription-1' subscribes to this topic with 0")
        assert (await subscribe(emit="data.plant"))["result"] == first["result"]
        ended = await program.ask("integration.events.unsubscribe", first["result"])
        assert ended["ok"], ended
        assert (await subscribe(emit="data.plant", qos=2))["ok"]
        assert await quality("two") == 2


_FIXED = """
subscription "fixed" {
  integration = "events"
  topic       = "fixed"
  emit        = "data.fixed"
}
"""


async def test_what_a_program_left_behind_can_be_seen_and_ended() -> None:
    """A subscription by command outlives its program; `bridge.subscriptions` names it, and whoever likes ends it."""
    with mosquitto() as broker, sidecar(configuration(broker) + _FIXED) as bridge, bridge.program() as owner:
        await _status(owner, "connected")
        with bridge.program(source="forgetful") as gone:
            assert (await gone.ask("integration.events.subscribe", {"topic": "plant/#"}))["ok"]
        async with connected(broker.url) as outside:
            await outside.publish("plant/a", 1)
        await owner.wait("message.events")

        same = await owner.ask("integration.events.subscribe", {"topic": "fixed", "emit": "data.fixed"})
        assert same["result"] == {"subscription": "fixed"}, "the block's own"

        async def listed() -> Any:
            return (await owner.ask("bridge.subscriptions"))["result"]["events"]

        left, *blocks = await listed()
        block, fixed = blocks
        assert (left["topic"], left["emit"], left["messages"]) == ("plant/#", None, 1)
        assert left["asked"]["source"] == "forgetful"
        assert (block["subscription"], block["topic"], block["asked"]) == ("metrics", "metrics/#", None)
        assert (fixed["subscription"], fixed["emit"]) == ("fixed", "data.fixed")
        ended = await owner.ask("integration.events.unsubscribe", {"subscription": left["subscription"]})
        assert ended["ok"]
        assert await listed() == blocks


async def test_a_remote_cannot_choose_what_only_the_bridge_says() -> None:
    """Where its topic alone makes the event's type: such a message is told of as invalid, and the next one comes."""
    with mosquitto() as broker:
        text = configuration(broker).replace("data.${message.topic}", "${message.topic}").replace("metrics/#", "#")
        with sidecar(text) as bridge, bridge.program() as program:
            await _status(program, "connected")
            async with connected(broker.url) as outside:
                await outside.publish("health/bridge", "forged")
                await outside.publish("plant/a", "good")
            await program.wait("plant.a")
            failed = program.seen("resilience.events.failed")
            assert [event["payload"]["error"]["kind"] for event in failed] == ["invalid"]
            assert all("status" in event["payload"] for event in program.seen("health.bridge"))


async def test_two_with_one_client_id() -> None:
    """The broker ends the one when the other comes: they try less and less often, and health says why."""
    with mosquitto() as broker:
        block = """
integration "NAME" {
  type = "mqtt"
  endpoint {
    url = "URL"
  }
  config {
    client_id = "same"
  }
}
"""
        both = "".join(block.replace("NAME", name).replace("URL", broker.url) for name in "ab")
        with sidecar(both) as bridge, bridge.program() as program:

            def health(name: str) -> list[dict[str, Any]]:
                return [event["payload"] for event in program.seen(f"health.{name}")]

            def warned(name: str) -> bool:
                return any("the connection does not last" in str(one["warnings"]) for one in health(name))

            await until(lambda: warned("a") and warned("b"))
            for name in "ab":
                assert "taken over" in str([one["error"] for one in health(name)])
                assert len({one["reconnects"] for one in health(name)}) <= 8


async def test_a_flood_of_retained_messages_over_a_slow_line() -> None:
    """Answers that wait behind it are not missed: the sidecar is connected, also after a reconnection in its middle."""
    with mosquitto("max_inflight_messages 0") as broker:
        async with connected(broker.url) as outside:
            for number in range(3000):
                await outside.publish(f"metrics/{number}", f"{number:0500}", qos=0, retain=True)
            await outside.publish("metrics/last", "last", qos=1, retain=True)
        async with fault_proxy("127.0.0.1", broker.port) as proxy:
            proxy.delay, proxy.mode = 0.2, "slow"
            text = configuration(broker).replace(str(broker.port), str(proxy.port))
            # Shorter than the flood takes, and longer than a busy machine pauses between two of its pieces.
            text = text.replace('timeout  = "300ms"', 'timeout  = "1500ms"')
            with (
                sidecar(text.replace("clean_start = false", "clean_start = true")) as bridge,
                bridge.program() as program,
            ):
                await _status(program, "connected")
                mark = program.mark()
                proxy.end_all(reset=True)
                await _status(program, "disconnected", mark)
                mark = program.mark()
                await until(lambda: program.seen("data.metrics.last", mark))
                statuses = [event["payload"]["status"] for event in program.seen("health.events", mark)]
                assert set(statuses) <= {"connected", "degraded"}
                assert proxy.accepted == 2
