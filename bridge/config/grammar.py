"""Parse HCL as python-hcl2 does, by tables of its grammar that are made beforehand.

`grammar.json` has the tables, which `scripts/grammar` writes: terminals, rules, and for each state of the parser what
follows (LALR(1)). To import python-hcl2 and its parser generator, and to prepare them, would take half of the time of a
start. Where the python-hcl2 that is installed has another grammar than the tables, it parses the text itself. Tests
compare the trees of both.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from bridge.config import python_hcl2
from bridge.config.tree import Part, Token, Tree

#: Tokens of one configuration: some 2,500 routes. Each costs about 10 microseconds and 1 kB while it is parsed.
MAX_TOKENS: Final = 100_000
#: Characters of the text that cost as much as one more token.
_CHARACTERS: Final = 64
_TABLES: Final = Path(__file__).with_name("grammar.json")
_LINE_BREAK: Final = "NL_OR_COMMENT"
_END: Final = "$END"
#: What takes a line break before it into its token. The grammar could not tell it from the end of a value.
_OPERATORS: Final = frozenset(
    {
        "ASTERISK",
        "DOUBLE_AMP",
        "DOUBLE_EQ",
        "DOUBLE_PIPE",
        "GEQ",
        "GT",
        "LEQ",
        "LT",
        "NEQ",
        "PERCENT",
        "PLUS",
        "QMARK",
        "SLASH",
    }
)


class TooLargeError(Exception):
    """A configuration has more tokens than it may have; `line` is where in the text that was noticed."""

    def __init__(self, line: int) -> None:
        super().__init__(f"a configuration has at most {MAX_TOKENS:,} names, values and signs in all its files")
        self.line = line


class UnexpectedInputError(Exception):
    """A text is not HCL.

    Attributes:
        line: The line of what cannot be there; at the end of the text, that of the last token.
        column: Its column.
        start: Its index in the text; None: the text ends too early.
        token: Its text, as far as some terminal of the grammar reads it.
    """

    def __init__(self, line: int, column: int, start: int | None, token: str = "") -> None:
        super().__init__(f"this is not HCL's syntax, at line {line}, column {column}")
        self.line = line
        self.column = column
        self.start = start
        self.token = token


class Budget(msgspec.Struct):
    """What may still be parsed of one configuration, in tokens."""

    left: int = MAX_TOKENS

    def take(self, amount: int, line: int) -> None:
        """Take tokens from the budget. Raises TooLargeError, with this line, where too few are left."""
        self.left -= amount
        if self.left < 0:
            raise TooLargeError(line)


def parse(text: str, budget: Budget) -> Tree:
    """Return the parse tree of a text, whose tokens are taken from the budget.

    Raises:
        UnexpectedInputError: It is not HCL.
        TooLargeError: It has more tokens than are left.
    """
    budget.take(len(text) // _CHARACTERS, 1)
    text += "\n"  # the grammar has no token for the end of the text, so it must end in a line break
    if not _tables_fit():
        return _parse_by_library(text, budget)
    parser = _Parser(text)
    token: Token | None = None
    for token in parser.tokens():
        budget.take(1, token.line)
        parser.feed(token)
    return parser.end(token)


def _parse_by_library(text: str, budget: Budget) -> Tree:
    try:
        tree = python_hcl2.parse(text)
    except python_hcl2.RefusedError as error:
        raise UnexpectedInputError(*error.args) from None
    waiting: list[Part] = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Tree):
            waiting += part.children
        else:
            budget.take(1, part.line)
    return tree


class _Rule(msgspec.Struct, array_like=True, frozen=True):
    """A rule of the grammar.

    Attributes:
        origin: The symbol that it makes.
        name: The name of its nodes; the empty string: its parts become children of the node around it.
        size: How many parts it has.
        single: Whether a node with one child only is left out.
    """

    origin: str
    name: str
    size: int
    single: bool


class _State(msgspec.Struct, array_like=True, frozen=True):
    """A state of the parser.

    Attributes:
        lexer: Which terminals are read in it.
        symbols: The symbols that lead to another state.
        targets: That state, for each of them.
        reductions: Each rule that ends here, and behind it the set of terminals before which it does.
    """

    lexer: int
    symbols: tuple[int, ...]
    targets: tuple[int, ...]
    reductions: tuple[int, ...]


class _Tables(msgspec.Struct, frozen=True):
    """What `scripts/grammar` has written.

    Attributes:
        grammar: What identifies the grammar: see `python_hcl2.digest`.
        start: The state at the beginning of a text.
        end: The state behind it.
        patterns: The terminals that are regular expressions, in the order in which they are tried.
        words: The terminals that are words or signs, in the order in which they are tried, after the patterns.
        keywords: Those words that a pattern, NAME, reads as well.
        ignored: The terminal that is left out everywhere.
        symbols: The names of all symbols, by their number in what follows.
        sets: Sets of terminals.
        lexers: The set of terminals that is read, of each kind of state; the last one has all terminals.
        rules: The rules.
        states: The states.
    """

    grammar: str
    start: int
    end: int
    patterns: dict[str, str]
    words: dict[str, str]
    keywords: tuple[str, ...]
    ignored: str
    symbols: tuple[str, ...]
    sets: tuple[tuple[int, ...], ...]
    lexers: tuple[int, ...]
    rules: tuple[_Rule, ...]
    states: tuple[_State, ...]


class _Lexer(msgspec.Struct, frozen=True):
    """Terminals that are read in some states: patterns, then words, and which words are names elsewhere."""

    patterns: tuple[tuple[str, Callable[[str, int], re.Match[str] | None]], ...]
    words: tuple[tuple[str, str], ...]
    keywords: dict[str, str]

    def match(self, text: str, position: int) -> tuple[str, str] | None:
        """Return the name of the terminal that is at this position, and its text; None if there is none."""
        for name, match in self.patterns:
            found = match(text, position)
            if found is not None:
                token = found[0]
                return (self.keywords.get(token, name) if name == "NAME" else name), token
        for name, word in self.words:
            if text.startswith(word, position):
                return name, word
        return None


class _Grammar(msgspec.Struct):
    """The tables, as far as texts have needed them: most states occur in no configuration."""

    tables: _Tables
    _rows: dict[int, dict[str, int]] = msgspec.field(default_factory=dict)
    _lexers: dict[int, _Lexer] = msgspec.field(default_factory=dict)

    def row(self, state: int) -> dict[str, int]:
        """Return what follows in a state for each symbol: the next state, or the complement of the rule that ends."""
        row = self._rows.get(state)
        if row is None:
            tables = self.tables
            names = tables.symbols
            one = tables.states[state]
            row = {names[symbol]: target for symbol, target in zip(one.symbols, one.targets, strict=True)}
            for rule, terminals in zip(one.reductions[::2], one.reductions[1::2], strict=True):
                row.update(dict.fromkeys([names[terminal] for terminal in tables.sets[terminals]], ~rule))
            self._rows[state] = row
        return row

    def lexer(self, number: int) -> _Lexer:
        """Return one kind of lexer; the last one, -1, reads all terminals."""
        lexer = self._lexers.get(number)
        if lexer is None:
            tables = self.tables
            names = {tables.symbols[terminal] for terminal in tables.sets[tables.lexers[number]]} | {tables.ignored}
            keywords = [name for name in tables.keywords if name in names and "NAME" in names]
            lexer = _Lexer(
                tuple((name, re.compile(one).match) for name, one in tables.patterns.items() if name in names),
                tuple((name, word) for name, word in tables.words.items() if name in names and name not in keywords),
                {tables.words[name]: name for name in keywords},
            )
            self._lexers[number] = lexer
        return lexer


@cache
def _grammar() -> _Grammar:
    return _Grammar(msgspec.json.decode(_TABLES.read_bytes(), type=_Tables))


@cache
def _tables_fit() -> bool:
    """Return whether the tables were made of the grammar of the python-hcl2 that is installed."""
    return python_hcl2.digest() in {None, _grammar().tables.grammar}


class _Parser:
    """Parse one text."""

    def __init__(self, text: str) -> None:
        self._grammar = _grammar()
        self._text = text
        self._position = 0
        self._line = 1
        self._line_start = 0
        self._states = [self._grammar.tables.start]
        self._values: list[Part | list[Part]] = []

    def tokens(self) -> Iterator[Token]:
        """Yield the tokens; each must be fed before the next one is read, since the state decides what is read.

        A line break before an operator becomes a part of it. It is fed after the token behind it has been read.
        """
        line_break: Token | None = None
        while (token := self._read()) is not None:
            if token.type == _LINE_BREAK:
                if line_break is not None:
                    yield line_break
                line_break = token
                continue
            if line_break is not None:
                if token.type in _OPERATORS:
                    token = _placed(Token(token.type, line_break + token), token)
                else:
                    yield line_break
                line_break = None
            yield token
        if line_break is not None:
            yield line_break

    def feed(self, token: Token) -> None:
        """Take the next token.

        Raises:
            UnexpectedInputError: It cannot be there.
        """
        states, values = self._states, self._values
        grammar = self._grammar
        rules = grammar.tables.rules
        while True:
            action = grammar.row(states[-1]).get(token.type)
            if action is None:
                start = None if token.type == _END else token.start_pos
                raise UnexpectedInputError(token.line, token.column, start, token)
            if action >= 0:
                states.append(action)
                values.append(token)
                return
            rule = rules[~action]
            parts = values[len(values) - rule.size :]
            del states[len(states) - rule.size :]
            del values[len(values) - rule.size :]
            values.append(_made(rule, parts))
            states.append(grammar.row(states[-1])[rule.origin])
            if states[-1] == grammar.tables.end:
                return

    def end(self, last: Token | None) -> Tree:
        """Return the tree of the whole text, whose last token this was.

        Raises:
            UnexpectedInputError: The text ends too early.
        """
        end = Token(_END, "")
        end.line = end.column = 1
        self.feed(end if last is None else _placed(end, last))
        tree = self._values[-1]
        assert isinstance(tree, Tree)  # noqa: S101 - the grammar's first rule makes a node
        return tree

    def _read(self) -> Token | None:
        """Return the next token; None at the end of the text.

        Raises:
            UnexpectedInputError: There is none that can be there.
        """
        tables = self._grammar.tables
        lexer = self._grammar.lexer(tables.states[self._states[-1]].lexer)
        while self._position < len(self._text):
            found = lexer.match(self._text, self._position)
            if found is None:
                raise self._unexpected()
            token = self._take(*found)
            if token.type != tables.ignored:
                return token
        return None

    def _take(self, name: str, text: str) -> Token:
        token = Token(name, text)
        token.line, token.column = self._line, self._position - self._line_start + 1
        token.start_pos = self._position
        breaks = text.count("\n")
        if breaks:
            self._line += breaks
            self._line_start = self._position + text.rindex("\n") + 1
        self._position += len(text)
        token.end_line, token.end_column = self._line, self._position - self._line_start + 1
        token.end_pos = self._position
        return token

    def _unexpected(self) -> UnexpectedInputError:
        """Return the error of what is here: a token that is none in this state, or no token at all."""
        found = self._grammar.lexer(-1).match(self._text, self._position)
        column = self._position - self._line_start + 1
        return UnexpectedInputError(self._line, column, self._position, "" if found is None else found[1])


def _placed(token: Token, place: Token) -> Token:
    """Give a token the place of another one."""
    token.line, token.column, token.start_pos = place.line, place.column, place.start_pos
    token.end_line, token.end_column, token.end_pos = place.end_line, place.end_column, place.end_pos
    return token


def _made(rule: _Rule, parts: list[Part | list[Part]]) -> Part | list[Part]:
    """Return what a rule makes of its parts: a node, or the children that it gives to the node around it."""
    children: list[Part] = []
    for part in parts:
        if not isinstance(part, list):
            children.append(part)
        elif children:
            children += part
        else:
            children = part  # lists grow at their end, so that one is not copied with each of its items
    if not rule.name:
        return children
    return children[0] if rule.single and len(children) == 1 else Tree(rule.name, children)
