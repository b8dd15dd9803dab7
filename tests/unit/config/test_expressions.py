"""Show what expressions compute, and the errors where they cannot."""

import msgspec
import pytest

from bridge.config.compiler import Compiler, Names
from bridge.config.diagnostics import Fault
from bridge.config.expression_parser import parse_expression
from bridge.config.expressions import Literal
from bridge.core.errors import InvalidError
from bridge.core.model import Event, Inbound

PAYLOAD = {
    "id": 7,
    "n": 2,
    "total": 150.5,
    "name": "abc",
    "items": [{"x": 1}, {"x": 2}],
    "tags": ["a", "b"],
    "nothing": None,
    "flag": True,
    "a-b": 5,
    "big": 2**64 - 1,
    "text": "é😀",
    "raw": b"\xff",
}
EVENT = Event(
    id=1,
    event_type="order.created",
    raw=msgspec.Raw(msgspec.msgpack.encode(PAYLOAD)),
    timestamp=5,
    source=None,
    correlation_id="c",
)
MESSAGE = Inbound(topic="metrics/a/b", message={"v": 1}, headers={"h": "1"})
NAMES = Names({"TOKEN": "hunter2"}, {"n": Literal("var.n", 3), "map": Literal("var.map", {"a": [1, 2]})})


def _compile(text, root="event"):
    compiler = Compiler(NAMES, root)
    expression = compiler.compile(parse_expression(text, 1))
    assert [fault.message for fault in compiler.faults] == []
    return expression


def _faults(text, root="event"):
    compiler = Compiler(NAMES, root)
    try:
        compiler.compile(parse_expression(text, 1))
    except Fault as fault:
        return [fault.message]
    return [fault.message for fault in compiler.faults]


def _value(text, root="event", event=EVENT):
    return _compile(text, root).evaluate({"event": event, "message": MESSAGE})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("event.id", 1),
        ("event.type", "order.created"),
        ("event.timestamp", 5),
        ("event.source", None),
        ("event.correlation_id", "c"),
        ("event.headers", {}),
        ("event.payload", PAYLOAD),
        ("event.payload.items[1].x", 2),
        ("event.payload.items.1.x", 2),
        ('event.payload["a-b"]', 5),
        ("event.payload.a-b", 5),
        ("event.payload.raw", b"\xff"),
        ("var.map.a[1]", 2),
        ("env.TOKEN", "hunter2"),
    ],
)
def test_paths(text, wanted):
    """A path reads each field of the event, names, names in quotes, and indexes."""
    assert _value(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("message.topic", "metrics/a/b"),
        ("message.segments[1]", "a"),
        ("message.payload.v * 2.5", 2.5),
        ("message.headers.h", "1"),
        ('"data.${message.segments[2]}"', "data.b"),
    ],
)
def test_paths_into_messages(text, wanted):
    """A path reads each field of a message from a remote."""
    assert _value(text, "message") == wanted


def test_a_mapping_as_scope():
    """A mapping with the names of expressions may take the place of an event or message."""
    expression = _compile('"${event.type}/${event.payload.a}/${has(event.headers.x)}"')
    assert expression.evaluate({"event": {"type": "t", "payload": {"a": 1}, "headers": None}}) == "t/1/false"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('"a-${event.payload.id}-${event.payload.total}-${event.payload.flag}"', "a-7-150.5-true"),
        ('"${event.payload.id}"', 7),
        ('"${event.payload.total * 2}!"', "301!"),
        ('"$${x} %%{y} ${event.id}"', "${x} %{y} 1"),
        (r'"\"\\\n\t\u00e9\U0001F600"', '"\\\n\té😀'),
        ('"a${"b${event.id}"}"', "ab1"),
        ('""', ""),
        ("<<EOT\nid \"${event.payload[\"id\"]}\" \\n $${x}\n  more\nEOT\n", 'id "7" \\n ${x}\n  more\n'),
        ("<<-EOT\n    one\n      two ${event.id}\n  EOT\n", "one\n  two 1\n"),
    ],
)  # fmt: skip
def test_strings(text, wanted):
    """Templates, escapes and here-documents give strings; a string of one `${…}` keeps the type of its value."""
    assert _value(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("event.payload.total * 100", 15050.0),
        ("event.payload.total > 100", True),
        ("100 <= event.payload.n", False),
        ("1.5 * 2", 3.0),
        ("6 / 2", 3),
        ("event.payload.n / 4", 0.5),
        ("event.payload.n * 3 + 1", 7),
        ("-event.payload.total", -150.5),
        ("-event.payload.n % 2 - 7 % -2", -1),
        ("event.payload.total % 50", 0.5),
        ("9223372036854775807 + event.payload.n", 2**63 + 1),
        ("event.payload.big == 18446744073709551615", True),
        ("size(event.payload.items) * 1.5", 3.0),
        ("event.payload.id == 7.0", True),
        ('event.payload.n == "2"', False),
        ('event.payload.name + "d"', "abcd"),
        ('event.payload.tags + ["c"]', ["a", "b", "c"]),
        ("event.payload.nothing == null", True),
        ("var.n + event.payload.n", 5),
    ],
)
def test_arithmetic(text, wanted):
    """Whole numbers and decimals can be mixed, as in HCL and JSON; whole numbers stay whole."""
    found = _value(text)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('event.payload.total > 100 && event.type == "order.created"', True),
        ("!event.payload.flag || event.payload.n != 2", False),
        ('event.payload.total > 100 ? "big" : "small"', "big"),
        ("has(event.payload.x) ? event.payload.x : event.payload.total * 2", 301.0),
        ("has(event.payload.x) && event.payload.x > 1", False),
        ("event.payload.x || true", True),
        ("has(event.payload.nothing)", True),
        ("has(event.payload.items[5])", False),
        ("has(event.source)", False),
        ("has(event.correlation_id)", True),
        ("event.payload.items[event.payload.n - 1].x", 2),
        ("{ a = event.payload.n, b = [event.payload.n * 2, null] }", {"a": 2, "b": [4, None]}),
        ("event.payload.flag ? { a = [event.id] } : null", {"a": [1]}),
    ],
)
def test_logic_and_structures(text, wanted):
    """What an expression does not need for its result may be missing."""
    assert _value(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('startsWith(event.type, "order.")', True),
        ('endsWith(event.type, "order.")', False),
        ('matches(event.payload.name, "^a.c$")', True),
        ('contains(event.payload.tags, "a")', True),
        ('contains(event.payload.name, "bc")', True),
        ('contains(event.payload, "zz")', False),
        ("upper(event.payload.name)", "ABC"),
        ("size(event.payload.text)", 2),
        ('split(event.type, ".")[1]', "created"),
        ('join(event.payload.tags, "+")', "a+b"),
        ('replace(event.type, ".", "/")', "order/created"),
        ('trim(" a ")', "a"),
        ('lower("A")', "a"),
        ('number("12") + number("0.5")', 12.5),
        ("string(event.payload.total)", "150.5"),
        ("string(event.payload.flag)", "true"),
        ("string(event.payload.n * 1.0)", "2"),
        ("round(event.payload.total)", 151),
        ("floor(event.payload.total) - ceil(0.5)", 149),
        ("min(event.payload.n, 1.5)", 1.5),
        ("max(1, event.payload.n)", 2),
        ("abs(0 - event.payload.n)", 2),
    ],
)
def test_functions(text, wanted):
    """Each function gives its result, with the name before the arguments."""
    assert _value(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("event.payload.foo", "`event.payload.foo`: there is no `foo` in event.payload"),
        ("event.payload.items[3].x", "`event.payload.items[3].x`: event.payload.items has 2 items, no [3]"),
        ("event.payload.name.x", "`event.payload.name.x`: event.payload.name is a string, not a map"),
        ("event.payload.name[0]", "`event.payload.name[0]`: event.payload.name is a string, not a list"),
        ("event.payload.nothing.x", "`event.payload.nothing.x`: event.payload.nothing is null, not a map"),
        ("event.payload.foo * 1.5", "`event.payload.foo`: there is no `foo` in event.payload"),
        ('"x${event.payload.nothing}"', "`event.payload.nothing`: null cannot be part of a string"),
        ('"x${event.payload.tags}"', "`event.payload.tags`: a list cannot be part of a string"),
        ("event.payload.n / 0", "`event.payload.n / 0`: `/` takes two numbers, and the second is not 0"),
        ("event.payload.n % 0", "`event.payload.n % 0`: `%` takes two numbers, and the second is not 0"),
        ("event.payload.name * 2", "`event.payload.name * 2`: `*` takes two numbers, and"),
        ("event.payload.big * 2", "`event.payload.big * 2`: `*` takes two numbers, and"),
        ("upper(event.id)", "`upper(event.id)`: upper() cannot use the arguments"),
        ("event.payload.name < 1", "`event.payload.name < 1`: an operator or function does not fit its operands ("),
        ("event.payload.items[event.payload.n]", "`event.payload.items[event.payload.n]`: there is no such index"),
        ("event.payload.n && true", "`event.payload.n && true`: an operator or function does not fit its operands"),
        ("env.TOKEN * event.payload.n", "`env.TOKEN * event.payload.n`: `*` takes two numbers, and"),
        ('env.TOKEN > event.payload.n', "`env.TOKEN > event.payload.n`: an operator or function does not fit"),
    ],
)  # fmt: skip
def test_what_fails_is_invalid(text, wanted):
    """A failure is the error of one message; it names the expression and the reason, and never a secret."""
    with pytest.raises(InvalidError) as caught:
        _value(text)
    assert caught.value.message.startswith(wanted)
    assert "hunter2" not in caught.value.message


def test_a_payload_that_does_not_decode_is_invalid():
    """A payload is decoded when an expression reads it; a faulty one is that message's error."""
    event = msgspec.structs.replace(EVENT, raw=msgspec.Raw(b"\xa1\xff"))
    assert _value("event.type", event=event) == "order.created"
    for text in ("event.payload.id", "has(event.payload.id)", "event.payload.id + 1"):
        with pytest.raises(InvalidError, match="cannot be decoded"):
            _value(text, event=event)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("evnt.id", "`evnt.id`: there is no `evnt` (did you mean `event`?); there are `env`, `event`, `var`"),
        ("event.payloda", "`event` has no `payloda` (did you mean `payload`?); it has `correlation_id`, "),
        ("message.topic", "`message.topic`: only `event.…` can be used here"),
        ("info", '`info` is a bare word; write "info" in quotes'),
        ("env.NOPE", "the environment variable `NOPE` is not set"),
        ("env", "`env`: write `env.NAME`"),
        ("var.nn", "there is no variable `nn`"),
        ("var.map.b", "`var.map.b`: there is no `b`"),
        ("lowr(event.type)", "there is no function `lowr`"),
        ("lower()", "`lower()`: lower() takes 1 arguments, not 0"),
        ("has(1)", "`has(1)`: has() takes one path, as in `has(event.payload.id)`"),
        ("1 + true", "`1 + true`: `+` takes two numbers, two strings or two lists"),
        ('matches(event.type, "(")', '`matches(event.type, "(")`: the regular expression is not valid'),
        ("{ a = 1, a = 2 }", "`a` is given twice"),
        ("[for x in event.payload : x]", "`for` is not supported"),
        ("event.payload.items[*].x", "`[*]` is not supported"),
        ("event.payload.items.*.x", "`.*` is not supported"),
        ("event.payload.items[-1]", "`event.payload.items[-1]`: an index is a name in quotes, or a number from 0"),
        ('"%{ if true }x%{ endif }"', "`%{…}` is not supported"),
        (r'"\q"', r"`\q` is not an escape"),
        (r'"\ud800"', r"`\ud800` is not an escape"),
        ("99999999999999999999", "a whole number has at most 64 bits"),
        ("1e400", "the number is too large"),
        ("<<EOT\n${event.}\nEOT\n", "`event.` cannot be parsed"),
    ],
)
def test_faults_at_load(text, wanted):
    """Faults that do not depend on a message are found when the file is loaded."""
    (found,) = _faults(text)
    assert found.startswith(wanted)


def test_several_faults_of_one_expression():
    """Each missing name of one expression is reported."""
    assert len(_faults('"${env.A} ${env.B} ${event.typo}"')) == 3


def test_what_is_constant_is_folded():
    """An expression without a message becomes a literal that knows whether it came from the environment."""
    assert _compile('"x-${env.TOKEN}"').constant
    assert _compile('"x-${env.TOKEN}"').secret
    assert not _compile("var.n * 2").secret
    mixed = _compile('"${env.TOKEN}-${event.id}"')
    assert (mixed.constant, mixed.secret) == (False, True)
    assert "hunter2" not in repr(mixed)


@pytest.mark.parametrize(
    "text", ["!(" * 45 + "event.id == 1" + ")" * 45, "+".join(["event.id"] * 45), "(" * 300 + "1" + ")" * 300]
)
def test_deep_expressions(text):
    """CEL compiles expressions as deep as terms may nest; parentheses alone do not count as depth."""
    assert _value(text) in {False, 45, 1}


def test_deep_conditionals():
    """The form that needs most parentheses compiles as well."""
    assert _value("event.id > 1 ? 0 : " * 44 + "5") == 5


@pytest.mark.parametrize(
    "text",
    [
        'replace(event.payload.text, "", event.payload.text)',
        "replace(event.payload.text, event.payload.letter, event.payload.text)",
        "join(event.payload.list, event.payload.text)",
    ],
)
def test_a_result_has_a_limit(text):
    """An event of a megabyte cannot make terabytes of memory: the result has a limit, and the event is `invalid`."""
    payload = {"text": "x" * 400_000, "letter": "x", "list": ["x"] * 100_000}
    event = msgspec.structs.replace(EVENT, raw=msgspec.Raw(msgspec.msgpack.encode(payload)))
    with pytest.raises(InvalidError, match=r"(replace|join)\(\) cannot use the arguments that it got"):
        _value(text, event=event)
    assert _value('replace(event.payload.text, "x", "yz")', event=event) == "yz" * 400_000
    assert len(_value('join(event.payload.list, ", ")', event=event)) == 299_998
