"""A message from outside that no event can be made of: it is told, blocks nobody, and does not come for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from paho.mqtt import publish as mqtt_publish

from tests.support.bus.program import Program
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_client, nats_server
from tests.support.servers.redis_server import redis_server
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until

_GOOD = [b'{"kind": "a", "n": %d}' % number for number in range(6)]
#: Without the member that `emit` needs; with one that makes no event type; beyond what the bus carries; no JSON.
_POISON = [b'{"n": 1}', b'{"kind": "a b\\n"}', b'{"kind": "a", "n": 99999999999999999999999}', b"\xff{", b'"\\ud800"']
_MESSAGES = [*_GOOD[:3], *_POISON, *_GOOD[3:]]


def _configuration(kind: str, url: str, config: str, source: str) -> str:
    return f"""
integration "{kind}" {{
  type = "{kind}"
  endpoint {{
    url = "{url}"
  }}
  config {{
    {config}
  }}
}}
subscription "s" {{
  integration = "{kind}"
  {source}
  emit        = "seen.${{message.payload.kind}}"
}}
"""


async def _survives(kind: str, text: str, send: Callable[[], Awaitable[None]], rest: Callable[[], Any]) -> None:
    with sidecar(text) as running, running.program() as bus:
        await bus.wait(f"health.{kind}", lambda event: event["payload"]["status"] == "connected")
        await send()
        await until(lambda: len(_numbers(bus)) >= len(_GOOD), "the good ones")
        # Whatever is tried again would come within this: the last message is read, and so are those before it.
        await until(lambda: rest() == 0, "an end of what is pending")
        assert _numbers(bus) == list(range(6))
        assert len(bus.seen(f"resilience.{kind}.failed")) >= 2
        assert (await bus.ask("bridge.ping"))["ok"]
        assert "Traceback" not in running.text


def _numbers(bus: Program) -> list[int]:
    return [event["payload"]["message"]["n"] for event in bus.seen("seen.a")]


async def test_poison_in_a_redis_stream() -> None:
    """It is settled, and the stream's group has nothing pending."""
    with redis_server() as server:
        client = server.client()

        async def send() -> None:
            for data in _MESSAGES:
                client.xadd("s", {"data": data, "headers": "{}"})

        def pending() -> int:
            return int(client.xpending("s", "nemo")["pending"])

        text = _configuration("redis", f"redis://127.0.0.1:{server.port}/0", 'group = "nemo"', 'queue = "s"')
        await _survives("redis", text, send, pending)


async def test_poison_in_a_jetstream() -> None:
    """It is settled, and the consumer has nothing outstanding."""
    with nats_server() as server:
        stream = 'durable = "nemo"\nstream {\nname = "S"\nsubjects = ["s.*"]\n}'
        text = _configuration("nats", f"nats://127.0.0.1:{server.port}", stream, 'queue = "S/nemo"')
        async with nats_client(server.port) as client:
            left = [1]

            async def send() -> None:
                for data in _MESSAGES:
                    await client.jetstream().publish("s.x", data)

            async def watch() -> None:
                while True:
                    info = await client.jetstream().consumer_info("S", "nemo")
                    left[0] = info.num_pending + info.num_ack_pending
                    await asyncio.sleep(0.05)

            async def sent_and_watched() -> None:
                await send()
                tasks.append(asyncio.create_task(watch()))

            tasks: list[asyncio.Task[None]] = []
            try:
                await _survives("nats", text, sent_and_watched, lambda: left[0])
            finally:
                for task in tasks:
                    task.cancel()


async def test_poison_from_an_mqtt_broker() -> None:
    """It is acknowledged: the broker holds nothing back for it, however small its window."""
    with mosquitto("max_inflight_messages 2") as broker:

        async def send() -> None:
            messages = [("s", data, 1, False) for data in _MESSAGES]
            await asyncio.to_thread(mqtt_publish.multiple, messages, port=broker.port, hostname="127.0.0.1")

        await _survives("mqtt", _configuration("mqtt", broker.url, "", 'topic = "s"'), send, lambda: 0)
