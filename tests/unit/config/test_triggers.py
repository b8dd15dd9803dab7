"""Show what of a route's `on` and `where` is known to be wrong before any event comes."""

import pytest

from bridge.config.triggers import OF_FABRICS, OF_THE_BRIDGE, REPORTS
from bridge.contract.catalogue import MESSAGE_TYPES
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
        (
            "health.rcp",
            "there is no integration `rcp`, so this bridge emits nothing that matches `health.rcp` (did you mean",
        ),
        ("resilience.other.failed", "there is no integration `other`, so this bridge emits nothing that matches"),
        ("receipt.rcp.**", "there is no integration `rcp`, so this bridge"),
        ("message.rcp", "there is no integration `rcp`, so this bridge"),
        (
            "receipt.rpc.deliverd",
            "the bridge emits nothing that matches `receipt.rpc.deliverd` (did you mean `delivered`?)",
        ),
        (
            "receipt.rpc",
            "the bridge emits nothing that matches `receipt.rpc`; there are `dead_lettered`, `delivered`, `ex",
        ),
        ("receipt.*", "the bridge emits nothing that matches `receipt.*`; there are `dead_lettered`, `delivered`, `ex"),
        ("resilience.rpc.circuit.open", "the bridge emits nothing that matches `resilience.rpc.circuit.open` (did you"),
        (
            "resilience.bus.retry",
            "the bridge emits nothing that matches `resilience.bus.retry`; there are `gap`, `rejec",
        ),
        ("health.rpc.status", "the bridge emits nothing that matches `health.rpc.status`; write `health.rpc`"),
        ("message.rpc.x", "the bridge emits nothing that matches `message.rpc.x`; write `message.rpc`"),
        (
            "response.integration.rpc.reqest",
            "the bridge emits nothing that matches `response.integration.rpc.reqest` (d",
        ),
        ("order/created", "event types have dots, not slashes; write `order.created`"),
        ("response.integration.rcp.*", "there is no integration `rcp`, so this bridge"),
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
        "resilience.**",
        "resilience.*.failed",
        "resilience.rpc.circuit.*",
        "resilience.bridge.outbox_loss",
        "receipt.**",
        "receipt.*.*",
        "health.**",
        "message.*",
        "response.integration.**",
        "response.integration.*.*",
        "response.bridge.status",
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
    assert found.startswith(f'bridge.hcl:{LINE + 1}: route "r" > where: must be true or false, not a')


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        (
            "event.payload.total + 1",
            "must be true or false, not a number; compare it, as in `event.payload.total + 1 > 0`",
        ),
        ("5", "must be true or false, not a number; compare it, as in `5 > 0`"),
        ("event.type", 'must be true or false, not a string; compare it, as in `event.type == "…"`'),
        ("event.source", 'must be true or false, not a string or null; compare it, as in `event.source == "…"`'),
        ('"event.payload.total > 5"', "must be true or false, not a string; write the expression without quotes"),
        ('"True"', "must be true or false, not a string; write `true`, without quotes"),
        ('"x"', "must be true or false, not a string; write a condition, as in `event.payload.total > 100`"),
        ("[true]", "must be true or false, not a list; write a condition, as in `event.payload.total > 100`"),
        ("event.headers", "must be true or false, not a map; write a condition, as in `event.payload.total > 100`"),
        ("null", "must be true or false, not null; leave it out where every event counts"),
        ("env.FLAG", 'must be true or false, not a string; compare it, as in `env.FLAG == "…"`'),
    ],
)
def test_what_a_condition_could_be(diagnostics, where, fault):
    """The diagnostic tells what the value is, and what would make a condition of it."""
    assert diagnostics(GROUND + route(where=where), {"FLAG": "hidden"}) == [
        f'bridge.hcl:{LINE + 1}: route "r" > where: {fault}'
    ]


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


@pytest.mark.parametrize(
    ("on", "fault"),
    [
        ("order/#", "`order/#` is no pattern of event types; write `order.**`"),
        ("order/+/paid", "`order/+/paid` is no pattern of event types; write `order.*.paid`"),
        ("order.>", "`order.>` is no pattern of event types; write `order.**`"),
        ("order.+", "`order.+` is no pattern of event types; write `order.*`"),
        ("#", "`#` is no pattern of event types; write `**`"),
        ("order.", "pattern 'order.': 'order.' has an empty segment; write `order.**`"),
        (
            "order*",
            (
                "'order*': `*` and `**` stand for whole segments, not for a part as in 'order*'"
                "; write `order.*` for one more segment, or `order.**` for any number of them"
            ),
        ),
    ],
)
def test_a_pattern_of_another_language(diagnostics, on, fault):
    """What would match in MQTT or NATS matches nothing here; the diagnostic says what was meant."""
    assert diagnostics(GROUND + route(on=on)) == [f'bridge.hcl:{LINE}: route "r" > on: {fault}']


def test_the_place_of_a_pattern(load_text):
    """A diagnostic about one pattern of a list points to it."""
    text = GROUND + route().replace('"a"', '["a", "health.no"]')
    (warning,) = load_text(text).warnings
    line = text.splitlines()[warning.location.line - 1]
    assert line[warning.location.column - 1 : warning.location.end_column - 1] == '"health.no"'


def test_messages_that_a_subscription_emits(load_text):
    """What is emitted below `message.` may set off a route, whatever the labels are."""
    clock = 'integration "clock" {\n  type = "timer"\n  config {\n    every = "1s"\n  }\n}\n'
    tick = 'subscription "ticks" {\n  integration = "clock"\n  topic = "*"\n  emit = "%s"\n}\n'
    for emit, warnings in (
        ("message.tick", 0),
        ("message/tick", 0),
        ("message.${message.topic}", 0),
        ("mess${message.topic}", 0),
        ("${message.topic}", 0),
        ("data.${message.topic}", 1),
        ("message.other", 1),
        ("tick", 1),
    ):
        found = load_text(GROUND + clock + tick % emit + route(on="message.tick")).warnings
        assert len([one for one in found if one.block.endswith(" > on")]) == warnings, emit


def test_reports_of_the_bus_contract():
    """The event types that `on` may name are those of the contract."""
    wanted = {
        "health": {("", "{integration}"), ("", "bridge")},
        "message": {("", "{integration}")},
    }
    fabrics: set[tuple[str, str, str]] = set()
    for one in MESSAGE_TYPES:
        head, _, rest = one.topic.partition(".")
        label, _, end = rest.partition(".")
        if label in {"fabric", "node"}:
            fabrics.add((head, label, end.partition(".")[2]))
        elif head in {"resilience", "receipt"}:
            wanted.setdefault(head, set()).add((end, label))
    found = {head: {(end, "{integration}") for end in ends} for head, ends in REPORTS.items()}
    for (head, label), ends in OF_THE_BRIDGE.items():
        found[head] |= {(end, label) for end in ends}
    assert found == wanted
    assert fabrics == {(head, label, end) for (head, label), ends in OF_FABRICS.items() for end in ends}


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
