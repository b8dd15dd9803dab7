"""Servers that close, stall, lie about sizes and send bytes that are no text, at every point of each protocol.

One sidecar has an integration for each case of a protocol's table, and one more with a server that does everything
right. For ten seconds all of them get commands. Then, for each case: the process lives; it made few connections; what
is beside it went on; every command has one response and the sums balance; and something was told, unless all was well.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.support.bus.bus_host import bus_host
from tests.support.bus.program import Event, Program
from tests.support.servers.scripted.protocols import PROTOCOLS, Protocol
from tests.support.servers.scripted.server import Fault, ScriptedServer, scripted_server
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory

#: How long each sidecar is watched, in seconds.
WATCHED: Final = 10.0
#: Attempts of the outbox for one event in that time: four tries, each with one repetition.
JOB_ATTEMPTS: Final = 8
#: Integrations of one sidecar.
CHUNK: Final = 50
#: Seconds that a response of the server that does everything right may take.
LONGEST: Final = 5.0
GOOD: Final = "good"


def cases(*names: str) -> list[Any]:
    """Return the parameters of a test: these protocols, each with some of its faults at a time."""
    return [
        pytest.param(PROTOCOLS[name], PROTOCOLS[name].faults[at : at + CHUNK], id=f"{name}-{at // CHUNK + 1}")
        for name in names
        for at in range(0, len(PROTOCOLS[name].faults), CHUNK)
    ]


@dataclass
class Watch:
    """What was sent to one integration, and what came of it."""

    label: str
    server: ScriptedServer
    jobs: int = 0
    asked: dict[str, float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    responses: list[Event] = field(default_factory=list)

    def wrong(self, protocol: Protocol, fault: Fault | None) -> Iterator[str]:
        """Say which invariants do not hold."""
        attempts = 2 * (len(self.asked) + 1) + JOB_ATTEMPTS * self.jobs if protocol.calls else 0
        connections = self.server.most_connections(WATCHED)
        if connections > protocol.most_connections + attempts:
            yield f"{connections} connections in {WATCHED:g} s"
        answered = [response["correlation_id"] for response in self.responses]
        if sorted(answered) != sorted(self.asked):
            yield f"{len(self.asked)} commands, {len(answered)} responses"
        health = [event["payload"] for event in self.events if event["event_type"] == f"health.{self.label}"]
        sums = health[-1]["accounting"]
        if sums["accepted"] != sum(count for name, count in sums.items() if name != "accepted"):
            yield f"the sums do not balance: {sums}"
        failed = [response["payload"] for response in self.responses if not response["payload"]["ok"]]
        got = sum(event["event_type"] == f"got.{self.label}" for event in self.events)
        told = [one for one in health if one["error"] or one["warnings"] or one.get("subscriptions")]
        told += [event for event in self.events if event["event_type"].startswith(f"resilience.{self.label}.")]
        well = not failed and got >= len(protocol.subscribed)
        if fault is None:
            if not well or told:
                yield f"the good one is not well: {failed[:1]}, {got} messages, told {told[:3]}, at last {health[-1]}"
            slowest = max(_answered(self.responses, self.asked), default=0.0)
            if slowest > LONGEST:
                yield f"the good one took {slowest:.1f} s"
        elif not self.server.acted:
            yield "its point was never reached"
        elif not told and not failed and not well:
            yield f"nothing was told, but only {got} messages came"


def _answered(responses: list[Event], asked: dict[str, float]) -> Iterator[float]:
    for response in responses:
        yield response["timestamp"] / 1000 - asked[response["correlation_id"]]


async def _watch(program: Program, watches: list[Watch], protocol: Protocol) -> None:
    """Send commands for ten seconds: to the good server all along, to the others at the start and in the middle."""
    await program.wait(f"health.{GOOD}", lambda event: event["payload"]["status"] == "connected")
    begin = time.monotonic()
    turns = 0
    while (now := time.monotonic() - begin) < WATCHED:
        if now >= turns:
            turns += 1
            for watch in watches:
                if watch.label == GOOD or turns in {1, 6}:
                    _send(program, watch, protocol)
        program.pump()
        await asyncio.sleep(0.02)
    # On a busy machine an integration may have been connected at neither moment: ask it until its point is reached.
    end = time.monotonic() + WATCHED
    while time.monotonic() < end:
        program.pump()
        unreached = [watch for watch in watches if watch.label != GOOD and not watch.server.acted]
        for watch in unreached:
            _send(program, watch, protocol)
        waiting = {correlation_id for watch in watches for correlation_id in watch.asked}
        if not unreached and waiting <= {event["correlation_id"] for event in program.log}:
            return
        await asyncio.sleep(1.0 if unreached else 0.1)


def _send(program: Program, watch: Watch, protocol: Protocol) -> None:
    for operation, payload in protocol.commands:
        correlation_id = str(uuid.uuid4())
        watch.asked[correlation_id] = time.time()
        program.emit(f"integration.{watch.label}.{operation}", payload, correlation_id)
    if protocol.job:
        watch.jobs += 1
        program.emit(f"job.{watch.label}", [len(watch.asked)], None)


async def check_faults(protocol: Protocol, faults: list[Fault]) -> None:
    """Run a sidecar beside servers with these faults, and check that all that this module names holds."""
    with short_directory() as directory:
        async with AsyncExitStack() as stack:
            watches = [Watch(GOOD, await stack.enter_async_context(scripted_server(protocol.conversation)))]
            for fault in faults:
                server = await stack.enter_async_context(scripted_server(protocol.conversation, fault))
                watches.append(Watch(fault.label, server))
            text = f'bridge {{\n  data_dir = "{directory}/data"\n  heartbeat = "1s"\n  drain_timeout = "2s"\n}}\n'
            text += bus_block(directory, 'mode = "connect"')
            # The good one has patience, so that only a sidecar that does not serve it makes it fail.
            text += protocol.block(GOOD, watches[0].server.port, timeout="10s")
            text += "".join(protocol.block(one.label, one.server.port) for one in watches[1:])
            # The program listens before the sidecar starts, so that it misses nothing.
            ends = f"ipc://{directory}/p", f"ipc://{directory}/s"
            stack.enter_context(bus_host(*ends))
            program = stack.enter_context(Program(*ends, validate_every=20))
            running = Sidecar(directory, text)
            stack.callback(running.kill)
            await _watch(program, watches, protocol)
            log = list(program.log)
            assert running.process.poll() is None, running.text[-3000:]
            running.term()
            code = await asyncio.to_thread(running.wait, 10.0)
            output = running.text
    for watch in watches:
        names = {f"health.{watch.label}", f"got.{watch.label}"}
        watch.events = [
            event
            for event in log
            if event["event_type"] in names or event["event_type"].startswith(f"resilience.{watch.label}.")
        ]
        watch.responses = [event for event in log if event["correlation_id"] in watch.asked]
        watch.responses = [event for event in watch.responses if event["event_type"].startswith("response.")]
    of = {fault.label: fault for fault in faults}
    wrong = {watch.label: list(watch.wrong(protocol, of.get(watch.label))) for watch in watches}
    wrong = {label: found for label, found in wrong.items() if found}
    assert not wrong, json.dumps(wrong, indent=1)
    assert code == 0
    for word in ("Traceback", "crashed", "[critical"):
        assert word not in output, output[output.index(word) - 500 :][:3000]
