"""HCL's native syntax (github.com/hashicorp/hcl, hclsyntax/spec.md): what is accepted, and what is refused.

The examples follow the rules of the specification's sections: structural elements, expressions, templates. python-hcl2
decides what is accepted. Where it differs from the specification, the difference stands in a table of its own, with
what `check` says about it, so that a new version of it that behaves otherwise is noticed.
"""

from pathlib import Path

import pytest

from bridge.config.diagnostics import Diagnostics
from bridge.config.grammar import Budget, UnexpectedInputError, parse
from bridge.config.hcl import read_blocks

_VALID = (
    "a = 1\n",
    "a = 1",
    "a = 1\nb = 2\n",
    "a {\n}\n",
    "a {}\n",
    "a { b = 1 }\n",
    'a "b" "c" {\n}\n',
    "a b {\n}\n",
    "a {\n  b {\n    c = 1\n  }\n}\n",
    "# x\na = 1 # y\n",
    "// x\na = 1 // y\n",
    "a-b = 1\n",
    "_a = 1\n",
    "a = 12\n",
    "a = 1.5\n",
    "a = 1e3\n",
    "a = 1.5E-3\n",
    "a = 010\n",
    "a = true\n",
    "a = null\n",
    "a = -1\n",
    "a = !true\n",
    'a = "x"\n',
    'a = "\\n\\r\\t\\"\\\\\\u00e9\\U0001f600"\n',
    'a = "$${x} %%{x}"\n',
    'a = "x${b}y"\n',
    'a = "${"x"}"\n',
    'a = "%{ if b }x%{ else }y%{ endif }"\n',
    'a = "%{ for x in b }${x}%{ endfor }"\n',
    "a = <<EOT\nx\ny\nEOT\n",
    "a = <<-EOT\n  x\n  EOT\n",
    "a = [1, 2]\n",
    "a = [\n  1,\n  2,\n]\n",
    "a = []\n",
    "a = { b = 1 }\n",
    "a = { b = 1, c = 2 }\n",
    "a = {\n  b = 1\n  c = 2\n}\n",
    "a = { b : 1 }\n",
    'a = { "b" = 1 }\n',
    "a = { (b) = 1 }\n",
    "a = {}\n",
    "a = b[0]\n",
    "a = b.0\n",
    "a = b.c.d\n",
    "a = b[*].c\n",
    "a = b.*.c\n",
    "a = f(1, 2)\n",
    "a = f()\n",
    "a = f(b...)\n",
    "a = f(\n  1,\n  2,\n)\n",
    "a = 1 + 2 * 3 / 4 % 5 - 6\n",
    "a = 1 < 2 && 3 >= 4 || 5 != 6\n",
    "a = (1 + 2) * 3\n",
    "a = (\n 1 +\n 2\n)\n",
    "a = b ? 1 : 2\n",
    "a = b ? 1 : c ? 2 : 3\n",
    "a = [for x in b : x]\n",
    "a = [for k, v in b : v if v]\n",
    "a = {for k, v in b : k => v}\n",
    "a = {for k, v in b : k => v...}\n",
    "a = 1\r\nb = 2\r\n",
    "",
    "\n\n",
    "\ta\t=\t1\n",
    "/* x\n y */\na = 1\n",
)
_INVALID = (
    "a = 1, b = 2\n",
    "a { b = 1, c = 2 }\n",
    "a: 1\n",
    "a {\n",
    "}\n",
    'a = "x\n',
    "a =\n",
    "a =\n1\n",
    "1a = 1\n",
    "a = 'x'\n",
    "a 1 {\n}\n",
    "a == 1\n",
    "a = 1 >> 2\n",
    "a = b++\n",
    "a = [1 2]\n",
    "a = [, 1]\n",
    "a = [1,, 2]\n",
    "a = [1\n",
    "a = (1\n",
    'a = "${b"\n',
    "a = 0x10\n",
    "a = 1.\n",
    "a = .5\n",
    "/* x\na = 1\n",
    "a = <<EOT\nx\n",
    "a = <<\nx\n",
    "a = f(1 2)\n",
    "a = b ? 1\n",
    "a = 1 * / 2\n",
    "a = { b }\n",
    "a = b {\n}\n",
    'a { } "b"\n',
    "a = 1;\n",
    "a => 1\n",
    "a += 1\n",
    "a = [for x : x]\n",
    "a = `x`\n",
    "@a = 1\n",
    "a = \x00\n",
    "a = b and c\n",
    "a = b & c\n",
    "a = 2 ** 3\n",
    "a b\n",
    "a = b ?: c\n",
    "a = b in c\n",
    "a = b.c()\n",
)
#: Valid, and yet refused by python-hcl2; and what the complaint says to write instead, with its place.
_REFUSED = {
    "a = /* z */ 1\n": "1:5 a comment of this kind cannot stand inside of a value; write it before the key",
    "a = { größe = 1 }\n": (
        "1:7 a name without quotes has the letters a to z, digits, `_` and `-` only; "
        'in a map, write `"größe"` in quotes'
    ),
    "a = b.größe\n": (
        "1:7 a name without quotes has the letters a to z, digits, `_` and `-` only; "
        'write `["größe"]` in place of `.größe`'
    ),
    'a = "x ${~ b ~} y"\n': "1:10 `~` in a string is not supported; write `${…}`, without spaces around it",
    "a = x::f(1)\n": "1:6 functions of a namespace are not supported; write the function's name alone",
}
_BLOCK = 'c "d" {{\n  {0}\n}}\n'
_OWN_LINE = "write each key and each block on a line of its own"
_GOES_ON = (
    "a value that goes on in the next line stands in brackets; "
    "put the value in parentheses, `( … )`, or write it on one line"
)
_SHARED = f"stands on the same line as what is before it; {_OWN_LINE}"
#: Not valid, and yet accepted by python-hcl2; and the warning, with its place.
_ACCEPTED = {
    "c {\n  a = 1 b = 2\n}\n": f"2:9 {_SHARED}",
    "c {\n  a = 1 b {\n  }\n}\n": f"2:9 {_SHARED}",
    "c {} c {}\n": f"1:6 {_SHARED}",
    "x {} c {}\n": f"1:6 {_SHARED}",
    "c { a = 1 b = 2 }\n": f"1:11 a block on one line has no more than one key; {_OWN_LINE}",
    "c { a {} }\n": f"1:5 a block on one line has no block inside; {_OWN_LINE}",
    "c { a = 1\n}\n": "1:5 the `{` of a block ends its line; begin a new line behind it",
    "c {\n  a = 1 }\n": "2:9 this `}` needs a line of its own; begin a new line before it",
    "c\n{\n}\n": "2:1 the `{` of a block stands on the line of its name; write `{` at the end of line 1",
    'c "d"\n{\n}\n': "2:1 the `{` of a block stands on the line of its name; write `{` at the end of line 1",
    'c "${d}" {\n}\n': "1:3 a label has no `${…}`; write the text itself",
    "c {\n  a = 1 +\n2\n}\n": f"2:9 {_GOES_ON}",
    "c {\n  a = 1\n+ 2\n}\n": f"3:1 {_GOES_ON}",
    "c {\n  a = b ? 1\n  : 2\n}\n": f"3:3 {_GOES_ON}",
    "c {\n  a = { b = 1 + \n 2 }\n}\n": f"2:15 {_GOES_ON}",
    "c {\n  a = { b = 1 d = 2 }\n}\n": (
        "2:15 before this key of a map a comma or a line break is missing; write `,` before it"
    ),
    "c {\n  a = { b = 1\n  , d = 2 }\n}\n": (
        "3:3 a comma stands on the line of the value before it; write it at the end of line 2"
    ),
    'c {\n  a = "x\ny"\n}\n': (
        "2:7 a string ends on the line on which it begins; "
        "write `\\n` for a line break, or a text of several lines as `<<EOT`"
    ),
    'c "x\ny" {\n}\n': (
        "1:3 a string ends on the line on which it begins; "
        "write `\\n` for a line break, or a text of several lines as `<<EOT`"
    ),
}
#: Valid, and near to what is not: line breaks inside of brackets, blocks on one line, comments.
_PORTABLE = (
    "c {\n  a = (1 +\n  2)\n}\n",
    "c {\n  a = [1\n  , 2 +\n  3]\n}\n",
    "c {\n  a = f(1 +\n  2,\n  3)\n}\n",
    'c {\n  a = "${f(\n1)}"\n}\n',
    "c { a = [\n1\n] }\n",
    "c { a = 1 } # x\n",
    "c { }\nc {\n\n  # x\n}\n",
    "c {\n  a = 1 + 2 # x\n  b = 3\n}\n",
    "c {\n  a = b ? 1 : 2\n\n  /* x */ b = 3\n}\n",
    "c {\n  a = <<EOT\nx\nEOT\n  b = 1\n}\n",
    "c {\n  a = {\n    b = <<EOT\nx\nEOT\n    d = 1 == 2\n    e = 1, f = 2\n  }\n}\n",
    "c {\r\n  a = 1\r\n  b {\r\n  }\r\n}\r\n",
    "x { a = 1 b = 2 } x {\n  a = 1 +\n2\n}\n",
)


def _complaints(text: str, folder: Path) -> list[str]:
    """Return severity, place and text of what is wrong with a file whose block `c` is the bridge's."""
    (folder / "a.hcl").write_bytes(text.encode())
    diagnostics = Diagnostics()
    list(read_blocks(folder / "a.hcl", frozenset({"c"}), diagnostics, {}, Budget()))
    return [
        f"{one.severity} {one.code} {one.location.line}:{one.location.column} {one.message}; {one.hint}"
        for one in diagnostics.all()
    ]


@pytest.mark.parametrize("text", [*_VALID, *_ACCEPTED, *_PORTABLE])
def test_what_is_accepted(text: str) -> None:
    """It is read without a syntax error."""
    parse(text, Budget())


@pytest.mark.parametrize("text", [*_INVALID, *_REFUSED])
def test_what_is_refused(text: str) -> None:
    """It is a syntax error."""
    with pytest.raises(UnexpectedInputError):
        parse(text, Budget())


@pytest.mark.parametrize("text", _REFUSED)
def test_what_is_valid_but_refused(text: str, tmp_path: Path) -> None:
    """There is one error, with its place and what to write instead."""
    assert _complaints(text, tmp_path) == [f"error NB010 {_REFUSED[text]}"]


@pytest.mark.parametrize("text", _ACCEPTED)
def test_what_is_accepted_but_not_valid(text: str, tmp_path: Path) -> None:
    """There is one warning, with its place and the right form, so that a file that works goes on working."""
    assert _complaints(text, tmp_path) == [f"warning NB017 {_ACCEPTED[text]}"]


@pytest.mark.parametrize("text", _PORTABLE)
def test_what_is_valid_has_no_warning(text: str, tmp_path: Path) -> None:
    """HCL's grammar allows it, or it is in a block of others, which is left alone."""
    assert _complaints(text, tmp_path) == []
