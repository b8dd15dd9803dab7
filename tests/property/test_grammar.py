"""Show that the bridge's parser of HCL accepts what python-hcl2's accepts, with the same tree, and nothing else."""

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.hcl_parser import by_python_hcl2, by_the_bridge

TOKEN = re.compile(r"[\w-]+|[ \t]+|.", re.DOTALL)
SIGNS = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    '"',
    "'",
    "=",
    "==",
    ",",
    ";",
    ":",
    ".",
    "~",
    "=>",
    "::",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
]
SIGNS += [
    "&&",
    "||",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "?",
    "...",
    ".*",
    "[*]",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\\",
    "#",
    "//",
    "/*",
    "*/",
]
SIGNS += [
    "${",
    "%{",
    "%{ if ",
    "%{ else }",
    "%{ endif }",
    "%{ for x in ",
    "%{ endfor }",
    "$${a}",
    "%%{b}",
    '\\"',
    '\\"x\\"',
]
SIGNS += [
    "<<EOT\n",
    "<<-E\n",
    " E\n",
    "EOT\n",
    "if",
    "in",
    "for",
    "for_each",
    "else",
    "endif",
    "endfor",
    "null",
    "true",
]
SIGNS += [
    "a",
    "b-c",
    "é",
    "\x00",
    "0",
    "-1",
    "1.5",
    "1e3",
    '"x"',
    "f(",
    "a = ",
    "b {\n",
    "}\n",
    "for a in b : ",
    "if c",
]
VALID = [
    "a = 1 + 2 * -b.c[0].d % f(1, g()...) \n",
    "a = !(b == c || d && e <= 1) ? [1, 2,\n 3] : {x = 1, y : 2\n z = 3}\n",
    'a "b" c {\n  d = "x${e["f"]}y%{ if g }h%{ else }i%{ endif }"\n  j {}\n}\n',
    "a = [for x in b : x if c]\nd = {for k, v in b : k => v...}\ne = b[*].c.*.d\n",
    "a = <<EOT\nx ${b}\nEOT\nb = <<-E\n  y\n  E\n/* c\n */ d = 1 # e\n",
    *(file.read_text("utf-8") for file in sorted(Path("bridge/recipes").glob("*.hcl"))),
]


@st.composite
def edited(draw: st.DrawFn) -> str:
    """Return a text with up to four edits, or signs in any order."""
    text = draw(st.sampled_from([*VALID, "", "a = ", 'a = "']))
    for _ in range(draw(st.integers(0, 4))):
        tokens = TOKEN.findall(text)
        at = draw(st.integers(0, len(tokens)))
        new = draw(st.lists(st.sampled_from(SIGNS), max_size=3))
        tokens[at : at + draw(st.integers(0, 2))] = new
        text = "".join(tokens)
    return text


@settings(max_examples=150, derandomize=True, database=None)
@given(edited())
def test_the_parsers_agree(text: str) -> None:
    """Both make the same tree of a text, or refuse it at the same place."""
    assert by_the_bridge(text) == by_python_hcl2(text)
