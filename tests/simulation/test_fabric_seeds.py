"""Random faults in a fabric of three bridges: what must hold whatever happens, for each of many seeds."""

import random
from collections import Counter, defaultdict
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.simulation.record import Stored
from tests.support.simulation.fleet import Fleet, fleet

NODES = ("a", "b", "c")
#: Seconds in which faults begin, and at which the run ends.
TROUBLE = (20.0, 140.0)
END = 240.0
#: Seconds from the end of the last fault after which everything works again, and a lease may be without a holder.
RECOVERED = 180.0
LONGEST_GAP_MS = 15_000
SEEDS = range(25)


def _text(node: str) -> str:
    return f"""
bridge {{
  drain_timeout = "2s"
}}
fabric "plant" {{
  integration = "cluster"
  node        = "{node}"
  export      = ["order.**"]
  import      = ["order.**"]
  delivery    = "at_least_once"
  replicas    = 3
}}
integration "clock" {{
  type = "timer"
  config {{
    every = "1s"
  }}
}}
subscription "job" {{
  integration = "clock"
  topic       = "default"
  emit        = "job.due"
  singleton   = "plant"
}}
"""


def _plan(world: Fleet, rng: random.Random) -> None:
    """Plan faults one after the other, with some overlap: of bridges, of their links, and of the broker."""
    now = TROUBLE[0]
    while now < TROUBLE[1]:
        node, lasts = rng.choice(NODES), rng.uniform(0.5, 25.0)
        fault = rng.choice(("kill", "restart", "silence", "mute", "deafen", "lose", "broker", "no_leader"))
        until = min(now + lasts, TROUBLE[1])
        if fault == "kill":
            world.at(now, world[node].kill)
            world.at(until, world[node].start_soon)
        elif fault == "restart":
            world.at(now, world[node].restart)
        elif fault in {"silence", "mute", "deafen"}:
            direction = {"silence": "both", "mute": "to", "deafen": "from"}[fault]
            world.at(now, partial(world.broker.silence, node, direction=direction))  # type: ignore[arg-type]
            world.at(until, world.broker.heal)
        elif fault == "lose":
            world.at(now, partial(world[node].remotes["cluster"].end_sessions, "cut by the test"))
        elif fault == "broker":
            world.at(now, world.broker.stop)
            world.at(min(now + lasts / 3, TROUBLE[1]), world.broker.start)
        else:
            world.at(now, partial(setattr, world.broker, "jetstream", rng.choice(("silent", "off"))))
            world.at(min(now + lasts / 3, TROUBLE[1]), partial(setattr, world.broker, "jetstream", "up"))
        now += rng.uniform(2.0, 20.0)
    for node in NODES:
        world.at(TROUBLE[1] + 0.1, world[node].start_soon)
    world.at(TROUBLE[1] + 0.1, world.broker.heal)


def _emit(world: Fleet, rng: random.Random) -> None:
    """Let programs emit events in no regular rhythm, beside the faults and before and after them."""
    for number in range(150):
        node = rng.choice(NODES)
        world.at(rng.uniform(10.0, TROUBLE[1] + 20.0), partial(world[node].emit, "order.created", {"n": number}))


def _accepted(world: Fleet, node: str) -> set[int]:
    """Return the numbers of the events that a node's outbox has taken."""
    stored = {one.cause for one in world[node].record if isinstance(one, Stored) and one.route == "fabric.plant"}
    return {
        said.payload["n"]
        for said in world.events(node, "order.created")
        if (said.source, said.id, said.event_type) in stored
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens(tmp_path: Path, seed: int) -> None:
    """What an outbox has taken is on each other bus; a repetition has the same key; no tick is said twice."""
    rng = random.Random(seed)
    with fleet(tmp_path, {node: _text(node) for node in NODES}, seed=seed, steady=True) as world:
        _plan(world, rng)
        _emit(world, rng)
        world.broker.latency = rng.choice((0.0, 0.001, 0.05))
        world.start()
        world.run(END)
        for node in NODES:
            keys: dict[int, set[str | None]] = defaultdict(set)
            for event in world.events(node, "order.created"):
                if event.header("origin") is not None:
                    keys[event.payload["n"]].add(event.header("idempotency_key"))
            for other in NODES:
                if other != node:
                    missing = _accepted(world, other) - keys.keys()
                    assert not missing, f"{node} never had {sorted(missing)} of {other}"
            assert all(len(one) == 1 for one in keys.values()), "a repetition has another key"
            assert world.events(node, "health.fabric.plant")[-1].payload["status"] == "connected"
        ticks = [event.payload["message"]["scheduled_at"] for node in NODES for event in world.events(node, "job.due")]
        twice = [tick for tick, times in Counter(ticks).items() if times > 1]
        assert not twice, f"said twice: {twice}"
        late = [tick for tick in sorted(ticks) if tick >= min(ticks) + (RECOVERED - 10) * 1000]
        assert late
        assert max(after - before for before, after in pairwise(late)) <= LONGEST_GAP_MS
