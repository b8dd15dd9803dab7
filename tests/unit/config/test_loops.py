"""Routes that set themselves off are refused where that is certain, and warned of where it is possible."""

import itertools
import random
from typing import Any

import pytest

from bridge.config import Literal, Route
from bridge.config.diagnostics import Diagnostics
from bridge.config.loops import _Listeners, _Work, check_loops
from bridge.core.filters import Trigger, overlap
from bridge.registry import AdapterRegistry

_REMOTES = """
integration "mqtt" {
  type = "mqtt"
  endpoint {
    url = "mqtt://127.0.0.1"
  }
}
integration "also_mqtt" {
  type = "mqtt"
  endpoint {
    url = "mqtt://127.0.0.1"
  }
}
integration "other_mqtt" {
  type = "mqtt"
  endpoint {
    url = "mqtt://127.0.0.2"
  }
}
integration "nats" {
  type = "nats"
  endpoint {
    url = "nats://127.0.0.1"
  }
}
integration "redis" {
  type = "redis"
  endpoint {
    url = "redis://127.0.0.1"
  }
}
integration "files" {
  type = "file"
  config {
    root = "."
  }
}
integration "rpc" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:1"
  }
}
"""


def _subscription(name: str, integration: str, where: str, emit: str | None = None, more: str = "") -> str:
    said = "" if emit is None else f"emit = {emit}"
    return f"""
subscription "{name}" {{
  integration = "{integration}"
  {where}
  {said}
  {more}
}}
"""


def _route(name: str, on: str, integration: str, what: str, more: str = "") -> str:
    return f"""
route "{name}" {{
  on          = "{on}"
  integration = "{integration}"
  {what}
  {more}
}}
"""


def _publish(topic: str) -> str:
    return f'operation = "publish"\n  topic = {topic}\n  message = 1'


_REQUEST = 'operation = "request"\n  method = "m"'
_IN = _subscription("in", "mqtt", 'topic = "data/#"', '"data.in"')

_CERTAIN = {
    "the topic that it publishes to": _IN + _route("r", "data.*", "mqtt", _publish('"data/x"')),
    "the default event of a subscription": (
        _subscription("in", "mqtt", 'topic = "data/+"') + _route("r", "message.mqtt", "mqtt", _publish('"data/x"'))
    ),
    "through another route": (
        _IN
        + _route("r", "data.in", "rpc", _REQUEST, 'emit = "data.out"')
        + _route("s", "data.out", "mqtt", _publish('"data/x"'))
    ),
    "its own emit": _route("r", "a.*", "rpc", _REQUEST, 'emit = "a.b"'),
    "two emits": (_route("r", "a", "rpc", _REQUEST, 'emit = "b"') + _route("s", "b", "rpc", _REQUEST, 'emit = "a"')),
    "two integrations with one remote": (
        _subscription("in", "also_mqtt", 'topic = "data/#"', '"data.in"')
        + _route("r", "data.*", "mqtt", _publish('"data/x"'))
    ),
    "a NATS subject": (
        _subscription("in", "nats", 'topic = "data.>"', '"data.in"')
        + _route("r", "data.*", "nats", _publish('"data.x"'))
    ),
    "a NATS request": (
        _subscription("in", "nats", 'topic = "m"', '"data.in"') + _route("r", "data.*", "nats", _REQUEST)
    ),
    "a Redis channel": (
        _subscription("in", "redis", 'topic = "data:[a-x]*"', '"data.in"')
        + _route("r", "data.*", "redis", _publish('"data:x"'))
    ),
    "a Redis stream": (
        _subscription("in", "redis", 'queue = "jobs"', '"data.in"')
        + _route("r", "data.*", "redis", 'operation = "enqueue"\n  queue = "jobs"\n  message = 1')
    ),
    "a file": (
        _subscription("in", "files", 'topic = "**/*.txt"', '"data.in"')
        + _route("r", "data.*", "files", _publish('"out/x.txt"'))
    ),
    "lines of a file": (
        _subscription("in", "files", 'topic = "tail:*.log"', '"data.in"')
        + _route("r", "data.*", "files", _publish('"x.log"'))
    ),
}
_POSSIBLE = {
    "a topic that each event has": _IN + _route("r", "data.*", "mqtt", _publish('"data/${event.payload.x}"')),
    "a topic that an expression may give": (
        _subscription("in", "mqtt", 'topic = "data/a/+"', '"data.in"')
        + _route("r", "data.*", "mqtt", _publish('"data/${event.payload.x}"'))
    ),
    "a condition": _IN + _route("r", "data.*", "mqtt", _publish('"data/x"'), "where = event.payload.x > 1"),
    "an emit that each message has": (
        _subscription("in", "mqtt", 'topic = "data/#"', '"data.${message.topic}"')
        + _route("r", "data.*.y", "mqtt", _publish('"data/x"'))
    ),
    "an emit of a route that each event has": _route("r", "a.**", "rpc", _REQUEST, 'emit = "a.${event.payload.x}"'),
    "a shared subscription": (
        _subscription("in", "mqtt", 'topic = "data/#"', '"data.in"', 'group = "g"')
        + _route("r", "data.*", "mqtt", _publish('"data/x"'))
    ),
}
_NEITHER = {
    "another topic": _IN + _route("r", "data.*", "mqtt", _publish('"out/x"')),
    "another event": _IN + _route("r", "order.*", "mqtt", _publish('"data/x"')),
    "another remote": _IN + _route("r", "data.*", "other_mqtt", _publish('"data/x"')),
    "another emit": _route("r", "a.*", "rpc", _REQUEST, 'emit = "b.${event.payload.x}"'),
    "a topic that no expression gives": _IN + _route("r", "data.*", "mqtt", _publish('"out/${event.payload.x}"')),
    "what the bridge reports": _route("r", "**.failed", "rpc", _REQUEST),
}


@pytest.fixture
def adapters() -> Any:
    """The adapters that are installed."""
    return AdapterRegistry()


@pytest.mark.parametrize("text", _CERTAIN.values(), ids=_CERTAIN)
def test_a_certain_circle_is_refused(diagnostics: Any, text: str) -> None:
    """The diagnostic names the first route of the circle, and each step of the way."""
    (found,) = diagnostics(_REMOTES + text)
    assert 'route "r": sets itself off without end: it ' in str(found)
    assert found.endswith('sets off route "r"')


@pytest.mark.parametrize("text", _POSSIBLE.values(), ids=_POSSIBLE)
def test_a_possible_circle_is_a_warning(load_text: Any, text: str) -> None:
    """Where an expression decides, the configuration is loaded with one warning."""
    (found,) = load_text(_REMOTES + text).warnings
    assert 'route "r": may set itself off: it ' in str(found)


@pytest.mark.parametrize("text", _NEITHER.values(), ids=_NEITHER)
def test_what_is_no_circle(load_text: Any, text: str) -> None:
    """A route that cannot set itself off gives no warning."""
    assert load_text(_REMOTES + text).warnings == ()


def test_the_way_is_told(diagnostics: Any) -> None:
    """Each step says how one route sets off the next, in the file's own words."""
    (found,) = diagnostics(_REMOTES + _CERTAIN["through another route"])
    assert 'it emits "data.out", which sets off route "s"; ' in found
    assert 'it sends to "data/x", which subscription "in" receives, which sets off route "r"' in found


def test_the_key_own_is_gone(diagnostics: Any) -> None:
    """The complaint about `own` says what holds now."""
    (found,) = diagnostics(_REMOTES + _route("r", "a", "rpc", _REQUEST, "own = true"))
    assert "> own: there is no such key any more; leave it out: a route is set off by every event" in found


def _stream(parts: str, stream: str) -> str:
    sent = f'operation = "enqueue"\n  queue = "{parts}"\n  message = 1'
    return _REMOTES + _subscription("in", "redis", f'queue = "{stream}"', '"in"') + _route("r", "in", "redis", sent)


@pytest.mark.parametrize(
    ("parts", "stream", "possible"),
    [
        ("${event.payload.x}", "a", True),
        ("a${event.payload.x}b", "ab", True),
        ("ab${event.payload.x}bc", "abc", False),
        ("a${event.payload.x}", "ba", False),
        ("${event.payload.x}ab${event.payload.y}b", "abab", True),
        ("${event.payload.x}b${event.payload.y}b", "ab", False),
        ("${event.payload.x}a" * 20, "a" * 60 + "b", False),  # for a regular expression that is endless work
        ("${event.payload.x}a" * 20, "a" * 60, True),
    ],
)
def test_what_a_template_may_give(load_text: Any, parts: str, stream: str, possible: bool) -> None:
    """A destination with expressions may be any text with its constant parts in their order, found in little time."""
    found = load_text(_stream(parts, stream)).warnings
    assert any("may set itself off" in str(warning) for warning in found) == possible


def test_very_many_ways_are_not_all_looked_at(load_text: Any) -> None:
    """Where routes may set each other off in more ways than can be looked at in seconds, a warning says so."""
    routes = "".join(_route(f"r{n}", "a.*", "rpc", _REQUEST, 'emit = "a.${event.id}"') for n in range(600))
    (found,) = (one for one in load_text(_REMOTES + routes).warnings if one.block == "routes")
    assert str(found).endswith("they may set each other off in too many ways; not all circles among them are noticed")


def _listener(name: str, *on: str, emit: str | None = None) -> Route:
    return Route(
        name=name,
        on=on,
        integration="api",
        operation="request",
        method=Literal('"m"', "m"),
        emit=None if emit is None else Literal(f'"{emit}"', emit),
    )


def test_all_listeners_are_found() -> None:
    """As if each pattern were compared with each type."""
    rng = random.Random(1)
    segments = ("a", "b", "*", "**")
    globs = [".".join(one) for length in (1, 2, 3) for one in itertools.product(segments, repeat=length)]
    routes = [_listener(f"r{number}", *rng.sample(globs, 2)) for number in range(60)]
    listeners = _Listeners(routes, _Work())
    for types in globs:
        found = [one.name for one in listeners.perhaps_hearing(tuple(types.split(".")))]
        assert found == [
            one.name for one in routes if any(overlap(tuple(types.split(".")), tuple(on.split("."))) for on in one.on)
        ]
        if "*" not in types:
            found = [one.name for one in listeners.hearing(types)]
            assert found == [one.name for one in routes if any(Trigger(on).matches(types) for on in one.on)]


def test_many_routes_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work rises with the number of routes, not with its square."""
    compared = 0
    matches = Trigger.matches

    def count(trigger: Trigger, event_type: str, source: str | None = None) -> bool:
        nonlocal compared
        compared += 1
        return matches(trigger, event_type, source)

    monkeypatch.setattr(Trigger, "matches", count)
    routes = [_listener(f"r{number}", f"a{number}.*", "x.**.y", emit=f"a{number + 1}.x") for number in range(200)]
    diagnostics = Diagnostics()
    check_loops(routes, [], {"api": None}, diagnostics)
    assert not diagnostics.all()
    assert compared < 400
