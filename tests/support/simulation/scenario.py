"""Random scenarios from a seed: a configuration, what programs and remotes do, and faults; shrunk where one fails.

A scenario is data, so that parts of it can be left out and the rest stays as it was.
"""

import random
import reprlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from bridge.config import Configuration, load
from bridge.registry import AdapterRegistry
from bridge.simulation import START_MS, Answer, Attempt, Said, Simulation
from bridge.simulation.faults import Fault, plan, random_faults
from bridge.simulation.invariants import Run, finish, violations

#: Seconds in which events are said and faults begin, at most, and that all may take to come to an end.
BUSY: Final = 120.0
PATIENCE: Final = 7200.0
#: Operations that each protocol has for routes, and the URL of its endpoint.
PROTOCOLS: Final = {
    "json-rpc": (("request",), "http://127.0.0.1:1/rpc"),
    "json-rpc-ws": (("request",), "ws://127.0.0.1:1/rpc"),
    "http": (("request",), "http://127.0.0.1:1/"),
    "mqtt": (("request", "publish"), "mqtt://127.0.0.1:1"),
    "nats": (("request", "publish", "enqueue"), "nats://127.0.0.1:1"),
    "redis": (("publish", "enqueue"), "redis://127.0.0.1:1"),
    "websocket": (("publish",), "ws://127.0.0.1:1/"),
}
_ADAPTERS: Final = AdapterRegistry()
_ERRORS: Final = (
    "not_connected",
    "timeout",
    "unavailable",
    "rejected",
    "protocol",
    "throttled",
    "connection_lost",
    "auth",
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of the configuration, with what it is about."""

    kind: str
    name: str
    text: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a program on the bus, or the outside, does.

    Attributes:
        at: When, in seconds.
        what: `emit`, `deliver`, `reload` or `listen`.
        name: The event's type, the subscription, the other `timeout` after a reload ("": the same), or the prefix of
            the types that a program listens to.
        content: The payload or message; the blocks that are gone after a reload; whether a program listens.
        more: Further arguments.
    """

    at: float
    what: str
    name: str
    content: Any
    more: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return it as one line for a person."""
        more = "".join(f", {name}={value!r}" for name, value in self.more.items())
        return f"at {self.at:g} s: {self.what} {self.name} {reprlib.repr(self.content)}{more}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens in one run.

    Attributes:
        seed: From which it was made.
        blocks: The configuration.
        acts: What programs and the outside do.
        faults: What goes wrong.
        trouble: By integration, how many of a hundred calls fail, until all faults are over.
        listens: Whether somebody listens to everything.
        acks: Of a hundred messages that the application is to acknowledge, how many it does, at once.
        steady: Whether the clock leaves standstills out.
        without: Blocks that the first process starts without.
        largest: Bytes that an event may have, where some are about as large as that; 0: all are small.
    """

    seed: int
    blocks: tuple[Block, ...]
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]
    trouble: dict[str, int]
    listens: bool = True
    acks: int = 100
    steady: bool = False
    without: tuple[str, ...] = ()
    largest: int = 0

    @property
    def text(self) -> str:
        """The configuration as a file has it."""
        return "\n".join(block.text for block in self.blocks)

    @property
    def healed(self) -> float:
        """When all faults are over, in seconds."""
        return max([0.0, *(one.until for one in self.faults), *(one.at for one in self.acts)]) + 1.0

    def __str__(self) -> str:
        """Return it so that a person can read it."""
        lines = [self.text, f"# seed {self.seed}, steady={self.steady}, listens={self.listens}, acks={self.acks}"]
        lines += [f"# starts without {', '.join(self.without)}"] if self.without else []
        lines += [f"# some answers are about as large as {self.largest} bytes"] if self.largest else []
        lines += [f"# {name}: {share} of 100 calls fail" for name, share in self.trouble.items() if share]
        lines += [f"# {one}" for one in sorted((*self.acts, *self.faults), key=lambda one: one.at)]
        return "\n".join(lines)


def scenario(seed: int) -> Scenario:
    """Make a scenario from a seed."""
    rng = random.Random(f"scenario {seed}")
    integrations = [_integration(rng, f"remote{number}") for number in range(rng.randint(1, 3))]
    blocks = [Block("bridge", "bridge", _bridge(rng)), *(block for block, _ in integrations)]
    routes = [_route(rng, number, integrations) for number in range(rng.randint(1, 4))]
    blocks += [block for block, _ in routes]
    subscriptions: list[Block] = []
    for number in range(rng.choice([0, 0, 1, 1, 2])):
        found = _subscription(rng, number, integrations)
        if found is not None:
            subscriptions.append(found)
    blocks += subscriptions
    acts = [*_events(rng), *_commands(rng, integrations), *_messages(rng, subscriptions), *_reloads(rng, blocks)]
    names = [block.name for block, _ in integrations]
    faults = random_faults(rng, names, until=BUSY, most=rng.choice([0, 2, 5, 10]))
    trouble = {name: rng.choice([0, 0, 5, 20, 60, 100]) for name in names}
    steady = any(one.what == "stands_still" for one in faults)
    one = Scenario(
        seed,
        tuple(blocks),
        tuple(sorted(acts, key=lambda one: one.at)),
        tuple(faults),
        trouble,
        listens=rng.random() < 0.8,
        acks=rng.choice([100, 100, 80, 0]),
        steady=steady,
    )
    return _with_more(random.Random(f"more {seed}"), one)


def _with_more(rng: random.Random, one: Scenario) -> Scenario:
    """Add what operators and other programs do, and events that are about as large as an event may be."""
    more = [*_controls(rng, one), *_letters(rng, one), *_listeners(rng, one), *_other_files(rng, one)]
    names = [block.name for block in one.blocks if block.kind in {"route", "subscription"}]
    if rng.random() < 0.1:
        one = replace(one, without=tuple(name for name in names if rng.random() < 0.5))
        more.append(Act(round(rng.uniform(0, BUSY), 3), "reload", "", []))
    if rng.random() < 0.2:
        one = _with_large(rng, one)
    return replace(one, acts=tuple(sorted((*one.acts, *more), key=lambda act: act.at)))


def _bridge(rng: random.Random) -> str:
    age = rng.choice(["60s", "10m", "24h", "24h"])
    return (
        f'bridge {{\n  heartbeat = "{rng.choice([10, 30, 60])}s"\n  drain_timeout = "{rng.choice([0, 2, 10])}s"\n'
        f'  outbox {{\n    max_age = "{age}"\n    max_bytes = "{rng.choice(["64KiB", "1MiB", "1GiB"])}"\n  }}\n}}'
    )


def _integration(rng: random.Random, name: str) -> tuple[Block, str]:
    protocol = rng.choice(list(PROTOCOLS))
    lines = [f'integration "{name}" {{', f'  type = "{protocol.removesuffix("-ws")}"']
    lines += ["  endpoint {", f'    url = "{PROTOCOLS[protocol][1]}"', "  }"]
    if protocol.startswith("json-rpc") and rng.random() < 0.5:
        lines += ["  config {", '    idempotent = ["call0", "call2"]', "  }"]
    if protocol == "mqtt":
        lines += ["  config {", f'    client_id = "{name}"', "    clean_start = false", "  }"]
    lines += ["  resilience {", f'    timeout = "{rng.choice([0.3, 1, 5])}s"']
    retry = [
        f"max_attempts = {rng.randint(1, 5)}",
        f'backoff = "{rng.choice(["constant", "linear", "exponential"])}"',
        f'initial_delay = "{rng.choice([0.01, 0.1, 1])}s"',
        f'max_delay = "{rng.choice([1, 5])}s"',
        f"jitter = {rng.choice(['true', 'false'])}",
        f"budget = {rng.choice([0, 0.2, 1])}",
    ]
    breaker = [
        f"failure_threshold = {rng.randint(1, 6)}",
        f"success_threshold = {rng.randint(1, 3)}",
        f'timeout = "{rng.choice([0.5, 3, 20])}s"',
    ]
    limit = [f"max_in_flight = {rng.choice([1, 2, 8, 64])}", f"queue = {rng.choice([0, 3, 1000])}"]
    if rng.random() < 0.2:
        limit.append(f'rate = "{rng.choice([1, 10])}/s"')
    for block, keys in (("retry", retry), ("circuit_breaker", breaker), ("limit", limit)):
        if rng.random() < 0.7:
            lines += [f"    {block} {{", *(f"      {key}" for key in keys), "    }"]
    lines += [
        "  }",
        "  health {",
        f'    interval = "{rng.choice([2, 10, 30])}s"',
        f'    timeout = "{rng.choice([0.5, 2])}s"',
    ]
    return Block("integration", name, "\n".join([*lines, "  }", "}"])), protocol


def _route(rng: random.Random, number: int, integrations: list[tuple[Block, str]]) -> tuple[Block, str]:
    block, protocol = rng.choice(integrations)
    operation = rng.choice(PROTOCOLS[protocol][0])
    on = rng.choice([f'["e.{rng.randint(0, 2)}"]', '["e.*"]', f'["done.{number - 1}"]' if number else '["e.**"]'])
    lines = [
        f'route "route{number}" {{',
        f"  on = {on}",
        f'  integration = "{block.name}"',
        f'  operation = "{operation}"',
    ]
    if operation == "request":
        method = f"POST /call{number}" if protocol == "http" else f"call{number}"
        content = "{ body = event.payload }" if protocol == "http" else "event.payload"
        lines += [f'  method = "{method}"', f"  params = {content}"]
    elif operation == "publish":
        topic = "*" if protocol == "websocket" else f"out{number}"
        lines += [f'  topic = "{topic}"', "  message = event.payload"]
    else:
        lines += [f'  queue = "out{number}"', "  message = event.payload"]
    if rng.random() < 0.2:
        lines.append("  where = event.payload.n >= 5")
    if rng.random() < 0.5:
        lines.append(f'  emit = "done.{number}"')
    if rng.random() < 0.6:
        lines.append('  delivery = "at_least_once"')
    if rng.random() < 0.6:
        lines.append("  receipts = true")
    if rng.random() < 0.5:
        lines.append("  key = event.payload.k")
    if rng.random() < 0.1 and any(line.startswith("  emit") for line in lines):
        lines.append("  last_value = true")
    return Block("route", f"route{number}", "\n".join([*lines, "}"]), block.name), operation


def _subscription(rng: random.Random, number: int, integrations: list[tuple[Block, str]]) -> Block | None:
    able = [(block, protocol) for block, protocol in integrations if protocol in {"mqtt", "nats", "redis", "websocket"}]
    if not able:
        return None
    block, protocol = rng.choice(able)
    name = f"in{number}"
    lines = [f'subscription "{name}" {{', f'  integration = "{block.name}"', f'  emit = "data.{number}"']
    is_queue = protocol == "redis" and rng.random() < 0.6
    if protocol == "websocket":
        lines.append('  topic = "*"')
    elif is_queue:
        lines.append(f'  queue = "{name}"')
    else:
        lines.append(f'  topic = "{name}"')
    if protocol == "mqtt" or is_queue:
        if rng.random() < 0.4:
            lines += ['  ack = "consumer"', '  visibility = "5s"']
            if rng.random() < 0.3:
                lines.append("  max_deliveries = 3")
        if rng.random() < 0.3:
            lines.append('  listener = "optional"')
        if rng.random() < 0.3:
            lines.append("  prefetch = 2")
    return Block("subscription", name, "\n".join([*lines, "}"]), block.name)


def _events(rng: random.Random) -> Iterator[Act]:
    burst = rng.random() < 0.3
    keyed: list[Act] = []
    for number in range(rng.randint(1, 30)):
        if keyed and rng.random() < 0.2:  # a program that had no answer says the same again, with the same key
            before = rng.choice(keyed)
            later = round(before.at + rng.choice([0.0, 0.5, 10.0, 100.0]), 3)
            yield replace(before, at=later, more={**before.more, "correlation_id": f"c{number}"})
            continue
        at = round(rng.uniform(0, BUSY), 3) if not burst else float(rng.randint(0, 3)) * 10
        more: dict[str, Any] = {}
        if rng.random() < 0.7:
            more["correlation_id"] = f"c{number}"
        headers: dict[str, str] = {}
        if rng.random() < 0.3:
            headers["idempotency_key"] = f"k{number}"
        if rng.random() < 0.15:
            headers["deadline_ms"] = str(START_MS + int(at * 1000) + rng.choice([0, 1, 400, 5_000, 60_000]))
        if headers:
            more["headers"] = headers
        act = Act(at, "emit", f"e.{rng.randint(0, 2)}", {"n": number, "k": rng.randint(0, 2)}, more)
        if "idempotency_key" in headers:
            keyed.append(act)
        yield act


def _commands(rng: random.Random, integrations: list[tuple[Block, str]]) -> Iterator[Act]:
    for number in range(rng.choice([0, 0, 3, 8])):
        block, protocol = rng.choice(integrations)
        more = {"correlation_id": f"command{number}"}
        at = round(rng.uniform(0, BUSY), 3)
        kind = rng.random()
        if kind < 0.5 and "request" in PROTOCOLS[protocol][0] and protocol != "http":
            payload: dict[str, Any] = {"method": "call0", "params": {"command": number}}
            if rng.random() < 0.5:
                payload["timeout_ms"] = rng.choice([1, 500, 20_000])
            yield Act(at, "emit", f"integration.{block.name}.request", payload, more)
        elif kind < 0.7:
            control = rng.choice([("pause", "resume"), ("drain", "resume"), ("circuit.force_open", "circuit.reset")])
            yield Act(at, "emit", f"integration.{block.name}.{control[0]}", {}, more)
            later = round(at + rng.uniform(0.01, 30), 3)
            yield Act(later, "emit", f"integration.{block.name}.{control[1]}", {}, {"correlation_id": f"again{number}"})
        elif kind < 0.9 and "enqueue" in PROTOCOLS[protocol][0]:
            queue = f"own{rng.randint(0, 1)}"
            yield Act(at, "emit", f"integration.{block.name}.enqueue", {"queue": queue, "message": number}, more)
            wanted = {"queue": queue, "wait_ms": rng.choice([0, 2000]), "visibility_ms": rng.choice([1000, 30_000])}
            later = round(at + rng.uniform(0, 10), 3)
            yield Act(later, "emit", f"integration.{block.name}.dequeue", wanted, {"correlation_id": f"taken{number}"})
        elif kind < 0.95 and protocol in {"mqtt", "nats", "redis"}:
            topic = f"more{rng.randint(0, 1)}"
            wanted = {"topic": topic, "emit": "data.more"}
            yield Act(at, "emit", f"integration.{block.name}.subscribe", wanted, more)
            later, name = round(at + rng.uniform(0, 60), 3), f"integration.{block.name}.unsubscribe"
            yield Act(later, "emit", name, {"topic": topic}, {"correlation_id": f"ended{number}"})
        else:
            name = rng.choice(["status", "dead_letters", "subscriptions", "overview", "inspect"])
            wanted = {"integration": block.name} if name == "inspect" else {}
            yield Act(at, "emit", f"bridge.{name}", wanted, more)


def _messages(rng: random.Random, subscriptions: list[Block]) -> Iterator[Act]:
    for block in subscriptions:
        for number in range(rng.randint(0, 10)):
            yield Act(round(rng.uniform(0, BUSY), 3), "deliver", block.name, f"{block.name} {number}")


def _reloads(rng: random.Random, blocks: list[Block]) -> Iterator[Act]:
    """Yield reloads: without a subscription, or with other time limits; the last one takes all that back."""
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        gone = [block.name for block in blocks if block.kind == "subscription" and rng.random() < 0.4]
        slower = rng.choice(["", "0.7s", "3s"])
        yield Act(round(rng.uniform(0, BUSY), 3), "reload", slower, gone)


def _controls(rng: random.Random, one: Scenario) -> Iterator[Act]:
    """Yield commands of an operator in no order that makes sense."""
    names = [block.name for block in one.blocks if block.kind == "integration"]
    for number in range(rng.choice([0, 0, 2, 6])):
        command = rng.choice(["pause", "resume", "drain", "resume", "circuit.force_open", "circuit.reset"])
        more = {"correlation_id": f"control{number}"}
        yield Act(round(rng.uniform(0, BUSY), 3), "emit", f"integration.{rng.choice(names)}.{command}", {}, more)


def _letters(rng: random.Random, one: Scenario) -> Iterator[Act]:
    """Yield commands that list, replay and discard dead letters."""
    names = [block.name for block in one.blocks if block.kind == "integration"]
    for number in range(rng.choice([0, 0, 1, 5])):
        command = rng.choice(["replay", "replay", "replay", "discard", "dead_letters"])
        wanted: dict[str, Any] = rng.choice(
            [
                {},
                {},
                {"limit": rng.randint(1, 3)},
                {"integration": rng.choice(names)},
                {"ids": [str(rng.randint(1, 9))]},
            ]
        )
        more = {"correlation_id": f"letters{number}"}
        yield Act(round(rng.uniform(0, BUSY), 3), "emit", f"bridge.{command}", wanted, more)


def _listeners(rng: random.Random, one: Scenario) -> Iterator[Act]:
    """Yield programs that listen to everything, or to one type, and leave again."""
    types = [f"data.{block.name.removeprefix('in')}" for block in one.blocks if block.kind == "subscription"]
    for _ in range(rng.choice([0, 0, 1, 4])):
        prefix = rng.choice(["", *types])
        at = round(rng.uniform(0, BUSY), 3)
        comes_first = prefix != "" or not one.listens
        yield Act(at, "listen", prefix, comes_first)
        yield Act(
            round(at + rng.choice([0.0, 0.1, 10, 60]) * rng.uniform(0.5, 1.5), 3), "listen", prefix, not comes_first
        )


def _other_files(rng: random.Random, one: Scenario) -> Iterator[Act]:
    """Yield reloads after which routes, or an integration with all that needs it, are gone or there again."""
    integrations = [block.name for block in one.blocks if block.kind == "integration"]
    parts = [block.name for block in one.blocks if block.kind in {"route", "subscription"}]
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        gone = {name for name in parts if rng.random() < 0.3}
        if len(integrations) > 1 and rng.random() < 0.5:
            name = rng.choice(integrations)
            gone |= {name, *(block.name for block in one.blocks if block.of == name)}
        yield Act(round(rng.uniform(0, BUSY), 3), "reload", rng.choice(["", "0.7s"]), sorted(gone))


def _with_large(rng: random.Random, one: Scenario) -> Scenario:
    """Make some events, messages and answers about as large as the bus can carry."""
    largest = rng.choice([16, 64]) << 10
    bus = Block("bus", "bus", f"bus {{\n  max_message = {largest}\n}}")
    acts = tuple(_enlarged(rng, act, largest) if rng.random() < 0.4 else act for act in one.acts)
    return replace(one, blocks=(bus, *one.blocks), acts=acts, largest=largest)


def _enlarged(rng: random.Random, act: Act, largest: int) -> Act:
    """Return an act whose event or message is larger; one that is neither stays as it is."""
    if act.what == "emit" and act.name.startswith("e."):
        return replace(act, content={**act.content, "pad": "x" * _size(rng, largest)})
    if act.what == "deliver":  # one that does not fit is reported and dropped
        return replace(act, content=act.content + "x" * (_size(rng, largest) + rng.choice([0, 700])))
    return act


def _size(rng: random.Random, largest: int) -> int:
    """Return how many bytes a part of an event has, so that the event of a program just fits on the bus."""
    return rng.choice(
        [1 << 10, largest // 2, largest - 4096 + rng.randint(-300, 100), largest - 500 - rng.randint(0, 200)]
    )


# --- running


def configuration_of(text: str, folder: Path) -> Configuration:
    """Read a scenario's configuration."""
    file = folder / "scenario.hcl"
    file.write_text(text, "utf-8")
    return load([file], adapters=_ADAPTERS, environ={})


def changed(whole: Configuration, gone: Collection[str], timeout: str = "") -> Configuration:
    """Return a configuration without some blocks, and with another `timeout` of all integrations ("": the same).

    It is not read again: that would take half of the time of all runs.
    """
    integrations = {name: one for name, one in whole.integrations.items() if name not in gone}
    if timeout:
        seconds = {"timeout": float(timeout.removesuffix("s"))}
        integrations = {
            name: msgspec.structs.replace(one, resilience=one.resilience.model_copy(update=seconds))
            for name, one in integrations.items()
        }
    return replace(
        whole,
        integrations=integrations,
        routes=tuple(one for one in whole.routes if one.name not in gone),
        subscriptions=tuple(one for one in whole.subscriptions if one.name not in gone),
    )


def run(one: Scenario, folder: Path) -> Run:
    """Run a scenario to its end.

    Raises:
        ConfigError: Its configuration is not valid.
        BaseException: A bug has ended the process.
    """
    configuration = configuration_of(one.text, folder)
    with Simulation(configuration, seed=one.seed, listens=one.listens, steady=one.steady) as world:
        if one.without:
            world.reload(changed(configuration, one.without))
        _prepare(world, one, configuration)
        world.start()
        world.run(one.healed + PATIENCE)
        return finish(world, configuration, listens=one.listens)


def _prepare(world: Simulation, one: Scenario, configuration: Configuration) -> None:
    for name, remote in world.remotes.items():
        remote.answer = partial(_answer, one, name)
    for act in one.acts:
        if act.what == "reload":
            world.at(act.at, partial(world.reload, changed(configuration, act.content, act.name)))
        elif act.what == "listen":
            world.at(act.at, partial(world.listen, act.content, act.name))
        elif act.what == "emit":
            world.at(act.at, partial(world.emit, act.name, act.content, **act.more))
        else:
            world.at(act.at, partial(world.deliver, act.name, None, act.content))
    plan(world, one.faults)
    for prefix in sorted({act.name for act in one.acts if act.what == "listen"}):
        world.at(one.healed, partial(world.listen, one.listens and not prefix, prefix))
    if one.without or any(act.what == "reload" for act in one.acts):  # the files are as at first
        world.at(one.healed, partial(world.reload, configuration))
    for name in world.remotes:  # whoever paused or opened a circuit by hand takes that back
        for number, command in enumerate(("resume", "circuit.reset")):
            world.at(one.healed + number, partial(world.emit, f"integration.{name}.{command}", {}))
    if any(act.name == "bridge.replay" for act in one.acts):
        world.at(one.healed + 2, partial(world.emit, "bridge.replay", {}, correlation_id="letters"))
    world.on_said = partial(_acknowledge, world, one)


def _acknowledge(world: Simulation, one: Scenario, said: Said) -> None:
    """Answer a message as the application does that has to acknowledge it."""
    event = said.event
    if not event.event_type.startswith("data.") or "message_id" not in event.payload:
        return
    lot = random.Random(f"{one.seed} {event.payload['message_id']} {event.payload['attempts']}").random() * 100
    if lot < one.acks or said.at_ms > one.healed * 1000:
        number = event.event_type.removeprefix("data.")
        integration = next(block.of for block in one.blocks if block.name == f"in{number}")
        world.at(0, partial(world.emit, f"integration.{integration}.ack", {"message_id": event.payload["message_id"]}))


def _answer(one: Scenario, name: str, attempt: Attempt) -> Answer:
    """Answer an attempt: the same one always in the same way, whatever else is left out of the scenario."""
    if attempt.at_ms > one.healed * 1000:
        return Answer(result=attempt.number)
    rng = random.Random(f"{one.seed} {name} {attempt.name} {attempt.content} {attempt.number}")
    after = rng.choice([0.0, 0.0, 0.01, 0.2, 2.0]) * rng.uniform(0.5, 1.5)
    if rng.random() * 100 >= one.trouble.get(name, 0):
        is_large = one.largest and rng.random() < 0.3
        result = {"n": attempt.number, "pad": "x" * _size(rng, one.largest)} if is_large else attempt.number
        return Answer(result=result, after=after)
    error = rng.choice(_ERRORS)
    executed = rng.random() < 0.5 if error in {"timeout", "connection_lost", "protocol"} else None
    return Answer(error=error, after=after, executed=executed, retry_after_ms=500 if error == "throttled" else None)  # type: ignore[arg-type]


def faults_of(one: Scenario, folder: Path) -> list[str]:
    """Run a scenario; return what was not as it must be."""
    try:
        return violations(run(one, folder))
    except Exception as bug:
        return [f"crash: {_root(bug)}"]


def _root(bug: BaseException) -> str:
    while isinstance(bug, BaseExceptionGroup):
        bug = bug.exceptions[0]
    trace = bug.__traceback__
    place = ""
    while trace is not None:
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(bug).__name__}: {bug} ({place})"


# --- shrinking


def shrink(one: Scenario, fails: Callable[[Scenario], bool], most: int = 400) -> Scenario:
    """Leave out of a failing scenario whatever it fails without; try at most so many."""
    tries = 0

    def still(smaller: Scenario) -> bool:
        nonlocal tries
        tries += 1
        return tries <= most and fails(smaller)

    changed = True
    while changed and tries <= most:
        changed = False
        for smaller in _smaller(one):
            if still(smaller):
                one, changed = smaller, True
                break
    return one


def _smaller(one: Scenario) -> Iterator[Scenario]:
    """Yield scenarios with less in them, those with the least first."""
    for name in ("faults", "acts", "blocks"):
        parts: tuple[Any, ...] = getattr(one, name)
        size = len(parts)
        while size >= 1:
            for start in range(0, len(parts), size):
                left = (*parts[:start], *parts[start + size :])
                if name != "blocks":
                    yield replace(one, **{name: left})
                elif _fit(one, left):
                    gone = {block.name for block in parts} - {block.name for block in left}
                    acts = tuple(act for act in one.acts if act.name not in gone)
                    names = [act for act in acts if not any(f".{name}." in act.name for name in gone)]
                    faults = tuple(fault for fault in one.faults if fault.remote not in gone)
                    yield replace(one, blocks=left, acts=tuple(names), faults=faults)
            size //= 2
    for name, share in one.trouble.items():
        if share:
            yield replace(one, trouble={**one.trouble, name: 0})
    if one.without:
        yield replace(one, without=())
    if one.largest:
        yield replace(one, largest=0)
    if not one.listens:
        yield replace(one, listens=True)
    if one.acks != 100:
        yield replace(one, acks=100)
    if one.steady and not any(fault.what == "stands_still" for fault in one.faults):
        yield replace(one, steady=False)


def _fit(one: Scenario, left: tuple[Block, ...]) -> bool:
    names = {block.name for block in left}
    return bool(left) and all(not block.of or block.of in names for block in left)
