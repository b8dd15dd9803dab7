"""HCL's native syntax (github.com/hashicorp/hcl, hclsyntax/spec.md): what is accepted, and what is refused.

The examples follow the rules of the specification's sections: structural elements, expressions, templates. python-hcl2
decides what is accepted. Where it differs from the specification, the difference stands in a table of its own, so that
a new version of it that behaves otherwise is noticed.
"""

import pytest
from lark.exceptions import UnexpectedInput

from bridge.config.grammar import Budget, parse

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
#: Valid, and yet refused: a comment in a value, other letters in names, strip markers, and functions of a namespace.
_REFUSED = (
    "/* x\n y */\na = /* z */ 1\n",
    "größe = 1\n",
    'a = "x ${~ b ~} y"\n',
    "a = x::f(1)\n",
)
#: Not valid, and yet accepted. The value is the one that is meant, so nobody is led astray.
_ACCEPTED = (
    "a = 1 b = 2\n",
    "a\n{\n}\n",
    'a "${b}" {\n}\n',
    "a = 1 +\n2\n",
    "a = 1\n+ 2\n",
    'a = "\\q"\n',
    "a = 010\n",
    "a {} b {}\n",
    'a "b"\n{\n}\n',
)


@pytest.mark.parametrize("text", [*_VALID, *_ACCEPTED])
def test_what_is_accepted(text: str) -> None:
    """It is read without a complaint about its syntax."""
    parse(text, Budget())


@pytest.mark.parametrize("text", [*_INVALID, *_REFUSED])
def test_what_is_refused(text: str) -> None:
    """It is a syntax error."""
    with pytest.raises(UnexpectedInput):
        parse(text, Budget())
