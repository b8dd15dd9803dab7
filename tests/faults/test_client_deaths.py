"""Programs with `bridge.client`, while the sidecar that hosts their bus, or the broker behind it, is killed."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.client import BusClient, CallFailedError, PubSubClient, QueueClient, RpcClient
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_client, nats_server
from tests.support.servers.redis_server import RedisServer, redis_server
from tests.support.servers.remote import remote
from tests.support.sidecar.sidecar import Sidecar, bus_block, json_rpc, short_directory
from tests.support.wait import until

_QUICK = """
  health {
    interval = "300ms"
    timeout  = "300ms"
  }
  resilience {
    retry {
      max_attempts  = 20
      initial_delay = "50ms"
      backoff       = "constant"
      budget        = 1
    }
    circuit_breaker {
      failure_threshold = 1000
    }
  }
"""

_TOLD = {"not_connected", "connection_lost", "timeout", "unavailable"}


def integration(name: str, kind: str, port: int, config: str = "") -> str:
    """An `integration` block that tries often."""
    return f"""
integration "{name}" {{
  type = "{kind}"
  endpoint {{
    url = "{kind}://127.0.0.1:{port}"
  }}
  {config}
  {_QUICK}
}}
"""


class RestartableSidecar:
    """A sidecar that can be killed and started again in the same directory."""

    def __init__(self, sidecar: Callable[[], Sidecar]) -> None:
        self._start = sidecar
        self.sidecar = sidecar()

    async def ready(self) -> None:
        """It says that it is ready, while others go on."""
        await asyncio.to_thread(self.sidecar.ready)

    async def kill_and_start(self) -> None:
        """Kill -9, and another one on the same sockets."""
        self.sidecar.kill()
        self.sidecar = self._start()
        await asyncio.to_thread(self.sidecar.ready)


@asynccontextmanager
async def restartable_sidecar(text: str) -> AsyncIterator[tuple[RestartableSidecar, BusClient]]:
    """The sidecar, and a program on its bus."""
    with short_directory() as place:
        whole = f'bridge {{\n  heartbeat = "500ms"\n}}\n{bus_block(place)}\n{text}'
        running = RestartableSidecar(lambda: Sidecar(place, whole))
        try:
            await running.ready()
            async with BusClient(f"ipc://{place}/p", f"ipc://{place}/s", patience=15) as bus:
                yield running, bus
            assert "Traceback" not in running.sidecar.text
        finally:
            running.sidecar.kill()


class Work:
    """Callers that enqueue one number after the other.

    Attributes:
        stored: The message ids by number, as `enqueue` has returned them.
        failed: The numbers for which it has raised.
    """

    def __init__(self, jobs: QueueClient, queue: str) -> None:
        self._jobs = jobs
        self._queue = queue
        self._numbers = itertools.count()
        self._over = False
        self.stored: dict[int, str] = {}
        self.failed: set[int] = set()

    async def _call(self) -> None:
        while not self._over:
            number = next(self._numbers)
            while number not in self.stored:
                try:
                    self.stored[number] = await self._jobs.enqueue(self._queue, number, timeout=30)
                except CallFailedError as failed:  # it is told, and not lost: the program decides to try again
                    if failed.error["kind"] not in _TOLD:
                        raise
                    self.failed.add(number)

    async def during(self, *troubles: Callable[[], Any]) -> int:
        """Keep several callers busy before, during and after each trouble; returns how many numbers there were."""
        callers = [asyncio.create_task(self._call()) for _ in range(8)]
        for trouble in troubles:
            await self._more(callers)
            await trouble()
        await self._more(callers)
        self._over = True
        await asyncio.wait_for(asyncio.gather(*callers), 40)
        return next(self._numbers)

    async def _more(self, callers: list[asyncio.Task[None]]) -> None:
        wanted = len(self.stored) + 60

        def enough() -> bool:
            return len(self.stored) >= wanted or any(caller.done() for caller in callers)

        await until(enough, "the callers' progress", seconds=30)


def in_stream(server: RedisServer, queue: str) -> dict[str, tuple[int, str]]:
    """Number and idempotency key of each entry, by the id that it has on the bus."""
    with server.client() as client:
        entries = client.xrange(queue)
    return {
        f"{entry}/{queue}": (int(fields["data"]), json.loads(fields["headers"])["idempotency_key"])
        for entry, fields in entries
    }


async def test_sidecar_and_redis_killed_while_programs_enqueue() -> None:
    """Each call has its answer; what was acknowledged is in the stream; what is there twice has the same key.

    Another key only has what the program itself tried again, after it was told of a failure.
    """
    with redis_server() as server:

        async def kill_redis() -> None:
            server.kill()
            await asyncio.to_thread(server.restart)

        async with restartable_sidecar(integration("jobs", "redis", server.port)) as (running, bus):
            work = Work(QueueClient(bus, "jobs"), "work")
            count = await work.during(running.kill_and_start, kill_redis, running.kill_and_start)
        assert sorted(work.stored) == list(range(count))
        found = in_stream(server, "work")
    assert all(found[message_id][0] == number for number, message_id in work.stored.items())
    keys: dict[int, set[str]] = {}
    for number, key in found.values():
        keys.setdefault(number, set()).add(key)
    assert {number for number, several in keys.items() if len(several) > 1} <= work.failed


async def test_nats_and_sidecar_killed_while_programs_enqueue() -> None:
    """As with Redis; and as JetStream knows keys, what is repeated with the same one is stored once."""
    stream = 'config {\n    stream {\n      name     = "WORK"\n      subjects = ["work"]\n    }\n  }'
    with nats_server() as server:
        async with restartable_sidecar(integration("jobs", "nats", server.port, stream)) as (running, bus):
            work = Work(QueueClient(bus, "jobs"), "work")
            count = await work.during(lambda: asyncio.to_thread(server.restart), running.kill_and_start)
        assert sorted(work.stored) == list(range(count))
        async with nats_client(server.port) as client:
            stored: dict[str, tuple[int, str]] = {}
            subscription = await client.jetstream().subscribe("work", ordered_consumer=True)
            last = (await client.jsm().stream_info("WORK")).state.last_seq
            while len(stored) < last:
                message = await subscription.next_msg(timeout=10)
                key = (message.headers or {})["Nats-Msg-Id"]
                stored[f"WORK/{message.metadata.sequence.stream}"] = (int(message.data), key)
    assert all(stored[message_id][0] == number for number, message_id in work.stored.items())
    assert len({key for _, key in stored.values()}) == len(stored)


async def test_calls_in_flight_are_answered_by_the_next_sidecar() -> None:
    """With a key each call is answered once; a killed sidecar forgets keys, so the remote sees such a call twice."""
    with remote() as service:
        async with restartable_sidecar(json_rpc("api", service.url, timeout="20s")) as (running, bus):
            api = RpcClient(bus, "api")
            calls = [asyncio.create_task(api.call("wait", [n], key=f"key-{n}")) for n in range(20)]
            await until(lambda: service.calls["wait"] == 20)
            running.sidecar.kill()
            with pytest.raises(TimeoutError):
                await api.call("echo", timeout=0.01)  # nobody is there
            running.sidecar = running._start()
            await until(lambda: service.calls["wait"] == 40, seconds=20)
            service.hold.set()
            assert await asyncio.wait_for(asyncio.gather(*calls), 20) == [[n] for n in range(20)]
            assert service.calls["wait"] == 40


async def test_sidecar_killed_while_a_program_works() -> None:
    """Each message is worked on; one whose holder was not told of it comes again, and nothing is left pending."""
    with redis_server() as server:
        jobs_block = integration("jobs", "redis", server.port, 'config {\n    claim_after = "1s"\n  }')
        async with restartable_sidecar(jobs_block) as (running, bus):
            jobs = QueueClient(bus, "jobs")
            count = 150
            await asyncio.gather(*[jobs.enqueue("work", number) for number in range(count)])
            done: list[int] = []

            async def work() -> None:
                async for job in jobs.messages("work"):
                    async with job:
                        await asyncio.sleep(0.001)
                        done.append(job.message)

            workers = [asyncio.create_task(work()) for _ in range(4)]
            await until(lambda: len(done) > 40, seconds=30)
            await running.kill_and_start()
            with server.client() as client:
                await until(
                    lambda: len(set(done)) == count and not client.xpending("work", "nemo")["pending"], seconds=30
                )
            for worker in workers:
                worker.cancel()
            assert await asyncio.gather(*workers, return_exceptions=True)
            assert all(worker.cancelled() for worker in workers)


async def test_a_key_takes_one_message() -> None:
    """A `dequeue` that is said again with its key gives the same message; the other one stays where it is."""
    with redis_server() as server:
        async with restartable_sidecar(integration("jobs", "redis", server.port)) as (_, bus):
            jobs = QueueClient(bus, "jobs")
            for number in range(2):
                await jobs.enqueue("work", number)
            taken = [
                (await bus.ask("integration.jobs.dequeue", {"queue": "work"}, key="same")).payload for _ in range(3)
            ]
            assert [one["result"]["message"] for one in taken] == [0, 0, 0]
            async for message in jobs.messages("work"):
                async with message:
                    assert message.message == 1
                break
            assert await jobs.dequeue("work") is None


async def test_a_subscription_survives() -> None:
    """The sidecar killed, the integration made anew by a reload, the broker killed: messages come again."""
    with mosquitto() as broker:
        async with restartable_sidecar(integration("events", "mqtt", broker.port)) as (running, bus):
            events = PubSubClient(bus, "events")
            numbers = itertools.count()

            async def reload() -> None:
                text = running.sidecar.file.read_text()
                running.sidecar.file.write_text(text.replace('interval = "300ms"', 'interval = "200ms"'))
                assert (await bus.ask("bridge.reload", {}, key="reload")).payload["result"]["changed"] == ["events"]

            async def kill_broker() -> None:
                broker.kill()
                await asyncio.to_thread(broker.start)

            async with events.subscribe("news/#") as messages:
                for trouble in (None, running.kill_and_start, reload, kill_broker):
                    if trouble is not None:
                        await trouble()
                    first = next(numbers)
                    end = time.monotonic() + 12  # less than the silence after which it would be asked anyway
                    while True:
                        assert time.monotonic() < end, trouble
                        try:
                            await events.publish("news/today", next(numbers))
                            got = await asyncio.wait_for(messages.get(), 0.3)
                        except (CallFailedError, TimeoutError):
                            continue
                        if got.message > first:  # of after the trouble
                            break
                    assert (got.topic, got.missed) == ("news/today", 0)
            status = (await bus.ask("bridge.status", {}, key="status")).payload["result"]
            assert status["events"]["status"] == "connected"
