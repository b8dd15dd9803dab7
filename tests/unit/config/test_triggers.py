"""Show what of a route's `on` and `where` is known to be wrong before any event comes."""

import pytest

from bridge.core.errors import InvalidError
from bridge.core.event_type import MOST_ANSWERABLE, to_emitted_type

GROUND = """
integration "rpc" {
  type = "json-rpc"
  endpoint {
    url = "https://h/rpc"
  }
}
"""
LINE = GROUND.count("\n") + 2


def route(on: str = "a", where: str = "true", emit: str = "b") -> str:
    """Write a route; `on` is its second line."""
    return f"""route "r" {{
  on          = "{on}"
  where       = {where}
  integration = "rpc"
  operation   = "request"
  method      = "m"
  emit        = "{emit}"
}}
"""


@pytest.mark.parametrize(
    ("on", "why"),
    [
        ("integration.rpc.request", "what begins with `integration.` is a command, and sets off no route"),
        ("integration.**", "what begins with `integration.` is a command, and sets off no route"),
        ("bridge.*", "what begins with `bridge.` is a command, and sets off no route"),
        ("system.shutdown", "this event stops the bridge, and sets off no route"),
        ("health.rcp", "there is no integration `rcp` (did you mean `rpc`?), so this bridge emits nothing that"),
        ("resilience.other.failed", "there is no integration `other`, so this bridge emits nothing that matches"),
        ("receipt.rcp.**", "there is no integration `rcp` (did you mean `rpc`?), so this bridge"),
        ("message.rcp", "there is no integration `rcp` (did you mean `rpc`?), so this bridge"),
        ("response.integration.rcp.*", "there is no integration `rcp` (did you mean `rpc`?), so this bridge"),
    ],
)
def test_a_pattern_that_nothing_sets_off(load_text, on, why):
    """It is a warning with file, line and key: another bridge on the same bus may emit such events."""
    (warning,) = load_text(GROUND + route(on)).warnings
    assert f'bridge.hcl:{LINE}: route "r" > on: {why}' in str(warning)


@pytest.mark.parametrize(
    "on",
    [
        "**",
        "*.failed",
        "order.*",
        "health.*",
        "health.bridge",
        "health.rpc",
        "resilience.bus.*",
        "resilience.rpc.**",
        "receipt.*.delivered",
        "message.rpc",
        "response.order.created",
        "response.integration.rpc.request",
        "response.**",
        "health",
        "integration",
        "system.*",
    ],
)
def test_a_pattern_that_may_be_set_off(load_text, on):
    """There is no warning where the application, or the bridge, may emit something that matches."""
    assert not any(warning.block.endswith(" > on") for warning in load_text(GROUND + route(on)).warnings)


def test_the_event_that_stops_the_bridge(load_text):
    """It is the configured one, if there is any."""
    (warning,) = load_text(GROUND + 'bridge {\n  stop_with = "app.end"\n}\n' + route("app.end")).warnings
    assert "this event stops the bridge" in str(warning)
    assert load_text(GROUND + "bridge {\n  stop_with = null\n}\n" + route("system.shutdown")).warnings == ()


def test_a_secret_pattern_is_not_shown(load_text):
    """A pattern from the environment is not shown by the warning about it."""
    (warning,) = load_text(GROUND + route("${env.ON}"), {"ON": "health.hidden"}).warnings
    assert str(warning).endswith('route "r" > on: one of them sets off nothing')


@pytest.mark.parametrize(
    "where",
    [
        "event.payload.a + 1",
        "-event.payload.a",
        '"${event.payload.a}-x"',
        "[event.payload.a]",
        "{ a = event.payload.a }",
        "size(event.payload.a)",
        "lower(event.payload.a)",
        "event.type",
        "event.headers.x",
        "event.timestamp",
        "event.payload.a ? event.id : 2 * event.id",
    ],
)
def test_a_condition_that_is_never_true_or_false(diagnostics, where):
    """It is a diagnostic, since no event could ever pass."""
    (found,) = diagnostics(GROUND + route(where=where))
    assert found.startswith(f'bridge.hcl:{LINE + 1}: route "r" > where: must be an expression that is true or false')


@pytest.mark.parametrize(
    "where",
    [
        "event.payload.a",
        "event.payload.a > 1",
        "has(event.payload.a)",
        "event.payload.a && event.payload.b",
        "!event.payload.a",
        'contains(event.type, "a")',
        "event.payload.a ? event.payload.b : event.id",
    ],
)
def test_a_condition_that_may_be_true(load_text, where):
    """What may be true or false for some event is accepted."""
    assert load_text(GROUND + route(where=where)).warnings == ()


def test_types_that_leave_no_room_for_a_response(load_text, diagnostics):
    """A type of `on` or `emit` with which `response.` has more than 255 bytes is refused, and the limit is said."""
    fits, too_long = "é" * (MOST_ANSWERABLE // 2), "é" * (MOST_ANSWERABLE // 2) + "x"
    assert load_text(GROUND + route(on=fits, emit=fits[1:])).warnings == ()
    (on,) = diagnostics(GROUND + route(on=too_long))
    assert f'route "r" > on: it has 247 bytes; with more than {MOST_ANSWERABLE} there is no room for `response.`' in on
    (emit,) = diagnostics(GROUND + route(emit=too_long))
    assert 'route "r" > emit: not an event type to emit: it has 247 bytes; with more than 246' in emit
    with pytest.raises(InvalidError, match="247 bytes"):
        to_emitted_type(too_long)
    assert load_text(GROUND + route(on=f"{too_long}.*")).warnings == ()


def test_labels_of_integrations_are_short_enough(load_text, diagnostics):
    """A label leaves room for all event types of its integration."""
    assert load_text(GROUND.replace('"rpc"', f'"{"a" * 200}"')).integrations
    (found,) = diagnostics(GROUND.replace('"rpc"', f'"{"a" * 201}"'))
    assert "a label has 200 characters at most, so that the types of its events fit into 255 bytes" in found
