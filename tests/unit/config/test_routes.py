"""Show how `route` and `subscription` blocks are read and checked."""

import msgspec
import pytest

GROUND = """
integration "rpc" {
  type = "json-rpc"
  endpoint {
    url = "https://h/rpc"
  }
}
integration "mqtt" {
  type = "mqtt"
  endpoint {
    address = "h"
  }
}
integration "queue" {
  type = "stream"
  endpoint {
    address = "h"
  }
}
"""
LINES = GROUND.count("\n")


def _event(**payload):
    return {"event": {"type": "order.new", "payload": payload, "id": 1, "headers": None}}


def test_a_request(load_text):
    """A route for a request has patterns, condition, method, parameters, `emit` and key."""
    (route,) = load_text(
        GROUND
        + """
route "orders" {
  on          = ["order.*", "cart.checked_out", "a.**.b"]
  where       = event.payload.total > 100
  integration = "rpc"
  operation   = "request"
  method      = "orders.create"
  params      = { id = event.payload.id, total = event.payload.total * 100, list = [1, "x-${event.type}"] }
  emit        = "order.created"
  key         = event.payload.id
}
"""
    ).routes
    scope = _event(id=7, total=150.5)
    assert (route.name, route.integration, route.operation) == ("orders", "rpc", "request")
    assert route.on == ("order.*", "cart.checked_out", "a.**.b")
    assert route.where.evaluate(scope) is True
    assert route.method.evaluate({}) == "orders.create"
    assert route.params.evaluate(scope) == {"id": 7, "total": 15050.0, "list": [1, "x-order.new"]}
    assert (route.emit.evaluate(scope), route.key.evaluate(scope)) == ("order.created", 7)
    assert (route.topic, route.message, route.queue) == (None, None, None)
    assert route.location.line == LINES + 2


def test_publish_and_enqueue(load_text):
    """Routes for the other operations have keys of their own; their values may depend on the event."""
    publish, enqueue = load_text(
        GROUND
        + """
route "p" {
  on          = "a"
  integration = "mqtt"
  operation   = "publish"
  topic       = "t/${event.payload.room}"
  message     = event.payload
  qos         = 1
  retain      = event.payload.keep
}
route "e" {
  on          = ["a"]
  integration = "queue"
  operation   = "enqueue"
  queue       = "jobs"
  message     = "${event.payload.room}"
}
"""
    ).routes
    scope = _event(room=5, keep=True)
    assert publish.on == ("a",)
    assert publish.topic.evaluate(scope) == "t/5"
    assert publish.message.evaluate(scope) == {"room": 5, "keep": True}
    assert (publish.qos.evaluate(scope), publish.retain.evaluate(scope)) == (1, True)
    assert (enqueue.queue.evaluate(scope), enqueue.message.evaluate(scope)) == ("jobs", 5)


def test_subscriptions(load_text):
    """A subscription reads a topic; its `emit` may use the message."""
    (first,) = load_text(
        GROUND
        + """
subscription "metrics" {
  integration = "mqtt"
  topic       = "metrics/#"
  emit        = "data.${message.topic}"
  group       = "nemo"
}
"""
    ).subscriptions
    assert (first.topic, first.queue, first.hold, first.group) == ("metrics/#", None, None, "nemo")
    assert first.emit.evaluate({"message": {"topic": "a/b"}}) == "data.a/b"


def _route(*lines: str, on: str = '["a"]') -> str:
    return GROUND + f'route "r" {{\n  on = {on}\n' + "\n".join(lines) + "\n}\n"


def _to(integration: str, operation: str) -> tuple[str, str]:
    return f'integration = "{integration}"', f'operation = "{operation}"'


REQUEST = (*_to("rpc", "request"), 'method = "m"')


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [
        (_route(*REQUEST, on='["a..b"]'), 2, "on: pattern 'a..b': 'a..b' has an empty segment"),
        (_route(*REQUEST, on='["a.b*"]'), 2, "on: 'a.b*': `*` and `**` stand for whole segments"),
        (_route(*REQUEST, on='["a b"]'), 2, "on: pattern 'a b': 'a b' holds a space"),
        (_route(*REQUEST, on='[""]'), 2, "on: pattern '': an event type is never empty"),
        (_route(*REQUEST, on="[]"), 2, "on: must not be empty"),
        (_route(*REQUEST, on="[1]"), 2, "on > 0: must be a string"),
        (_route(*_to("rcp", "request"), 'method = "m"'), 3, "integration: there is no integration `rcp` (did you mean"),
        (_route(*_to("rpc", "publsh")), 4, "operation: must be `request`, `publish` or `enqueue` (did you mean `publ"),
        (
            _route(*_to("mqtt", "request"), 'method = "m"'),
            4,
            "operation: `mqtt` is `mqtt`, which has no `request`; it has `publish`, `subscribe`, `unsubscribe`",
        ),
        (_route(*REQUEST, 'topic = "x"'), 6, "topic: does not belong to `request`, which takes `method`, `params`"),
        (_route(*REQUEST, "mehtod = 1"), 6, "mehtod: unknown key (did you mean `method`?)"),
        (_route(*REQUEST, 'where = "yes"'), 6, "where: must be true or false, not a string; write a condition"),
        (_route(*REQUEST, "where = event.payloda.x"), 6, "where: `event` has no `payloda` (did you mean `payload`?)"),
        (_route(*REQUEST, "where = evnt.type"), 6, "where: `evnt.type`: there is no `evnt` (did you mean `event`?)"),
        (_route(*REQUEST, "where = env.NOPE"), 6, "where: the environment variable `NOPE` is not set"),
        (_route(*REQUEST, 'emit = "${message.topic}"'), 6, "emit: `message.topic`: only `event.…` can be used here"),
        (_route(*REQUEST, 'emit = "a b"'), 6, "emit: not an event type: 'a b' holds a space"),
        (_route(*REQUEST, 'emit = "health.api"'), 6, "emit: not an event type to emit: 'health.api'; what begins with"),
        (_route(*REQUEST, "receipts = 7"), 6, "receipts: must be true or false"),
        (
            _route(*_to("mqtt", "publish"), 'topic = "t"', "message = 1", "qos = 0", 'delivery = "at_least_once"'),
            7,
            "qos: messages with QoS 0 are not acknowledged",
        ),
        (_route(*REQUEST, 'delivery = "once"'), 6, "delivery: must be `at_most_once` or `at_least_once`"),
        (_route(*_to("rpc", "request"), 'method = ""'), 5, "method: must be a string that is not empty"),
        (
            _route(*_to("mqtt", "publish"), 'topic = "t"', "message = 1", "qos = 3"),
            7,
            "qos: must be 0, 1 or 2",
        ),
        (
            _route(*_to("mqtt", "publish"), 'topic = "t"', "message = 1", "qos = [1]"),
            7,
            "qos: must be 0, 1 or 2",
        ),
        (
            _route(*_to("mqtt", "publish"), 'topic = "t"', "message = 1", 'retain = "x"'),
            7,
            "retain: must be true or false",
        ),
    ],
)
def test_diagnostics_of_routes(diagnostics, text, line, wanted):
    """Each fault is exactly one diagnostic, at the line of its key."""
    found = diagnostics(text)
    assert len(found) == 1
    assert found[0].startswith(f'bridge.hcl:{LINES + line}: route "r" > {wanted}')


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (_route(*_to("rpc", "request")), ["`request` needs `method`"]),
        (_route(*_to("mqtt", "publish")), ["`publish` needs `message`", "`publish` needs `topic`"]),
        (_route(*_to("queue", "enqueue")), ["`enqueue` needs `message`", "`enqueue` needs `queue`"]),
    ],
)
def test_keys_that_an_operation_needs(diagnostics, text, missing):
    """Each missing key is reported, at the line of the block."""
    assert diagnostics(text) == [f'bridge.hcl:{LINES + 1}: route "r": {message}' for message in missing]


@pytest.mark.parametrize(
    ("inner", "line", "wanted"),
    [
        ('integration = "mqtt"', 1, '"s": give either `topic` or `queue`'),
        ('integration = "mqtt"\ntopic = "a"\nqueue = "b"', 1, '"s": give either `topic` or `queue`'),
        ('integration = "rpc"\ntopic = "a"', 3, '"s" > topic: `rpc` is `json-rpc`, which has no `subscribe`'),
        ('integration = "mqtt"\nqueue = "a"', 3, '"s" > queue: `mqtt` is `mqtt`, which has no `dequeue`'),
        ('integration = "mqtt"\ntopic = ""', 3, '"s" > topic: must not be empty'),
        (
            'integration = "queue"\nqueue = "a"\nack = "consumer"',
            4,
            '"s" > ack: messages of a `queue` of `stream` are not acknowledged',
        ),
        (
            'integration = "mqtt"\ntopic = "a"\nack = "consumer"',
            4,
            '"s" > ack: set a `client_id` in `config` of `mqtt`',
        ),
        (
            'integration = "mqtt"\ntopic = "a"\nack = "consumer"\nqos = 0',
            5,
            '"s" > qos: messages with QoS 0 are not acknowledged; `ack = "consumer"` needs 1 or 2',
        ),
        ('integration = "mqtt"\ntopic = "a"\nqos = 3', 4, '"s" > qos: must be'),
        ('integration = "queue"\nqueue = "a"\nqos = 1', 4, '"s" > qos: `queue` is `stream`, which has no `qos`'),
        (
            'integration = "mqtt"\ntopic = "a"\nqos = 0\nprefetch = 5',
            5,
            '"s" > prefetch: messages of this `topic` of `mqtt` are not acknowledged, so it limits nothing',
        ),
        ('integration = "mqtt"\ntopic = "a"\nvisibility = "5s"', 4, '"s" > visibility: belongs to `ack = "consumer"`'),
        (
            'integration = "mqtt"\ntopic = "a"\nqos = 0\nlistener = "required"',
            5,
            '"s" > listener: messages of this `topic` of `mqtt` are not acknowledged, so they cannot wait',
        ),
        (
            'integration = "queue"\nqueue = "a"\nlistener = "required"',
            4,
            '"s" > listener: messages of this `queue` of `stream` are not acknowledged, so they cannot wait',
        ),
        ('integration = "mqtt"\ntopic = "a"\nlistener = "no"', 4, '"s" > listener: must be `required` or `optional`'),
        ('integration = "mqtt"\ntopic = "a"\nack = "all"', 4, '"s" > ack: must be `bus` or `consumer`'),
        (
            'integration = "mqtt"\ntopic = "a"\nemit = event.type',
            4,
            '"s" > emit: `event.type`: only `message.…` can be',
        ),
    ],
)
def test_diagnostics_of_subscriptions(diagnostics, inner, line, wanted):
    """Each fault of a subscription is one diagnostic; `topic` and `queue` together are one, not two."""
    found = diagnostics(GROUND + f'subscription "s" {{\n{inner}\n}}\n')
    assert len([text for text in found if wanted in text]) == 1
    assert any(text.startswith(f"bridge.hcl:{LINES + line}: subscription {wanted}") for text in found)


@pytest.mark.parametrize(
    ("common_window", "more", "wanted"),
    [
        (None, "", 100),
        (None, "prefetch = 5", 5),
        ("window", "", None),
        ("window", "prefetch = 5", None),
        ("window", 'prefetch = 5\nack = "consumer"', 5),
        (None, "qos = 0", None),
    ],
)
def test_prefetch(load_text, adapters, common_window, more, wanted):
    """It holds for each subscription that acknowledges; where the protocol cannot limit one, a warning says so."""
    adapters["mqtt"] = msgspec.structs.replace(adapters["mqtt"], common_window=common_window)
    ground = GROUND.replace('  type = "mqtt"\n', '  type = "mqtt"\n  config {\n    client_id = "c"\n  }\n')
    found = load_text(f'{ground}subscription "s" {{\nintegration = "mqtt"\ntopic = "a"\n{more}\n}}\n')
    assert found.subscriptions[0].prefetch == wanted
    if wanted is None and "prefetch" in more:
        (warning,) = found.warnings
        assert f'bridge.hcl:{LINES + 7}: subscription "s" > prefetch: `mqtt` has no limit for one' in str(warning)
        assert str(warning).endswith("`window` of `mqtt` limits all of them together")
    else:
        assert found.warnings == ()


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ("", 'ack = "consumer"', "ack"),
        ('ack = "consumer"\nprefetch = 5', 'ack = "consumer"', "prefetch"),
        ("qos = 2", "", "qos"),
        ('listener = "optional"', "", "listener"),
        ("last_value = true", "", None),
        ("", 'emit = "other"', None),
        ("", 'group = "other"\nqos = 2', None),
    ],
)
def test_subscriptions_of_one_topic_have_equal_settings(diagnostics, load_text, first, second, key):
    """Subscriptions to one topic must have equal settings, since the remote has one subscription for them."""
    ground = GROUND.replace('  type = "mqtt"\n', '  type = "mqtt"\n  config {\n    client_id = "c"\n  }\n')
    blocks = [
        f'subscription "{name}" {{\nintegration = "mqtt"\ntopic = "a/#"\n{more}\n}}\n'
        for name, more in (("s", first), ("t", second))
    ]
    if key is None:
        assert len(load_text(ground + "".join(blocks)).subscriptions) == 2
    else:
        (text,) = diagnostics(ground + "".join(blocks))
        assert f'subscription "t": reads the same as subscription "s" (bridge.hcl:{LINES + 4})' in text
        assert text.endswith(f"with another `{key}`")


@pytest.mark.parametrize(
    ("first", "second", "repeated"),
    [
        ("", "", True),
        ('emit = "x.y"', 'emit = "x.y"', True),
        ('emit = "x.y"', "", False),
        ('emit = "x.y"', 'emit = "x.z"', False),
        ("", 'group = "g"', False),
    ],
)
def test_subscriptions_that_repeat_each_other(load_text, first, second, repeated):
    """Two subscriptions to one topic that emit the same event are a warning, since each message comes twice."""
    blocks = [
        f'subscription "{name}" {{\nintegration = "mqtt"\ntopic = "a/#"\n{more}\n}}\n'
        for name, more in (("s", first), ("t", second))
    ]
    warnings = [str(one) for one in load_text(GROUND + "".join(blocks)).warnings]
    assert [warning.partition(": ")[2] for warning in warnings] == repeated * [
        'subscription "t": emits the same as subscription "s", so each message comes twice'
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("method = event.id", "method: must be a string, not a number"),
        ("method = event.headers", "method: must be a string, not a map"),
        ("emit = [event.type]", "emit: must be a string, not a list"),
        ("key = event.headers", "key: must be a boolean or a number or a string, not a map"),
    ],
)
def test_a_value_that_never_fits_its_key(diagnostics, line, fault):
    """What is computed for each event is known to be of the wrong kind before any comes."""
    lines = [*_to("rpc", "request"), line] if line.startswith("method") else [*REQUEST, line]
    (found,) = diagnostics(_route(*lines))
    assert found.endswith(f'route "r" > {fault}')


@pytest.mark.parametrize(
    ("inner", "listener"),
    [
        ('integration = "mqtt"\ntopic = "a"', "required"),
        ('integration = "mqtt"\ntopic = "a"\nqos = 2', "required"),
        ('integration = "mqtt"\ntopic = "a"\nqos = 0', None),
        ('integration = "mqtt"\ntopic = "a"\nlistener = "optional"', "optional"),
        ('integration = "queue"\nqueue = "a"', None),
    ],
)
def test_acknowledged_messages_need_a_listener(load_text, inner, listener):
    """By default messages wait for a listener where they are acknowledged, and `listener` turns that off."""
    (found,) = load_text(GROUND + f'subscription "s" {{\n{inner}\n}}\n').subscriptions
    assert (found.listener, found.last_value) == (listener, None)


def test_last_values_of_a_route_need_an_emit(diagnostics, load_text):
    """`last_value` of a route is about its `emit`."""
    text = GROUND + 'route "r" {\n  on = ["x"]\n' + "\n".join(_to("rpc", "request")) + '\n  method = "m"\n'
    (found,) = diagnostics(f"{text}  last_value = true\n}}\n")
    assert '"r" > last_value: belongs to `emit`' in found
    (route,) = load_text(f'{text}  last_value = true\n  emit = "y"\n}}\n').routes
    assert route.last_value


def test_a_broken_integration_is_blamed_once(diagnostics):
    """A route to a faulty integration gets no diagnostic of its own."""
    text = 'integration "a" {\n  type = "nope"\n}\nroute "r" {\n  on = ["x"]\n' + "\n".join(_to("a", "request"))
    found = diagnostics(text + '\n  method = "m"\n}\n')
    assert [line.split(":")[1] for line in found] == ["2"]
