"""Time has one owner: nothing in the package reads it but by the clock that is passed in."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[3] / "bridge"

#: Attributes that read or wait for time, whatever they belong to, unless that is a clock.
_METHODS: Final = frozenset({"call_at", "call_later", "time", "today", "utcnow"})
#: The same, but of these modules or classes only.
_OF: Final = {
    "asyncio": {"sleep", "timeout", "timeout_at", "wait_for"},
    "datetime": {"now"},
    "date": {"today"},
}
#: Calls that wait at most so long, with the keyword that says so.
_TIMEOUTS: Final = frozenset({"timeout"})

#: What a file, or a folder's files, may use in another way, and why.
ALLOWED: Final = {
    "core/clock.py": ({"import time", "loop.call_later", "_loop.call_later", "asyncio.timeout"}, "it is the clock"),
    "core/timer.py": ({"_clock.call_later"}, "the one place that asks the clock to call back"),
    "core/wakeups.py": ({"import time", "_loop.call_later"}, "saves wake-ups of the loop; nobody is promised a time"),
    "bus/receiver.py": (
        {"import time"},
        "measures how long this turn of the loop has lasted, to give others theirs; the clock may stand still in it",
    ),
    "outbox/commit_queue.py": ({"import time", "get(timeout=)"}, "the thread that writes to disk has no loop"),
    "simulation/loop.py": ({"loop.time", "self.call_at", ".call_later"}, "it makes the time of simulations"),
    "simulation/simulation.py": ({"_loop.time", "_loop.call_at"}, "steps at a time of its own, virtual loop"),
    "observe/observer.py": ({"import time", "asyncio.sleep"}, "looks for standstills, which the clock leaves out"),
    "observe/systemd.py": ({"import time"}, "the service manager asks for the system's clock"),
    "cli/": (None, "programs of their own, for a person who looks at the time on the wall"),
}


def _is_clock(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.strip("_").lower().endswith("clock")


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_yield(call: ast.Call) -> bool:
    """Whether it is `asyncio.sleep(0)`, which waits for no time."""
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def readings(source: str) -> Iterator[tuple[int, str]]:
    """Return each place that reads or waits for time by another way than a clock: its line, and what it uses."""
    tree = ast.parse(source)
    yields = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_yield(node)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(alias.name == "time" for alias in names):
                yield node.lineno, "import time"
            case ast.ImportFrom(module="time"):
                yield node.lineno, "from time"
            case ast.ImportFrom(module="asyncio", names=names):
                yield from ((node.lineno, alias.name) for alias in names if alias.name in _OF["asyncio"])
            case ast.Attribute(value=owner, attr=name) if not _is_clock(owner) and id(node) not in yields:
                if name in _METHODS or name in _OF.get(_name(owner), ()):
                    yield node.lineno, f"{_name(owner)}.{name}"
            case ast.Attribute(value=owner, attr="call_later"):
                yield node.lineno, f"{_name(owner)}.call_later"
            case ast.Call(keywords=keywords) if _name(node.func) in {"wait", "get", "join", "acquire", "select"}:
                yield from ((node.lineno, f"{_name(node.func)}(timeout=)") for one in keywords if one.arg in _TIMEOUTS)
            case ast.Call(func=ast.Attribute(attr="poll"), args=[ast.Constant(value=int(most))]) if most > 0:
                yield node.lineno, "poll"


def test_nothing_reads_time_but_the_clock() -> None:
    """Not the system's clock, not the event loop's, and no library's time limit; each exception has its reason.

    Who needs to wait, to measure or to be called back gets a `Clock`, and has `core.timer.Timer` for the last. A limit
    that only bounds how politely a connection is closed is no exception: it is set by the clock, too.
    """
    unfit, used = [], set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        place = next((one for one in ALLOWED if name.startswith(one)), "")
        allowed = ALLOWED[place][0] if place else set()
        for line, way in readings(path.read_text("utf-8")):
            used.add((place, None if allowed is None else way))
            if allowed is not None and way not in allowed:
                unfit.append(f"{name}:{line}: {way}")
    assert not unfit
    needed = {(place, way) for place, (ways, _) in ALLOWED.items() for way in (ways or {None})}
    assert not needed - used


def test_every_way_is_found() -> None:
    """Each way to read time is seen; what waits for no time, or asks a clock, is not."""
    ways = """
import time
from time import monotonic
from asyncio import sleep
asyncio.get_running_loop().time()
self._loop.call_later(1, f)
loop.call_at(1, f)
asyncio.sleep(1)
asyncio.timeout(1)
asyncio.wait_for(f, 1)
asyncio.wait(f, timeout=1)
datetime.now(UTC)
self._queue.get(timeout=1)
poller.poll(100)
clock.call_later(1, f)
"""
    good = """
asyncio.sleep(0)
asyncio.wait(f)
self._clock.sleep(1)
clock.timeout(1)
self._bus.clock.monotonic()
poller.poll(0)
poller.poll()
headers.get("timeout")
"""
    assert {line for line, _ in readings(ways)} == set(range(2, 2 + len(ways.strip().splitlines())))
    assert list(readings(good)) == []
