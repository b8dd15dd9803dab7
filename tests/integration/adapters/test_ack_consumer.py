"""`ack = "consumer"` against real servers: what was not acknowledged comes again, whatever dies meanwhile."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from tests.support.servers.nats_server import NatsServer, nats_client, nats_server
from tests.support.servers.redis_server import RedisServer, redis_server
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory, sidecar
from tests.support.wait import PATIENCE

CONFIG = {"redis": 'claim_after = "1s"', "nats": ""}


@dataclass
class Place:
    """A server with a queue."""

    kind: str
    server: RedisServer | NatsServer

    def block(self, visibility: str, more: str = "") -> str:
        """An integration, and a subscription to the queue in which two messages may be unanswered."""
        return f"""
integration "remote" {{
  type = "{self.kind}"
  endpoint {{
    address = "127.0.0.1"
    port    = {self.server.port}
  }}
  config {{
    {CONFIG[self.kind]}
  }}
  health {{
    interval = "300ms"
    timeout  = "500ms"
  }}
}}
subscription "jobs" {{
  integration = "remote"
  queue       = "{"JOBS/nemo" if self.kind == "nats" else "jobs"}"
  emit        = "job.come"
  ack         = "consumer"
  prefetch    = 2
  visibility  = "{visibility}"
  {more}
}}
"""

    async def in_hand(self) -> int:
        """Count the messages that the sidecar has and has not acknowledged."""
        if isinstance(self.server, RedisServer):
            with self.server.client() as redis:
                groups = redis.xinfo_groups("jobs") if redis.exists("jobs") else []
                return sum(group["pending"] for group in groups)
        async with nats_client(self.server.port) as client:
            return int((await client.jetstream().consumer_info("JOBS", "nemo")).num_ack_pending or 0)

    async def have_in_hand(self, wanted: int) -> None:
        """Wait until it has so many."""
        end = time.monotonic() + PATIENCE
        while (count := await self.in_hand()) != wanted:
            assert time.monotonic() < end, f"{count} messages are in hand, not {wanted}"
            await asyncio.sleep(0.05)

    async def prepare(self) -> None:
        """Make the queue; JetStream gives back after a second what a dead sidecar had."""
        if self.kind == "nats":
            async with nats_client(self.server.port) as client:
                jetstream = client.jetstream()
                await jetstream.add_stream(name="JOBS", subjects=["jobs"])
                config = ConsumerConfig(durable_name="nemo", ack_policy=AckPolicy.EXPLICIT, ack_wait=1.0)
                await jetstream.add_consumer("JOBS", config)

    async def put(self, *messages: Any) -> None:
        """Store messages."""
        if isinstance(self.server, RedisServer):
            with self.server.client() as redis:
                for message in messages:
                    redis.xadd("jobs", {"data": json.dumps(message)})
            return
        async with nats_client(self.server.port) as nats:
            for message in messages:
                await nats.jetstream().publish("jobs", json.dumps(message).encode())


@pytest.fixture(params=["redis", "nats"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """One server of each kind."""
    with (redis_server if request.param == "redis" else nats_server)() as server:
        yield Place(request.param, server)


@contextmanager
def lives(text: str) -> Iterator[Any]:
    """Starts the sidecar in one place as often as one likes; what it started is dead in the end."""
    with short_directory() as directory:
        started: list[Sidecar] = []

        def start() -> Sidecar:
            started.append(Sidecar(directory, f"{bus_block(directory)}\n{text}").ready())
            return started[-1]

        try:
            yield start
        finally:
            for one in started:
                one.kill()


async def come(program: Any, message: Any, attempts: int, since: int = 0) -> str:
    """Wait for a message in its n-th delivery, or a later one; its id."""
    found = await program.wait(
        "job.come",
        lambda event: event["payload"]["message"] == message and event["payload"]["attempts"] >= attempts,
        since=since,
    )
    return str(found["payload"]["message_id"])


async def test_only_so_many_are_in_hand_while_nobody_listens(place):
    """With `ack = "bus"`, too: the others wait at the server, for other consumers, until somebody listens."""
    await place.prepare()
    text = re.sub(r" *(ack|visibility) +=.*\n", "", place.block("20s"))
    assert "prefetch" in text
    await place.put(1, 2, 3, 4, 5)
    with sidecar(text) as running:
        await place.have_in_hand(2)
        await asyncio.sleep(0.5)
        assert await place.in_hand() == 2
        with running.program() as program:
            await come(program, 5, 1)
            await place.have_in_hand(0)
            assert len(program.seen("job.come")) == 5


async def test_only_so_many_are_unanswered(place):
    """The third comes when the first is acknowledged; what is given back comes again, one attempt higher."""
    await place.prepare()
    with sidecar(place.block("20s")) as running, running.program() as program:
        await place.put(1, 2, 3, 4)
        first, second = await come(program, 1, 1), await come(program, 2, 1)
        await program.ask("bridge.ping")
        assert len(program.seen("job.come")) == 2
        assert (await program.ask("integration.remote.ack", {"message_id": first}))["ok"]
        third = await come(program, 3, 1)
        await program.ask("bridge.ping")
        assert len(program.seen("job.come")) == 3
        assert (await program.ask("integration.remote.nack", {"message_id": second}))["ok"]
        again = await come(program, 2, 2)
        for one in (third, again):
            assert (await program.ask("integration.remote.ack", {"message_id": one}))["ok"]
        await come(program, 4, 1)
        unknown = "7-0/jobs" if place.kind == "redis" else "JOBS/nemo/777"
        answer = await program.ask("integration.remote.ack", {"message_id": unknown})
        # Redis takes an acknowledgement of what is settled already; JetStream must know what was delivered.
        assert answer["ok"] if place.kind == "redis" else answer["error"]["kind"] == "invalid"
        assert (await program.ask("integration.remote.ack", {"message_id": "?"}))["error"]["kind"] == "invalid"


async def test_who_never_answers_gets_it_again_until_it_is_given_up(place):
    """In time, one attempt higher; after so many deliveries that is told, and what is behind it comes."""
    await place.prepare()
    text = place.block("300ms", "max_deliveries = 2")
    with sidecar(text) as running, running.program() as program:
        await place.put("poison")
        await come(program, "poison", 1)
        await come(program, "poison", 2)
        dead = await program.wait("resilience.remote.given_up")
        assert dead["payload"]["message"]["message"] == "poison"
        assert "2 times" in dead["payload"]["error"]["message"]
        await place.put("good")
        good = await come(program, "good", 1)
        assert (await program.ask("integration.remote.ack", {"message_id": good}))["ok"]
        assert len([one for one in program.seen("job.come") if one["payload"]["message"] == "poison"]) == 2
        if isinstance(place.server, RedisServer):
            with place.server.client() as redis:
                ((_, fields),) = redis.xrange("jobs:dead")
                assert fields["data"] == '"poison"'


async def test_a_killed_sidecar_delivers_again_what_was_not_acknowledged(place):
    """One attempt higher; what was acknowledged does not come; whoever listens late gets it after `visibility`."""
    await place.prepare()
    with lives(place.block("2s")) as start:
        first = start()
        with first.program() as program:
            await place.put(1, 2)
            one = await come(program, 1, 1)
            await come(program, 2, 1)
            assert (await program.ask("integration.remote.ack", {"message_id": one}))["ok"]
        first.kill()
        with start().program() as program:
            two = await come(program, 2, 2)
            assert (await program.ask("integration.remote.ack", {"message_id": two}))["ok"]
            await place.put(3)
            await come(program, 3, 1)
            assert {event["payload"]["message"] for event in program.seen("job.come")} == {2, 3}


async def test_a_restarted_server_still_has_what_is_held(place):
    """What was delivered and not acknowledged comes again on the new connection, and can be acknowledged there."""
    await place.prepare()
    with sidecar(place.block("2s")) as running, running.program() as program:
        await place.put(1)
        await come(program, 1, 1)
        place.server.kill()
        since = program.mark()
        if isinstance(place.server, RedisServer):
            place.server.restart()
        else:
            place.server.start()
        again = await come(program, 1, 2, since)
        assert (await program.ask("integration.remote.ack", {"message_id": again}))["ok"]
        await place.put(2)
        await come(program, 2, 1)
