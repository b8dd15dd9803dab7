"""Servers that hang up on one particular operation: it is a dead letter, and all others arrive, on few connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.adapters.mqtt import Mailbox, connected
from tests.support.bus.program import Program
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.scripted.protocols import PROTOCOLS
from tests.support.servers.scripted.server import Conversation, EndedError, Peer, ScriptedServer, scripted_server
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until

_COUNT: Final = 40
_POISON: Final = frozenset({7, 23})
_NAMES: Final = ("mqtt", "nats", "redis", "http", "json-rpc", "json-rpc-websocket")
#: Connections that two poisons and their neighbours may cost; of HTTP each attempt may make one.
_MOST: Final = {"http": 70, "json-rpc": 70}


class _HangingUp(Peer):
    """Ends the conversation where the word "poison" is in what is read, or in the answer to it."""

    async def line(self) -> bytes:
        return self._checked(await super().line())

    async def read(self, size: int) -> bytes:
        return self._checked(await super().read(size))

    async def say(self, point: str, data: bytes) -> None:
        await super().say(point, self._checked(data))

    def _checked(self, data: bytes) -> bytes:
        if b"poison" in data:
            raise EndedError
        return data


def _hanging_up(conversation: Conversation) -> Conversation:
    return lambda peer: conversation(_HangingUp(peer.reader, peer.writer, None))


@asynccontextmanager
async def _servers() -> AsyncIterator[dict[str, ScriptedServer]]:
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(scripted_server(_hanging_up(PROTOCOLS[name].conversation)))
            for name in _NAMES
        }


def _block(name: str, port: int) -> str:
    protocol = PROTOCOLS[name]
    settings = protocol.settings.replace("{port}", str(port))
    if "json-rpc" in name:
        settings = settings.replace("config {", 'config {\n    idempotent = ["echo"]')
    return f"""
integration "{name}" {{
  {settings}
}}
route "{name}" {{
  on          = "job"
  integration = "{name}"
  delivery    = "at_least_once"
  receipts    = true
  {protocol.job}
}}
"""


def _data(folder: Path) -> str:
    return f'data_dir = "{folder}/data"'


def _outcomes(bus: Program, name: str) -> dict[str, str]:
    return {one["correlation_id"]: one["event_type"].rpartition(".")[2] for one in bus.seen(prefix=f"receipt.{name}.")}


async def test_a_server_that_hangs_up_on_one_operation(tmp_path: Path) -> None:
    """In every protocol whose answer shows it; `rejected` is the reason, and nothing of it reaches the neighbours."""
    expected = {str(n): "dead_lettered" if n in _POISON else "delivered" for n in range(_COUNT + 5)}
    async with _servers() as servers:
        text = "\n".join(_block(name, server.port) for name, server in servers.items())
        with (
            sidecar(text, more=_data(tmp_path)) as running,
            running.program("receipt.", "resilience.", "health.") as bus,
        ):
            for name in _NAMES:
                await bus.wait(f"health.{name}", lambda event: event["payload"]["status"] == "connected")
            for number in range(_COUNT):
                bus.emit("job", {"n": number, "what": "poison" if number in _POISON else "good"}, str(number))
            # Two that are lost in turn look like an outage while nothing else is answered.
            await asyncio.sleep(0.5)
            for number in range(_COUNT, _COUNT + 5):
                bus.emit("job", {"n": number, "what": "good"}, str(number))
                await asyncio.sleep(0.3)
            await until(lambda: all(len(_outcomes(bus, name)) == len(expected) for name in _NAMES), "all have ended")
            for name, server in servers.items():
                assert _outcomes(bus, name) == expected, name
                for letter in bus.seen(f"resilience.{name}.dead_letter"):
                    assert letter["payload"]["error"]["kind"] == "rejected", name
                    kinds = [one["error"]["kind"] for one in letter["payload"]["history"]]
                    assert kinds.count("connection_lost") >= 3, name
                assert len(server.connections) <= _MOST.get(name, 12), name


async def test_a_broker_that_hangs_up_on_packets_that_are_too_large(tmp_path: Path) -> None:
    """MQTT 3.1.1 does not tell the limit of the broker: only the publish beyond it is a dead letter."""
    with mosquitto("max_packet_size 2000") as broker:
        text = f"""
integration "out" {{
  type = "mqtt"
  endpoint {{
    url = "{broker.url}"
  }}
  config {{
    version = "3.1.1"
  }}
}}
route "jobs" {{
  on          = "job"
  integration = "out"
  operation   = "publish"
  topic       = "jobs"
  message     = event.payload
  delivery    = "at_least_once"
  receipts    = true
}}
"""
        mailbox = Mailbox()
        with sidecar(text, more=_data(tmp_path)) as running, running.program("receipt.", "health.") as bus:
            await bus.wait("health.out", lambda event: event["payload"]["status"] == "connected")
            async with connected(broker.url) as outside:
                await outside.subscribe("jobs", mailbox.deliver)
                for number in range(_COUNT):
                    bus.emit("job", {"n": number, "filler": "x" * (1990 if number == 11 else 9)}, str(number))
                await until(lambda: len(_outcomes(bus, "out")) == _COUNT, "all have ended")
                assert [one for one, end in _outcomes(bus, "out").items() if end != "delivered"] == ["11"]
                await until(lambda: len({one.message["n"] for one in mailbox.messages}) == _COUNT - 1, "all have come")
            health = bus.seen("health.out")[-1]["payload"]
            assert health["reconnects"] <= 6
