"""Thousands of events wait in the outbox while integrations are replaced, removed and drained, and the sidecar ends."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.bus.program import Program
from tests.support.servers.remotes import Entry, Stand, stand
from tests.support.sidecar.restarts import restarts
from tests.support.sidecar.sidecar import Sidecar
from tests.support.wait import PATIENCE, until

#: More than are in memory at the same time.
COUNT = 4500
_SHOPS = 7
_HEARTBEAT = 'heartbeat = "200ms"'
#: What stays in the configuration: a reload refuses one that has nothing any more.
_KEPT = """
integration "kept" {
  type = "static"
  config {
    values = { key = 1 }
  }
}
"""
#: Slow enough that there is a middle of the delivery, in which calls wait in the guard, too.
_SLOW = 'rate = "100/s"'
_RESILIENCE = f"""
  health {{
    interval = "300ms"
    timeout  = "500ms"
  }}
  resilience {{
    timeout = "1s"
    circuit_breaker {{
      failure_threshold = 1000
      timeout           = "300ms"
    }}
    limit {{
      {_SLOW}
    }}
  }}
"""


@pytest.fixture
def redis() -> Iterator[Stand]:
    """Redis, where entries go to a stream."""
    with stand("redis") as running:
        yield running


@pytest.fixture
def service() -> Iterator[Stand]:
    """A JSON-RPC service with a ledger, whose calls the remote does not know to be repetitions."""
    with stand("json-rpc") as running:
        yield running


def _route(remote: Stand) -> str:
    enqueue = 'queue = "numbers"\n message = event.payload'
    request = 'method = "note"\n params = { number = event.payload.number }'
    return f"""
route "kept" {{
  on          = ["kept"]
  integration = "{remote.kind}"
  operation   = "{remote.operation}"
  {enqueue if remote.operation == "enqueue" else request}
  key         = event.payload.shop
  delivery    = "at_least_once"
  receipts    = true
}}
"""


async def _pending(program: Program) -> int:
    """How many events the outbox holds."""
    health: dict[str, Any] = (await program.ask("bridge.status", {}))["result"]["bridge"]
    return int(health["outbox"]["pending"])


async def _until_idle(program: Program, name: str) -> None:
    """Wait until nothing is in flight at an integration."""
    end = time.monotonic() + PATIENCE
    while (await program.ask("bridge.status", {}))["result"][name]["in_flight"]:
        assert time.monotonic() < end, f"{name} is not idle"


async def _until_pending(program: Program, at_most: int, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while (pending := await _pending(program)) > at_most:
        assert time.monotonic() < end, f"{pending} are still pending"
        await asyncio.sleep(0.02)


def _say(program: Program, number: int, *, keys: bool) -> None:
    headers = {"idempotency_key": f"k{number}"} if keys else None
    payload = {"number": number, "shop": number % _SHOPS}
    program.emit("kept", payload, f"event/{number}", headers, shape="map", source="shop")


async def _fill(program: Program, *, keys: bool = True) -> None:
    """Say all events; they are in the outbox, and nothing else has become of them."""
    for number in range(COUNT):
        _say(program, number, keys=keys)
        if number % 500 == 499:
            await program.ask("bridge.ping")
    end = time.monotonic() + 20
    while await _pending(program) < COUNT:
        assert time.monotonic() < end, "not all are accepted"
        await asyncio.sleep(0.02)
    assert not program.seen(prefix="receipt.")


async def _told_again(program: Program) -> None:
    """Every key, asked again, has the one outcome `delivered`, and is pending no more."""
    since = program.mark()
    for number in range(COUNT):
        _say(program, number, keys=True)
        if number % 500 == 499:
            await program.ask("bridge.ping")
    outcomes: dict[str, str] = {}
    end = time.monotonic() + 20
    while len(outcomes) < COUNT:
        assert time.monotonic() < end, f"{len(outcomes)} outcomes"
        await asyncio.sleep(0.05)
        outcomes = {e["payload"]["idempotency_key"]: e["event_type"] for e in program.seen(prefix="receipt.")}
    told = {(e["payload"]["idempotency_key"], e["event_type"]) for e in program.seen(prefix="receipt.")}
    assert told == {(f"k{number}", "receipt.redis.delivered") for number in range(COUNT)}
    await until(lambda: len(program.seen("response.kept", since)) >= COUNT, "a response to each")
    assert len(program.seen("response.kept", since)) == COUNT
    assert await _pending(program) == 0


def _check(ledger: list[Entry]) -> None:
    """Everything has arrived, repetitions with the same key only, and each shop's in order."""
    assert {number for _, number in ledger} == set(range(COUNT))
    assert len({number for _, number in ledger}) == len(set(ledger))
    first = list(dict.fromkeys(number for _, number in ledger))
    for shop in range(_SHOPS):
        assert [number for number in first if number % _SHOPS == shop] == list(range(shop, COUNT, _SHOPS))


async def _end(running: Sidecar) -> None:
    """SIGTERM, and the end in order."""
    running.term()
    assert await asyncio.to_thread(running.wait) == 0


async def _hurry(running: Sidecar, program: Program) -> None:
    """Deliver as fast as it goes from now on."""
    running.file.write_text(running.file.read_text().replace(_SLOW, ""))
    assert len((await program.ask("bridge.reload", {}))["result"]["changed"]) == 1


async def _balanced(program: Program, kind: str) -> None:
    sums = (await program.ask("bridge.status", {}))["result"][kind]["accounting"]
    ends = ("succeeded", "failed", "dead_lettered", "expired", "shed", "in_flight", "queued")
    assert sums["accepted"] == sum(sums[name] for name in ends), sums


#: Takes the place of what is removed, as a reload refuses to remove everything.
_OTHER = """
integration "other" {
  type = "static"
  config {
    values = {
      a = 1
    }
  }
}
"""


async def test_replaced_removed_and_back(redis: Stand) -> None:
    """An integration whose events wait is replaced, removed, and back in the next life: all are delivered, in order."""
    whole = redis.integration() + _route(redis)
    with restarts(_KEPT + whole, more=_HEARTBEAT) as start:
        running = start()
        redis.kill()
        with running.program(validate_every=100) as program:
            await _fill(program)
            text = running.file.read_text()
            running.file.write_text(text.replace('timeout = "1s"', 'timeout = "1500ms"'))
            plan = (await program.ask("bridge.reload", {}))["result"]
            assert plan["changed"] == ["redis"]
            await _balanced(program, "redis")
            running.file.write_text(text.replace(whole, _OTHER))
            assert (await program.ask("bridge.reload", {}))["result"]["removed"] == ["redis"]
            assert await _pending(program) == COUNT
            running.file.write_text(text)
            assert (await program.ask("bridge.reload", {}))["result"]["added"] == ["redis"]
            await _balanced(program, "redis")
            running.file.write_text(text.replace(whole, _OTHER))
            assert (await program.ask("bridge.reload", {}))["result"]["removed"] == ["redis"]
            await _end(running)
            assert not program.seen(prefix="receipt.")
            assert f"pending={COUNT}" in running.text
        redis.start()
        running = start()
        with running.program(validate_every=100) as program:
            await _until_pending(program, 0)
            await _told_again(program)
            await _balanced(program, "redis")
        _check(redis.ledger())


async def test_replaced_and_removed_while_it_is_delivered(redis: Stand) -> None:
    """Reloads in the middle of delivery lose nothing, and bring nothing out of order."""
    whole = redis.integration(resilience=_RESILIENCE) + _route(redis)
    with restarts(_KEPT + whole, more=_HEARTBEAT) as start:
        running = start()
        redis.kill()
        with running.program(validate_every=100) as program:
            await _fill(program)
            text = running.file.read_text()
            redis.start()
            await _until_pending(program, COUNT - 1)
            running.file.write_text(text.replace('timeout = "1s"', 'timeout = "1100ms"'))
            assert (await program.ask("bridge.reload", {}))["result"]["changed"] == ["redis"]
            running.file.write_text(text.replace(whole, _OTHER))
            assert (await program.ask("bridge.reload", {}))["result"]["removed"] == ["redis"]
            left = await _pending(program)
            assert 0 < left < COUNT
            running.file.write_text(text.replace(_SLOW, ""))
            assert (await program.ask("bridge.reload", {}))["result"]["added"] == ["redis"]
            await _until_pending(program, 0)
            await _told_again(program)
            await _balanced(program, "redis")
        _check(redis.ledger())


async def test_drained_and_ended(redis: Stand) -> None:
    """`drain` is answered at once and keeps what waits; so does SIGTERM, before the remote is back and in delivery."""
    with restarts(redis.integration(resilience=_RESILIENCE) + _route(redis), more=_HEARTBEAT) as start:
        running = start()
        redis.kill()
        with running.program(validate_every=100) as program:
            await _fill(program)
            assert (await program.ask("integration.redis.drain", {}))["ok"]
            assert await _pending(program) == COUNT
            await _balanced(program, "redis")
            await _end(running)
            assert not program.seen(prefix="receipt.")
        running = start()
        with running.program(validate_every=100) as program:
            assert await _pending(program) == COUNT
            redis.start()
            await _until_pending(program, COUNT - 1)
            assert (await program.ask("integration.redis.drain", {}))["ok"]
            await _until_idle(program, "redis")
            delivered, left = redis.ledger(), await _pending(program)
            # What was not answered in its time may have been delivered, and stays.
            assert COUNT - len(delivered) <= left < COUNT
            assert redis.ledger() == delivered
            assert (await program.ask("integration.redis.resume", {}))["ok"]
            await _until_pending(program, left - 1)
            await _end(running)
        running = start()
        with running.program(validate_every=100) as program:
            assert 0 < await _pending(program) < COUNT
            await _hurry(running, program)
            await _until_pending(program, 0)
            await _told_again(program)
            await _balanced(program, "redis")
        _check(redis.ledger())


async def test_calls_without_a_key_and_the_end(service: Stand) -> None:
    """SIGTERM in mid delivery of calls that must not be made twice: each is made once, and none ends as unknown."""
    with restarts(service.integration(resilience=_RESILIENCE) + _route(service), more=_HEARTBEAT) as start:
        running = start()
        service.kill()
        with running.program(validate_every=100) as program:
            await _fill(program, keys=False)
            service.start()
            await _until_pending(program, COUNT - 1)
            await _end(running)
        for _ in range(2):
            running = start()
            with running.program(validate_every=100) as program:
                left = await _pending(program)
                await _until_pending(program, left - 1)
                await _end(running)
        running = start()
        with running.program(validate_every=100) as program:
            assert 0 < await _pending(program) < COUNT
            await _hurry(running, program)
            await _until_pending(program, 0)
            assert (await program.ask("bridge.dead_letters", {}))["result"] == {"letters": [], "total": 0}
            await _balanced(program, service.kind)
        times = Counter(number for _, number in service.ledger())
        assert times == dict.fromkeys(range(COUNT), 1)


async def test_full(redis: Stand) -> None:
    """Refused is what finds no room, and nothing else; what was accepted outlives reload and end, and makes room."""
    small = _HEARTBEAT + '\n outbox {\n max_bytes = "512KiB"\n }'
    with restarts(redis.integration() + _route(redis), more=small) as start:
        running = start()
        redis.kill()
        with running.program(validate_every=100) as program:
            for number in range(COUNT):
                _say(program, number, keys=True)
                if number % 500 == 499:
                    await program.ask("bridge.ping")
            end = time.monotonic() + 20
            while (pending := await _pending(program)) + len(program.seen("response.kept")) < COUNT:
                assert time.monotonic() < end, "some are neither refused nor accepted"
                await asyncio.sleep(0.02)
            refused = {event["correlation_id"] for event in program.seen("response.kept")}
            assert {event["payload"]["error"]["kind"] for event in program.seen("response.kept")} == {"overloaded"}
            assert 0 < pending == COUNT - len(refused) < COUNT
            running.file.write_text(running.file.read_text().replace('timeout = "1s"', 'timeout = "1500ms"'))
            assert (await program.ask("bridge.reload", {}))["result"]["changed"] == ["redis"]
            assert (await program.ask("bridge.status", {}))["result"]["bridge"]["status"] == "degraded"
            await _end(running)
        running = start()
        with running.program(validate_every=100) as program:
            assert await _pending(program) == pending
            redis.start()
            await _until_pending(program, 0)
            accepted = {number for number in range(COUNT) if f"event/{number}" not in refused}
            assert {number for _, number in redis.ledger()} == accepted
            await program.wait("health.bridge", lambda event: event["payload"]["status"] == "ready")
            for number in sorted(set(range(COUNT)) - accepted)[:100]:
                _say(program, number, keys=True)
            await program.response(f"event/{number}")
            await _until_pending(program, 0)
            assert len(set(redis.ledger())) == pending + min(100, len(refused))
            await _balanced(program, "redis")
