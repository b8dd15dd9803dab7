"""RPC over the bus: 1 and 32 callers, against the naive bridge, and against httpx alone; 64 against Benthos."""

import asyncio
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import httpx
import uvloop

from bench_lib import against, processes
from bench_lib.callers import Callers, sample_of
from bench_lib.flow import Candidate, Sink, Source
from bench_lib.processes import Bridge, Place
from bench_lib.rows import Plan, Row, Sample

TITLE: Final = "RPC over the bus"
MANY: Final = 32
#: As many as Benthos has in flight by default.
_AGAINST: Final = 64
#: Asked of the sidecar: times Benthos tuned.
_ASKED: Final = 1.5


def measure(plan: Plan) -> list[Row]:
    """The rows, measured round by round."""
    one = Row("rpc-1", f"{TITLE}, 1 caller")
    many = Row("rpc-32", f"{TITLE}, {MANY} callers")
    rows = [one, many]
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(processes.service())
        started = _started(url, plan, stack)
        takes: dict[str, Callable[[int], Sample]] = {
            name: functools.partial(over_bus, bridge, seconds=plan.seconds) for name, bridge in started.items()
        }
        naive, sidecar = takes["naive"], takes["sidecar"]
        ways = {
            "naive": naive,
            "alone": lambda callers: alone(url, callers, plan.seconds, clients=1),
            "alone, a client each": lambda callers: alone(url, callers, plan.seconds, clients=callers),
            "sidecar": sidecar,
        }
        measured = [(one, 1, {"naive": naive, "sidecar": sidecar}), (many, MANY, ways)]
        if plan.against is not None:
            rows.append(Row("rpc-64", f"{TITLE}, {_AGAINST} callers"))
            measured.append((rows[-1], _AGAINST, takes))
        for number in range(plan.rounds):
            for row, callers, candidates in measured:
                for name, take in candidates.items():
                    plan.say(f"round {number + 1} of {plan.rounds}: {row.title}, {name}")
                    row.add(name, take(callers))
    one.ask("p50 ÷ naive", one.ratio("sidecar", "naive", "p50"), "≤", 0.4)
    many.ask("times naive", many.ratio("sidecar", "naive", "rate"), "≥", 5)
    many.ask("p99 ÷ naive", many.ratio("sidecar", "naive", "p99"), "≤", 1 / 3)
    many.ask("times alone", many.ratio("sidecar", "alone", "rate"), "≥", 8)
    # Nothing is asked of it, but it is the better use of httpx, and should be seen beside the other.
    each = many.ratio("sidecar", "alone, a client each", "rate")
    if each is not None:
        many.figures["times_alone_a_client_each"] = round(each.median, 2)
    against.compare(rows[-1], rate=_ASKED)
    return rows


def _started(url: str, plan: Plan, stack: contextlib.ExitStack) -> dict[str, Bridge]:
    directory = stack.enter_context(processes.folder())
    return {
        "naive": stack.enter_context(processes.naive("naive_rpc", directory, url)),
        "sidecar": stack.enter_context(processes.sidecar(directory, url)),
        **against.bridges(plan, stack, against.rpc(url)),
    }


def bridges(plan: Plan, stack: contextlib.ExitStack) -> dict[str, Candidate]:
    """Start naive, the sidecar and what it is measured against, before a service."""
    started = _started(stack.enter_context(processes.service()), plan, stack)
    return {name: Candidate(one.pid, functools.partial(_ends, one.place)) for name, one in started.items()}


@contextlib.contextmanager
def _ends(place: Place) -> Iterator[tuple[Source, Sink]]:
    with Callers(place) as load:
        yield load, load


def over_bus(bridge: Bridge, callers: int, seconds: float) -> Sample:
    """Callers on a bus; before the time a moment to warm up, in which nothing may go wrong either."""
    with Callers(bridge.place) as load:
        load.join()
        warm = load.run(callers, min(0.3, seconds / 4))
        processor = processes.ProcessorTime([bridge.pid])
        sample = load.run(callers, seconds)
        return dataclasses.replace(
            sample, cpu_us=processor.micros(sample.done), problems=(*warm.problems, *sample.problems)
        )


def alone(url: str, callers: int, seconds: float, *, clients: int) -> Sample:
    """The same calls by httpx, so many at a time, no bus, on the sidecar's kind of event loop.

    One shared client is what the targets compare with; its pool gets slow with many calls at a time, and a client for
    each caller is about three times as fast.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_alone(url, callers, seconds, clients))


async def _alone(url: str, callers: int, seconds: float, clients: int) -> Sample:
    limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
    async with contextlib.AsyncExitStack() as stack:
        made = [httpx.AsyncClient(limits=limits, trust_env=False) for _ in range(clients)]
        for client in made:
            await stack.enter_async_context(client)
        await _calls(made, url, callers, min(0.3, seconds / 4))
        return await _calls(made, url, callers, seconds)


async def _calls(clients: Sequence[httpx.AsyncClient], url: str, callers: int, seconds: float) -> Sample:
    latencies: list[int] = []
    wrong = inside = 0
    end = time.perf_counter_ns() + int(seconds * 1e9)

    async def caller(name: int) -> None:
        nonlocal wrong, inside
        client = clients[name % len(clients)]
        number, at = 0, 0
        while at < end:
            number += 1
            token = f"{name}-{number}"
            params = {"n": token, "name": "lamp", "value": 21.5}
            sent = time.perf_counter_ns()
            answer = await client.post(url, json={"jsonrpc": "2.0", "id": token, "method": "echo", "params": params})
            result = answer.json()["result"]
            at = time.perf_counter_ns()
            latencies.append(at - sent)
            inside += at < end
            wrong += result["n"] != token

    async with asyncio.TaskGroup() as group:
        for name in range(callers):
            group.create_task(caller(name))
    return sample_of(latencies, inside, seconds, [f"{wrong} answers were wrong"] if wrong else [])
