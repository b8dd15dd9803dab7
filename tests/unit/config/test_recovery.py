"""A file with syntax errors: all of them are found, each at its own place, and what is right is still checked."""

import time
from pathlib import Path

import pytest

from bridge.config import load
from bridge.config.diagnostics import Diagnostics
from bridge.config.grammar import Budget, UnexpectedInputError
from bridge.config.hcl import read_blocks
from bridge.core.errors import ConfigError

OURS = frozenset({"bridge", "log", "bus", "variable", "integration", "route", "subscription", "test"})
ORDERS = """\
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "http://localhost:8080/rpc"
  }
}

route "orders" {
  on          = ["order.created"]
  where       = event.payload.total > 0
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
}

route "more" {
  on          = "a.b"
  integration = "shop"
  operation   = "request"
  method      = "x"
}
"""


def complaints(text, tmp_path, adapters):
    """Return code, line, column and text of each error of a file, without the file's name."""
    file = tmp_path / "bridge.hcl"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load([file], adapters=adapters, environ={})
    return [
        f"{one.code} {one.location.line}:{one.location.column} {str(one).partition(': ')[2]}"
        for one in caught.value.diagnostics
        if one.severity == "error"
    ]


#: What is replaced in `ORDERS`, by what, and the one error that follows.
ONE_ERROR = {
    "no closing brace of a block": (
        '"orders.create"\n}',
        '"orders.create"',
        'NB011 8:1 route "orders": this block is not closed; a `}` is missing; write it before line 15',
    ),
    "no closing brace of an inner block": (
        'rpc"\n  }',
        'rpc"',
        'NB011 3:3 integration "shop" > endpoint: this block is not closed; a `}` is missing; write it before line 5',
    ),
    "no closing brace at the end": (
        '"x"\n}',
        '"x"',
        'NB011 16:1 route "more": this block is not closed; a `}` is missing; write it at the end of the file',
    ),
    "no opening brace": (
        '"orders" {',
        '"orders"',
        'NB011 8:1 route "orders": the `{` of this block is missing; write it at the end of the line',
    ),
    "a brace too many at the end": (
        '"orders.create"\n}',
        '"orders.create"\n}\n}',
        "NB013 15:1 this `}` closes nothing; leave it out",
    ),
    "a brace too many inside": (
        '"shop"\n  operation   = "request"\n  method      = "orders',
        '"shop"\n  }\n  operation   = "request"\n  method      = "orders',
        'NB013 12:3 route "orders": this `}` closes `route "orders"` before its end; leave it out',
    ),
    "a bracket too many": ('"a.b"', '"a.b"]', 'NB013 17:22 route "more": this `]` closes nothing; leave it out'),
    "no closing quote": (
        '"orders.create"',
        '"orders.create',
        'NB012 13:17 route "orders": this string has no closing quote on its line; a `"` is missing',
    ),
    "no opening quote": (
        '"orders.create"',
        'orders.create"',
        'NB012 13:30 route "orders": this string has no closing quote on its line; a `"` is missing',
    ),
    "no closing quote of a label": (
        'route "orders" {',
        'route "orders {',
        'NB012 8:7 route "orders": this string has no closing quote on its line; a `"` is missing',
    ),
    "no closing quote in a list": (
        '["order.created"]',
        '["order.created]',
        'NB012 9:18 route "orders": this string has no closing quote on its line; a `"` is missing',
    ),
    "no closing bracket of a list": (
        '["order.created"]',
        '["order.created"',
        'NB011 9:17 route "orders": this `[` is not closed; a `]` is missing; write it before line 10',
    ),
    "no closing brace of a template": (
        '"orders.create"',
        '"orders.${event.payload.x"',
        'NB012 13:25 route "orders": this `${` is not closed; a `}` is missing in the string',
    ),
    "a here-document without an end": (
        '"orders.create"',
        "<<EOT\n    text\n    more",
        'NB012 13:17 route "orders": this text has no end; write `EOT` on a line of its own behind it',
    ),
    "a comment without an end": (
        'route "more"',
        '/* route "more"',
        "NB012 16:1 this comment is not closed; write `*/` at its end",
    ),
    "an operator of another language": (
        "> 0",
        ">> 0",
        'NB010 10:37 route "orders" > where: `>>` is not an operator (did you mean `>`?)',
    ),
    "a word for an operator": (
        "> 0",
        "> 0 and true",
        'NB010 10:41 route "orders" > where: `and` is not supported; write `&&`',
    ),
    "one equals sign": (
        "> 0",
        "= 0",
        'NB010 10:37 route "orders" > where: `=` is not an operator (did you mean `==`?)',
    ),
    "nothing behind an operator": ("> 0", ">", 'NB010 10:37 route "orders" > where: behind `>` a value is missing'),
    "no value": (
        '"orders.create"',
        "",
        'NB010 13:3 route "orders" > method: the value is missing; write it behind `method =`, on the same line',
    ),
    "a colon": (
        'method      = "orders',
        'method: "orders',
        'NB010 13:9 route "orders" > method: a value is given with `=`, not with `:`; write `method = …`',
    ),
    "no equals sign": (
        'method      = "orders',
        'method "orders',
        'NB010 13:10 route "orders" > method: between a key and its value a `=` is missing; write `method = …`',
    ),
    "a key in quotes": (
        'method      = "orders',
        '"method" = "orders',
        'NB010 13:3 route "orders" > method: a key stands without quotes; write `method = …`',
    ),
    "another kind of quotes": (
        '"orders.create"',
        "'orders.create'",
        'NB010 13:17 route "orders" > method: a text does not stand in `\'`; write `"` at both ends',
    ),
    "a number with a unit": (
        '"orders.create"',
        "30s",
        (
            'NB010 13:17 route "orders" > method: a number is not followed by letters; '
            'a number with a unit stands in quotes, as in `"30s"` or `"64KiB"`'
        ),
    ),
    "a comma between keys": (
        '    url = "http://localhost:8080/rpc"\n',
        '    address = "localhost", port = 8080\n',
        (
            'NB014 4:26 integration "shop" > endpoint > address: the keys of a block are not separated by `,`; '
            "write each key on a line of its own"
        ),
    ),
    "a block in one line with a comma": (
        'endpoint {\n    url = "http://localhost:8080/rpc"\n  }',
        'endpoint { address = "localhost", port = 1883 }',
        (
            'NB014 3:35 integration "shop" > endpoint > address: the keys of a block are not separated by `,`; '
            "write each key on a line of its own"
        ),
    ),
    "a semicolon": (
        '"orders.create"',
        '"orders.create";',
        (
            'NB014 13:32 route "orders" > method: the keys of a block are not separated by `;`; '
            "write each key on a line of its own"
        ),
    ),
    "quotes of a word processor": (
        '"orders.create"',
        "\u201corders.create\u201d",
        'NB010 13:17 route "orders" > method: a text does not stand in `\u201c`; write `"` at both ends',
    ),
    "quotes of a word processor around a label": (
        'integration "shop" {',
        "integration \u201cshop\u201d {",
        'NB010 1:13 integration "shop": a text does not stand in `\u201c`; write `"` at both ends',
    ),
    "an equals sign before a block": (
        'integration "shop" {',
        'integration "shop" = {',
        'NB026 1:20 integration "shop": a block has no `=` before its brace; write `integration "shop" {`',
    ),
    "the name of a block in quotes": (
        'integration "shop" {',
        '"integration" "shop" {',
        'NB010 1:1 integration "shop": the name of a block stands without quotes; write `integration "shop" {`',
    ),
    "an arrow": (
        'method      = "orders',
        'method => "orders',
        'NB010 13:10 route "orders" > method: a value is given with `=`, not with `=>`; write `method = …`',
    ),
    "an arrow in a map": (
        '"orders.create"',
        '"orders.create"\n  params = { id => 1 }',
        ('NB010 14:17 route "orders" > params: in a map a value is given with `=`, not with `=>`; write `key = value`'),
    ),
    "a semicolon in a map": (
        '"orders.create"',
        '"orders.create"\n  params = { a = 1; b = 2 }',
        'NB010 14:19 route "orders" > params: values are not separated by `;`; write `,`',
    ),
    "two commas": (
        '["order.created"]',
        '["order.created",, "order.changed"]',
        'NB010 9:34 route "orders" > on: before this comma a value is missing; write one comma between two values',
    ),
    "no quotes around an event type": (
        '["order.created"]',
        "order.created",
        (
            'NB040 9:17 route "orders" > on: `order.created`: there is no `order`; there are `env`, `var`; '
            'write "order.created" in quotes if it is a text'
        ),
    ),
    "a reference as in Terraform": (
        '= "shop"',
        "= integration.shop",
        (
            'NB040 11:17 route "orders" > integration: `integration.shop`: a block is named by its label in quotes; '
            'write "shop"'
        ),
    ),
    "a misspelt block beside a missing quote": (
        'integration "shop" {',
        'log {\n  level = "info\n}\n\nintegration "shop" {',
        'NB012 2:11 log: this string has no closing quote on its line; a `"` is missing',
    ),
    "no comma in a list": (
        '["order.created"]',
        '["order.created" "order.changed"]',
        'NB010 9:34 route "orders" > on: before this value a comma or an operator is missing',
    ),
}


@pytest.mark.parametrize("case", ONE_ERROR)
def test_one_mistake_is_one_error_at_its_place(case, tmp_path, adapters):
    """The mistake is named where it is, and nothing else is said: no mere consequence, such as a missing key."""
    old, new, wanted = ONE_ERROR[case]
    assert old in ORDERS
    assert complaints(ORDERS.replace(old, new, 1), tmp_path, adapters) == [wanted]


def test_one_mistake_does_not_hide_others(tmp_path, adapters):
    """Syntax errors in several places and files, and what is wrong with the meaning of the rest, come at once."""
    text = (
        ORDERS.replace("type = ", "type: ")
        .replace('"orders" {', '"orders {')
        .replace("> 0", ">> 0")
        .replace('"x"', '"x"\n  mehtod = 1')
    )
    (tmp_path / "a.hcl").write_text('log {\n  level = "inof"\n}\n')
    (tmp_path / "b.hcl").write_text("bridge {\n  name =\n}\n")
    (tmp_path / "c.hcl").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load([tmp_path], adapters=adapters, environ={})
    assert [f"{Path(one.location.file).name}:{one.location.line} {one.code}" for one in caught.value.diagnostics] == [
        "a.hcl:2 NB031",
        "b.hcl:2 NB010",
        "c.hcl:2 NB010",
        "c.hcl:8 NB012",
        "c.hcl:10 NB010",
        "c.hcl:21 NB021",
    ]


OTHER_LANGUAGES = {
    "YAML": 'integration:\n  shop:\n    type: json-rpc\nroute:\n  - on: "a"\n    integration: shop\n',
    "JSON": '{\n  "integration": { "shop": { "type": "json-rpc" } }\n}\n',
    "TOML": '# x\n[integration.shop]\ntype = "json-rpc"\n\n[[route]]\non = ["a"]\n',
}


@pytest.mark.parametrize("language", OTHER_LANGUAGES)
def test_another_language_is_one_error(language, tmp_path, adapters):
    """A file in another language is one error that names the language, and not one for each line."""
    found = complaints(OTHER_LANGUAGES[language], tmp_path, adapters)
    assert len(found) == 1
    assert f"this is {language}; the bridge's configuration is HCL; write `key = value`" in found[0]


@pytest.mark.parametrize("text", ["integration:\n", "type: json-rpc\n", "[shop]\n", "{\n"])
def test_a_mistake_is_not_another_language(text, tmp_path, adapters):
    """One line of another language in a file of HCL is an error of its own, beside which the rest is checked."""
    found = complaints(f"{text}{ORDERS}".replace('"a.b"', "4"), tmp_path, adapters)
    assert not any("this is" in line and "configuration is HCL" in line for line in found)
    assert any(" 18:" in line for line in found)


@pytest.mark.parametrize(
    "damage",
    [
        ('"orders"', '"orders'),
        ("{\n  type", "\n  type"),
        ('"shop" {', '"shop {'),
        ('"shop" {', "shop = {"),
        ('"shop" {', "{{"),
    ],
    ids=["quote elsewhere", "no brace", "quote", "equals sign", "two braces"],
)
def test_a_misspelt_block_that_is_damaged_is_not_missing(damage, tmp_path, adapters):
    """A block whose name is misspelt counts as the one that is meant, also in a file with errors of syntax."""
    text = ORDERS.replace("integration", "intergration", 1).replace(*damage, 1)
    found = complaints(text, tmp_path, adapters)
    assert found
    assert not any("NB050" in line for line in found)


@pytest.mark.parametrize(
    "head",
    ['integration "shop', 'integration shop"', 'integration "shop"', "integration: shop"],
    ids=["no closing quote", "no opening quote", "no brace", "nothing to know it by"],
)
def test_a_damaged_block_is_not_missing(head, tmp_path, adapters):
    """Routes to an integration whose block is damaged get no error for that."""
    brace = "" if head in {'integration "shop"', "integration: shop"} else " {"
    found = complaints(ORDERS.replace('integration "shop" {', f"{head}{brace}"), tmp_path, adapters)
    assert found
    assert not any("NB050" in line for line in found)


def test_a_damaged_value_is_not_missing(tmp_path, adapters):
    """Neither a key that must be there, nor a variable, nor a part of `auth` counts as missing if it is damaged."""
    text = (
        'variable "port" {\n  default = @\n}\n'
        'integration "shop" {\n  type = "json-rpc"\n  endpoint {\n    address = @\n    port    = var.port\n  }\n'
        '  auth {\n    type = @\n    token = "x"\n  }\n}\n'
        'route "r" {\n  on = @\n  integration = "shop"\n  operation = "request"\n  method = @\n}\n'
    )
    found = complaints(text, tmp_path, adapters)
    assert [line.split()[:2] for line in found] == [["NB010", f"{line}:{col}"] for line, col in _places(text)]


def _places(text):
    return [(number, line.index("@") + 1) for number, line in enumerate(text.splitlines(), 1) if "@" in line]


def test_a_file_without_indentation(tmp_path, adapters):
    """Where nothing is indented, the next block of the bridge's tells which one was not closed."""
    text = "".join(
        line.lstrip() + "\n" for line in ORDERS.replace('"orders.create"\n}', '"orders.create"').splitlines()
    )
    assert complaints(text, tmp_path, adapters) == [
        'NB011 8:1 route "orders": this block is not closed; a `}` is missing; write it before line 15'
    ]


def test_secrets_are_not_quoted(tmp_path, adapters):
    """What stands in `auth` without quotes may be a secret."""
    auth = '  auth {\n    type = "bearer"\n    token = hunter2 hunter3\n    key: hunter4\n    hunter5\n  }\n}\n\nroute'
    found = "\n".join(complaints(ORDERS.replace("}\n\nroute", auth, 1), tmp_path, adapters))
    assert "hunter" not in found
    assert found.count("is not a value; write a string in quotes, `env.NAME` or `var.name`") == 3


@pytest.mark.parametrize(
    "line",
    [
        "  x = >> 3\n",
        "}\n",
        "{\n",
        "a {\n",
        'x = "\n',
        'x = "${\n',
        "x = <<A\n",
        "/*\n",
        "[\n",
        "a b\n",
        '"\n',
        "x = [\n",
        "x = 1,\n",
        "((((((",
        '"${' * 10,
        "a { b = 1 ",
        "'\n",
        "x: 1\n",
    ],
)
def test_very_many_errors_take_bounded_time(line, tmp_path, adapters):
    """Very many errors in a file are found, in time that does not grow faster than the file.

    What compares each sign with each other one would need seconds for that many; it is a quarter of one. A slow machine
    needs more: there half of the file must take about half of the time.
    """

    def seconds(lines: int) -> float:
        (tmp_path / "a.hcl").write_text(line * lines)  # an odd number, so that quotes are not pairs by chance
        began = time.process_time()
        with pytest.raises(ConfigError):
            load([tmp_path], adapters=adapters, environ={})
        return time.process_time() - began

    whole = seconds(1_667)
    assert whole < 1 or whole < 3 * seconds(833)


@pytest.mark.parametrize("path", sorted(Path("examples").rglob("*.hcl")), ids=str)
def test_a_good_file_is_read_as_by_the_parser(path, monkeypatch):
    """On a file without errors both ways give the same blocks, keys and values, with the same places."""
    parsed = _blocks(path)

    def refused(text, budget):
        raise UnexpectedInputError(1, 1, 0)

    monkeypatch.setattr("bridge.config.hcl.parse", refused)
    assert _blocks(path) == parsed


def _blocks(path):
    """Return all blocks of a file and what was complained about, but for an error that only the parser finds."""
    diagnostics = Diagnostics()
    blocks = list(read_blocks(path, OURS, diagnostics, {}, Budget()))
    assert [one.message for one in diagnostics.all()] in ([], ["this is not HCL's syntax"])
    return blocks
