"""Many calls, cancelled at any moment, against a service that also dies: no answer is mixed up, nothing leaks."""

import asyncio
import random
from typing import Any

import pytest

from bridge.core.errors import BridgeError
from bridge.core.ports import Context
from tests.support.adapters.adapters import connected
from tests.support.servers.demo import demo_service
from tests.support.servers.proxy import fault_proxy


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm(batch: bool, seed: int) -> None:
    """Each answer reaches its own call, and afterwards all connections can be used again."""
    rng = random.Random(seed)
    limit, wrong, outcomes = 8, [], {"answered": 0, "given up": 0, "failed": 0}

    async def caller(adapter: Any, number: int) -> None:
        for turn in range(40):
            value = [number, turn]
            try:
                async with asyncio.timeout(rng.choice([0.0005, 0.002, 0.01, 5])):
                    answer = await adapter.request("echo", value)
            except TimeoutError:
                outcomes["given up"] += 1
            except BridgeError:
                outcomes["failed"] += 1
            else:
                outcomes["answered"] += 1
                if answer != value:
                    wrong.append((value, answer))

    with demo_service() as demo:
        async with (
            fault_proxy("127.0.0.1", demo.port) as proxy,
            connected(f"http://127.0.0.1:{proxy.port}/rpc", batch=batch, limit=limit) as adapter,
        ):
            async with asyncio.TaskGroup() as group:
                callers = [group.create_task(caller(adapter, number)) for number in range(20)]
                while not all(task.done() for task in callers):
                    await asyncio.sleep(0.02)
                    proxy.end_all(reset=rng.random() < 0.5)
            assert not wrong
            assert all(outcomes.values()), outcomes
            assert sum(outcomes.values()) == 800
            # If one slot had leaked, the last of these would wait for ever. The first round still meets the last cuts.
            for last in (False, True):
                alone = [Context(idempotency_key=str(n)) for n in range(limit + 1)]
                async with asyncio.timeout(5):
                    ends = await asyncio.gather(
                        *[adapter.request("sleep", {"ms": 50}, context=context) for context in alone],
                        return_exceptions=not last,
                    )
            assert ends == [None] * (limit + 1)
