"""Servers that close, stall, lie about sizes and send bytes that are no text, at every point of each protocol.

One sidecar has an integration for each case of a protocol's table, and one more with a server that does everything
right. For ten seconds all of them get commands. Then, for each case: the process lives; it made few connections; what
is beside it went on; every command has one response and the sums balance; and something was told, unless all was well.
"""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final

import pytest

from tests.support.bus.program import Event, Program
from tests.support.servers.scripted import http, mqtt, nats, redis, sse, websocket
from tests.support.servers.scripted.server import Conversation, Fault, ScriptedServer, scripted_server
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory

#: How long each sidecar is watched, in seconds.
WATCHED: Final = 10.0
#: Connections that one integration may make in that time.
MOST_CONNECTIONS: Final = 12
#: Integrations of one sidecar.
CHUNK: Final = 50
#: Seconds that a response of the server that does everything right may take.
LONGEST: Final = 3.0
GOOD: Final = "good"


@dataclass(frozen=True)
class Protocol:
    """How the cases of a table become integrations.

    Attributes:
        conversation: What the server says.
        faults: The table.
        settings: `type`, `endpoint` and `config` in HCL, with `{port}`.
        commands: Operation and payload of each command that all of them get.
        subscribed: The attributes of a `subscription` block, if any; each good server sends one message to it.
        job: The attributes of a `route` with `at_least_once`.
        calls: Whether each attempt of a command may make a connection of its own.
    """

    conversation: Conversation
    faults: list[Fault]
    settings: str
    commands: tuple[tuple[str, dict[str, Any]], ...]
    subscribed: tuple[str, ...] = ()
    job: str = ""
    calls: bool = False

    def block(self, label: str, port: int) -> str:
        """Return the blocks of one case."""
        text = f"""
integration "{label}" {{
  {self.settings.replace("{port}", str(port))}
  health {{
    interval = "1s"
    timeout  = "500ms"
  }}
  resilience {{
    timeout = "500ms"
    retry {{
      max_attempts  = 2
      initial_delay = "50ms"
      max_delay     = "100ms"
      budget        = 1
    }}
    circuit_breaker {{
      failure_threshold = 1000
    }}
  }}
}}
"""
        for number, attributes in enumerate(self.subscribed):
            text += f"""
subscription "{label}-{number}" {{
  integration = "{label}"
  {attributes}
  emit        = "got.{label}"
}}
"""
        if self.job:
            text += f"""
route "{label}" {{
  on          = "job.{label}"
  integration = "{label}"
  delivery    = "at_least_once"
  {self.job}
}}
"""
        return text


def _at(kind: str, url: str, config: str = "") -> str:
    return f'type = "{kind}"\n  endpoint {{\n    url = "{url}"\n  }}\n  config {{\n    {config}\n  }}'


PROTOCOLS: Final = {
    "mqtt": Protocol(
        mqtt.converse,
        mqtt.FAULTS,
        _at("mqtt", "mqtt://127.0.0.1:{port}"),
        (("publish", {"topic": "out/x", "message": 1, "qos": 1}), ("publish", {"topic": "out/x", "message": 1})),
        ('topic = "in/x"',),
        'operation = "publish"\n  topic = "jobs"\n  message = event.payload\n  qos = 1',
    ),
    "nats": Protocol(
        nats.converse,
        nats.FAULTS,
        _at("nats", "nats://127.0.0.1:{port}"),
        (("publish", {"topic": "out.x", "message": 1}), ("request", {"method": "svc.x", "params": 1})),
        ('topic = "in.*"',),
        'operation = "publish"\n  topic = "jobs"\n  message = event.payload',
    ),
    "redis": Protocol(
        redis.converse,
        redis.FAULTS,
        _at("redis", "redis://127.0.0.1:{port}"),
        (("publish", {"topic": "out", "message": 1}), ("enqueue", {"queue": "out", "message": 1})),
        ('topic = "in"', 'queue = "jobs"'),
        'operation = "enqueue"\n  queue = "jobs"\n  message = event.payload',
    ),
    "json-rpc": Protocol(
        http.converse,
        http.FAULTS,
        _at("json-rpc", "http://127.0.0.1:{port}/rpc"),
        (("request", {"method": "echo", "params": [1]}),),
        job='operation = "request"\n  method = "echo"\n  params = event.payload',
        calls=True,
    ),
    "http": Protocol(
        http.converse,
        http.FAULTS,
        _at("http", "http://127.0.0.1:{port}/", 'max_response = "1MiB"'),
        (("request", {"method": "GET /x"}), ("request", {"method": "POST /x", "params": {"body": {}}})),
        job='operation = "request"\n  method = "PUT /x"\n  params = { body = event.payload }',
        calls=True,
    ),
    "server-sent-events": Protocol(
        sse.converse,
        sse.FAULTS,
        _at("http", "http://127.0.0.1:{port}/", 'events = "/events"\n    max_response = "2MiB"'),
        (("request", {"method": "GET /x"}),),
        ('topic = "events"',),
    ),
    "websocket": Protocol(
        websocket.converse,
        [fault for fault in websocket.FAULTS if fault.at != "answer"],  # a message of this type has no answer
        _at("websocket", "ws://127.0.0.1:{port}/", 'ping = "500ms"'),
        (("publish", {"topic": "*", "message": 1}),),
        ('topic = "*"',),
        'operation = "publish"\n  topic = "*"\n  message = event.payload',
    ),
    "json-rpc-websocket": Protocol(
        websocket.converse,
        websocket.FAULTS,
        _at("json-rpc", "ws://127.0.0.1:{port}/"),
        (("request", {"method": "echo", "params": [1]}),),
        ('topic = "*"',),
        'operation = "request"\n  method = "echo"\n  params = event.payload',
    ),
}


def _cases() -> Iterator[Any]:
    for name, protocol in PROTOCOLS.items():
        for at in range(0, len(protocol.faults), CHUNK):
            yield pytest.param(protocol, protocol.faults[at : at + CHUNK], id=f"{name}-{at // CHUNK + 1}")


@dataclass
class Watch:
    """What was sent to one integration, and what came of it."""

    label: str
    server: ScriptedServer
    asked: dict[str, float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    responses: list[Event] = field(default_factory=list)

    def wrong(self, protocol: Protocol, fault: Fault | None) -> Iterator[str]:
        """Say which invariants do not hold."""
        attempts = 2 * (len(self.asked) + 1) if protocol.calls else 0
        if self.server.connections > MOST_CONNECTIONS + attempts:
            yield f"{self.server.connections} connections"
        answered = [response["correlation_id"] for response in self.responses]
        if sorted(answered) != sorted(self.asked):
            yield f"{len(self.asked)} commands, {len(answered)} responses"
        health = [event["payload"] for event in self.events if event["event_type"] == f"health.{self.label}"]
        sums = health[-1]["accounting"]
        if sums["accepted"] != sum(count for name, count in sums.items() if name != "accepted"):
            yield f"the sums do not balance: {sums}"
        failed = [response["payload"] for response in self.responses if not response["payload"]["ok"]]
        got = sum(event["event_type"] == f"got.{self.label}" for event in self.events)
        told = any(one["error"] or one["warnings"] or one.get("subscriptions") for one in health) or any(
            event["event_type"].startswith(f"resilience.{self.label}.") for event in self.events
        )
        well = not failed and got >= len(protocol.subscribed)
        if fault is None:
            if not well or told:
                yield f"the good one is not well: {failed[:1]}, {got} messages, {health[-1]}"
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


@contextmanager
def bus_host(directory: Path) -> Iterator[None]:
    """Host the bus that the program and the sidecar join."""
    command = [sys.executable, "-m", "tests.support.bus.bus_host", f"ipc://{directory}/p", f"ipc://{directory}/s"]
    with Popen(command, cwd=Path(__file__).parents[2], stdout=PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield
        finally:
            process.kill()


async def _watch(program: Program, watches: list[Watch], protocol: Protocol) -> None:
    """Send commands for ten seconds: to the good server all along, to the others at the start and in the middle."""
    begin = time.monotonic()
    await program.wait(f"health.{GOOD}", lambda event: event["payload"]["status"] == "connected")
    turns = 0
    while (now := time.monotonic() - begin) < WATCHED:
        if now >= turns:
            turns += 1
            for watch in watches:
                if watch.label == GOOD or turns in {1, 6}:
                    _send(program, watch, protocol)
        program.pump()
        await asyncio.sleep(0.02)
    end = time.monotonic() + WATCHED
    waiting = {correlation_id for watch in watches for correlation_id in watch.asked}
    while time.monotonic() < end:
        program.pump()
        if waiting <= {event["correlation_id"] for event in program.log}:
            return
        await asyncio.sleep(0.1)


def _send(program: Program, watch: Watch, protocol: Protocol) -> None:
    for operation, payload in protocol.commands:
        correlation_id = str(uuid.uuid4())
        watch.asked[correlation_id] = time.time()
        program.emit(f"integration.{watch.label}.{operation}", payload, correlation_id)
    if protocol.job:
        program.emit(f"job.{watch.label}", [len(watch.asked)], None)


@pytest.mark.timeout(90)
@pytest.mark.parametrize(("protocol", "faults"), list(_cases()))
async def test_whatever_a_server_does(protocol: Protocol, faults: list[Fault]) -> None:
    """No fault ends the process, makes it spin, disturbs another integration, or is lost in silence."""
    with short_directory() as directory:
        async with AsyncExitStack() as stack:
            watches = [Watch(GOOD, await stack.enter_async_context(scripted_server(protocol.conversation)))]
            for fault in faults:
                server = await stack.enter_async_context(scripted_server(protocol.conversation, fault))
                watches.append(Watch(fault.label, server))
            text = f'bridge {{\n  data_dir = "{directory}/data"\n  heartbeat = "1s"\n  drain_timeout = "2s"\n}}\n'
            text += bus_block(directory, 'mode = "connect"')
            text += "".join(protocol.block(one.label, one.server.port) for one in watches)
            # The program listens before the sidecar starts, so that it misses nothing.
            stack.enter_context(bus_host(directory))
            program = stack.enter_context(Program(f"ipc://{directory}/p", f"ipc://{directory}/s", validate_every=20))
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
