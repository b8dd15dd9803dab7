"""Write the tables of python-hcl2's grammar, by which the bridge parses HCL; see `bridge/config/grammar.py`."""

import json
import re
import sys
from collections import defaultdict
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from hcl2.parser import parser
from lark.lexer import PatternStr
from lark.parsers.lalr_analysis import Shift

from bridge.config.python_hcl2 import digest

END = "$END"


def tables() -> dict[str, Any]:
    """Return the tables; `_Tables` in `bridge/config/grammar.py` says what they are.

    The parser generator numbers states and rules in another order each time, so they are numbered anew.
    """
    grammar = parser()
    terminals, words = _terminals(grammar.parser.lexer_conf)
    patterns = {one.name: one.pattern.to_regexp() for one in terminals if one.name not in words}
    (ignored,) = grammar.parser.lexer_conf.ignore
    shapes = sorted({_shape(rule) for rule in grammar.rules})
    symbols = [*(one.name for one in terminals), END, *sorted({shape[0] for shape in shapes})]
    number = {name: index for index, name in enumerate(symbols)}
    table = grammar.parser.parser._parse_table  # noqa: SLF001 - lark has no public way to it
    first = table.start_states["start"]
    order = _order(table.states, first, number)
    sets: dict[tuple[int, ...], int] = {}
    lexers: dict[int, int] = {}
    states = []
    for state in order:
        row = table.states[state]
        accepted = tuple(sorted(number[name] for name in row if name in patterns or name in words))
        lexer = lexers.setdefault(sets.setdefault(accepted, len(sets)), len(lexers))
        shifts = sorted((number[name], order[target]) for name, (action, target) in row.items() if action is Shift)
        ends = defaultdict(list)
        for name, (action, rule) in row.items():
            if action is not Shift:
                ends[shapes.index(_shape(rule))].append(number[name])
        reductions = []
        for rule, names in sorted(ends.items()):
            reductions += [rule, sets.setdefault(tuple(sorted(names)), len(sets))]
        states.append([lexer, [symbol for symbol, _ in shifts], [target for _, target in shifts], reductions])
    everything = sets.setdefault(tuple(range(len(terminals))), len(sets))
    return {
        "notice": _notice(),
        "grammar": digest(),
        "start": order[first],
        "end": order[table.end_states["start"]],
        "patterns": patterns,
        "words": words,
        "keywords": _keywords(patterns, words),
        "ignored": ignored,
        "symbols": symbols,
        "sets": [list(one) for one in sets],
        "lexers": [*lexers, everything],
        "rules": [list(shape) for shape in shapes],
        "states": states,
    }


def _notice() -> list[str]:
    """Return where the grammar comes from, and the lines of its license, which go with it."""
    package = distribution("python-hcl2")
    license_file = next(file for file in package.files or () if file.name == "LICENSE")
    return [f"The grammar is that of {package.name} {package.version}.", *license_file.read_text().splitlines()]


def _terminals(lexing: Any) -> tuple[list[Any], dict[str, str]]:
    """Return the terminals in the order in which the lexer tries them, and those of them that are words or signs."""
    terminals = sorted(
        lexing.terminals, key=lambda one: (-one.priority, -one.pattern.max_width, -len(one.pattern.value), one.name)
    )
    words = {one.name: one.pattern.value for one in terminals if isinstance(one.pattern, PatternStr)}
    assert list(words) == [one.name for one in terminals][-len(words) :], "all patterns are tried before the words"
    assert not lexing.g_regex_flags
    assert not any(one.pattern.flags for one in terminals), "patterns have no flags"
    return terminals, words


def _keywords(patterns: dict[str, str], words: dict[str, str]) -> list[str]:
    """Return the words that the pattern of names reads as well. No other pattern of their priority reads one."""
    readers = {
        word: {name for name, one in patterns.items() if (found := re.match(one, text)) and found[0] == text}
        for word, text in words.items()
    }
    assert set().union(*readers.values()) <= {"NAME", "STRING_CHARS"}, readers
    return [word for word, names in readers.items() if "NAME" in names]


def _shape(rule: Any) -> tuple[str, str, int, bool]:
    """Return what a parser needs of a rule: `_Rule` in `bridge/config/grammar.py`."""
    assert not any(part.is_term and part.filter_out for part in rule.expansion), "all tokens are in the tree"
    inner = rule.origin.name.startswith("_")
    assert not (inner and rule.alias), "a rule is either spread or has a name of its own"
    name = "" if inner else rule.alias or rule.origin.name
    return str(rule.origin.name), str(name), len(rule.expansion), bool(rule.options.expand1 and not rule.alias)


def _order(states: Any, first: int, number: dict[str, int]) -> dict[int, int]:
    """Return the new number of each state that can be reached from the first one, in order of these numbers."""
    order = {first: 0}
    waiting = [first]
    for state in waiting:
        for name in sorted(states[state], key=number.__getitem__):
            action, target = states[state][name]
            if action is Shift and target not in order:
                order[target] = len(order)
                waiting.append(target)
    return order


def text() -> str:
    """Return the file: one line for each entry of its lists, so that a change shows as such."""
    parts = []
    for key, value in tables().items():
        if isinstance(value, list) and value and isinstance(value[0], list):
            lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in value)
            parts.append(f"{json.dumps(key)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Write the file; with --check, change nothing and exit with 1 if it would change."""
    file = Path(sys.argv[1])
    new = text()
    if file.exists() and file.read_text("utf-8") == new:
        return
    if "--check" in sys.argv[2:]:
        sys.exit(f"{file} is not what the installed python-hcl2 makes; run scripts/grammar")
    file.write_text(new, "utf-8")


if __name__ == "__main__":
    main()
