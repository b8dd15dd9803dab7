"""Show which expressions are known to fail, or to give always the same, before any message comes."""

import pytest

from bridge.config.compiler import Compiler, Names
from bridge.config.expression_parser import parse_expression
from bridge.config.functions import FUNCTIONS, in_place_of
from bridge.config.kinds import kinds, misuses, named
from bridge.core.errors import InvalidError

#: What may be in an event, with a payload of each kind.
PAYLOAD = {"n": 3, "b": True, "s": "a", "l": [1, 2], "m": {"k": 1}, "z": None}
EVENT = {
    "id": 1,
    "type": "order.created",
    "payload": PAYLOAD,
    "timestamp": 5,
    "source": None,
    "correlation_id": "c",
    "headers": {"a": "1"},
}


def term(text):
    """Parse an expression."""
    return parse_expression(text, 1)


def value(text):
    """Compute an expression for the event."""
    compiler = Compiler(Names({}), "event")
    expression = compiler.compile(term(text))
    assert compiler.faults == []
    return expression.evaluate({"event": EVENT})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "event.type + 1",
            "`+` takes two numbers, two strings or two lists; `event.type` is a string and `1` is a number",
        ),
        ("event.type * event.payload.n", "`*` takes two numbers; `event.type` is a string"),
        ('event.payload.n - "a"', '`-` takes two numbers; `"a"` is a string'),
        ("-event.type", "`-` takes a number; `event.type` is a string"),
        ("!event.id", "`!` takes what is true or false; `event.id` is a number"),
        ("event.payload.b && event.type", "`&&` takes what is true or false; `event.type` is a string"),
        (
            "event.payload.n > 1 || event.payload.n + 1",
            "`||` takes what is true or false; `event.payload.n + 1` is a num",
        ),
        ("event.id ? 1 : 2", "what stands before `?` is true or false; `event.id` is a number"),
        ("event.type > 5", "`>` takes two numbers or two strings; `event.type` is a string and `5` is a number"),
        (
            "event.headers < event.headers",
            "`<` takes two numbers or two strings; `event.headers` is a map and `event.h",
        ),
        ("lower(event.id)", "lower() takes a string here; `event.id` is a number"),
        ('startsWith(event.headers, "a")', "startsWith() takes a string here; `event.headers` is a map"),
        ("startsWith(event.type, 5)", "startsWith() takes a string here; `5` is a number"),
        ("size(event.id)", "size() takes a list or a map or a string here; `event.id` is a number"),
        ("max(1, event.type)", "max() takes a number here; `event.type` is a string"),
        ("event.type.a", "`event.type.a`: a string has no `a`"),
        ("event.headers[0]", "`event.headers[0]`: a map has no `0`"),
        ("(event.id + 1)[0]", "an index takes a list or a map; `event.id + 1` is a number"),
        ('"x-${event.headers}"', "`${…}` in a string takes a text or a number; `event.headers` is a map"),
        ("{ a = [lower(event.id)] }", "lower() takes a string here; `event.id` is a number"),
    ],
)
def test_what_can_never_be_computed(text, message):
    """An operator or function that never takes such a value is found, and it does fail with any payload."""
    (found,) = misuses(term(text))
    assert found.message.startswith(message)
    assert found.fails
    if "||" not in text:  # CEL takes a failure on one side of `||` where the other one is true
        with pytest.raises(InvalidError):
            value(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "event.headers.a == 1",
            "`event.headers.a == 1` is always false: `event.headers.a` is a string and `1` is a n",
        ),
        ("event.type != 5", "`event.type != 5` is always true: `event.type` is a string and `5` is a number"),
        ("event.id == null", "`event.id == null` is always false: `event.id` is a number and `null` is null"),
    ],
)
def test_what_is_always_the_same(text, message):
    """A comparison of two kinds can be computed and says nothing."""
    (found,) = misuses(term(text))
    assert found.message.startswith(message)
    assert not found.fails
    assert value(text) is ("always true" in message)


@pytest.mark.parametrize(
    "text",
    [
        "event.payload.n + 1",
        'event.type + "x"',
        "event.payload.l + [event.id]",
        "event.payload.s > event.type",
        "event.payload.b > false",
        "event.source == null",
        'event.correlation_id == "c"',
        "event.payload.z == null",
        "event.payload.b && has(event.payload.n)",
        "event.payload.b ? event.payload.n : event.type",
        "(event.payload.b ? 5 : event.type) == 5",
        'size(split(event.type, ".")) > 1',
        "number(event.headers.a) + 1",
        'number(event.headers["a"]) > 0',
        'contains(event.payload.l, 2) || contains(event.type, "x")',
        '"${event.payload.n}-${event.payload.b}"',
        "event.payload.l[event.payload.n - 2] == 2",
        'join(split(event.type, "."), "/")',
        "event.id % 2 == 1",
        "round(event.payload.n / 2)",
        "event.payload.m.k",
        "min(event.id, event.timestamp, event.payload.n)",
    ],
)
def test_what_may_be_computed(text):
    """What some payload makes right is left alone; here the payload is such a one."""
    assert misuses(term(text)) == []
    value(text)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_give_what_they_say(name):
    """The kind of each function's result, and the kinds that it takes, are those of its values."""
    samples = {
        "a string": "event.payload.s",
        "a number": "event.payload.n",
        "a boolean": "event.payload.b",
        "a list": 'split(event.type, ".")',
        "a map": "event.payload.m",
    }
    function = FUNCTIONS[name]
    least = function.least
    for taken in [kind.replace("boolean", "a boolean") for kind in function.takes[0].split("|") if kind] or ["list"]:
        first = samples[taken if taken.startswith("a ") else f"a {taken}"]
        rest = ["event.payload.s"] * (least - 1) if name != "contains" or taken != "list" else ["2"] * (least - 1)
        text = f"{name}({', '.join([first, *rest])})" if taken != "string" or name != "number" else 'number("5")'
        assert misuses(term(text)) == []
        assert value(f"({text}) == null") is False
        assert named(kinds(term(text))) == f"a {function.gives}"
        assert misuses(term(f"{text} == {samples[f'a {function.gives}']}")) == []


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("lenght", "size(x)"),
        ("length", "size(x)"),
        ("len", "size(x)"),
        ("starts_with", "startsWith(…)"),
        ("startswith", "startsWith(…)"),
        ("toUpperCase", "upper(text)"),
        ("coalesce", "has(x) ? x : y"),
        ("concat", '"${x} and ${y}"'),
        ("bogus", ""),
    ],
)
def test_functions_of_other_languages(name, here):
    """A function that other languages have is told under its name here."""
    assert in_place_of(name) == here


def test_an_unknown_function(diagnostics, load_text):
    """The diagnostic names what stands for it, else a near name, else all functions."""
    text = (
        'integration "a" {\n  type = "json-rpc"\n  endpoint {\n    url = "https://h"\n  }\n}\nroute "r" {\n  on = "a"\n'
    )
    text += '  integration = "a"\n  operation = "request"\n  method = "m"\n  where = %s\n}\n'
    where = 'bridge.hcl:12: route "r" > where: there is no function'
    assert diagnostics(text % "lenght(event.payload.x) > 1") == [f"{where} `lenght`; write `size(x)`"]
    assert diagnostics(text % "lowr(event.type) == 1") == [f"{where} `lowr` (did you mean `lower`?)"]
    (found,) = diagnostics(text % "zzz(1) == 1")
    assert found.startswith(f"{where} `zzz`; there are `abs`, `ceil`")


def test_a_misuse_is_a_diagnostic_at_its_place(diagnostics, load_text):
    """It is found in all keys that are computed, at the column of the part that is wrong; a warning is no error."""
    text = (
        'integration "a" {\n  type = "json-rpc"\n  endpoint {\n    url = "https://h"\n  }\n}\nroute "r" {\n  on = "a"\n'
    )
    text += '  integration = "a"\n  operation = "request"\n  method = "m"\n  params = { n = %s }\n}\n'
    assert diagnostics(text % "event.type * 2") == [
        'bridge.hcl:12: route "r" > params: `*` takes two numbers; `event.type` is a string and `2` is a number'
    ]
    (warning,) = load_text(text % "event.type == 2").warnings
    assert (warning.location.line, warning.location.column, warning.location.end_column) == (12, 18, 33)
