"""Parse HCL by python-hcl2's parser, with a cache in a directory that can be written.

Building the parser takes more than a second, reading it from its cache 50 ms. python-hcl2 keeps the cache beside its
own code, where a process cannot write if root installed it (a container, a system package), so that each start would
build it again. In that case the same grammar is opened with a cache in the user's own cache directory.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import hcl2.parser
from hcl2.postlexer import PostLexer
from lark import Lark, Token, Tree
from platformdirs import user_cache_path

#: Tokens of one configuration: some 2,500 routes. Each costs about 30 microseconds and 1 kB while it is parsed.
MAX_TOKENS: Final = 100_000
#: Characters of the text that cost as much as one more token.
_CHARACTERS: Final = 64


class TooLargeError(Exception):
    """A configuration has more tokens than it may have; `line` is where in the text that was noticed."""

    def __init__(self, line: int) -> None:
        super().__init__(f"a configuration has at most {MAX_TOKENS:,} names, values and signs in all its files")
        self.line = line


@dataclass(slots=True)
class Budget:
    """What may still be parsed of one configuration, in tokens."""

    left: int = MAX_TOKENS

    def take(self, amount: int, line: int) -> None:
        """Take tokens from the budget. Raises TooLargeError, with this line, where too few are left."""
        self.left -= amount
        if self.left < 0:
            raise TooLargeError(line)


def parse(text: str, budget: Budget) -> Tree[Token]:
    """Return the parse tree of a text, whose tokens are taken from the budget.

    Raises:
        lark.exceptions.UnexpectedInput: It is not HCL.
        TooLargeError: It has more tokens than are left.
    """
    budget.take(len(text) // _CHARACTERS, 1)
    # The grammar has no token for the end of the text, so it must end in a line break (as in `hcl2.parses_to_tree`).
    parser = _parser().parse_interactive(text + "\n")
    token: Token | None = None
    for token in parser.iter_parse():
        budget.take(1, token.line or 1)
    tree: Tree[Token] = parser.feed_eof(token)  # type: ignore[no-untyped-call]
    return tree


def forget() -> None:
    """Free the memory of the parser, about 15 MB; a sidecar needs it again only for a reload."""
    _parser.cache_clear()
    hcl2.parser.parser.cache_clear()


@cache
def _parser() -> Lark:
    beside = hcl2.parser.PARSER_FILE
    if beside.exists() or os.access(beside.parent, os.W_OK):
        found: Lark = hcl2.parser.parser()
        return found
    folder = user_cache_path("nemo-bridge")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return open_grammar(None)
    return open_grammar(folder / "hcl2.cache")


def open_grammar(file: Path | None) -> Lark:
    """Open python-hcl2's grammar as `hcl2.parser.parser` does, with this file as its cache, or None for no cache."""
    return Lark.open(
        "hcl2.lark",
        rel_to=hcl2.parser.__file__,
        parser="lalr",
        propagate_positions=True,
        postlex=PostLexer(),
        cache=str(file) if file else False,
    )
