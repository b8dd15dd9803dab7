"""Find, read and parse the files of a configuration; each fault becomes a diagnostic."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.config import departures, nemo
from bridge.config.diagnostics import Diagnostics, Fault
from bridge.config.expression_parser import MAX_DEPTH, ExpressionReader
from bridge.config.grammar import Budget, TooLargeError, UnexpectedInputError, parse
from bridge.config.keys import block_meant, is_of_nemo, misplaced_block
from bridge.config.syntax import Attribute, Block
from bridge.config.tree import DAMAGED, LOST, Tree, trees
from bridge.core.diagnostic import Code, Location, Related, Span
from bridge.core.files import read_regular
from bridge.core.near import near_name

if TYPE_CHECKING:
    from bridge.config.recovery import Recovered
    from bridge.config.scanner import SyntaxFault

#: Bytes. A configuration is text that a person writes; a larger file is something else. To find the end of one long
#: text, the regular expressions of the parser take up to 200 times as much memory.
MAX_FILE_SIZE: Final = 512 << 10
#: How alike the name of a foreign block must be to one of ours for a warning; `resource` is not `route`.
_NEAR: Final = 0.65
_OURS_IS_HCL: Final = "the bridge's configuration is HCL, in a file of its own, which docs/nemo.md shows"


def find_files(paths: Sequence[Path], diagnostics: Diagnostics) -> list[Path]:
    """Return the files to read, each once: a path as it is, a directory as its `*.hcl` files in order of name.

    Hidden files are left out, as in a shell; editors keep their own in them. All others are returned, also those that
    cannot be read: a part of the configuration must not be missed silently.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112  # Path.is_dir, up to 3.13, raises where we have no permission
            inside = sorted(one for one in path.glob("*.hcl") if not (one.name.startswith(".") or os.path.isdir(one)))  # noqa: PTH112
            if not inside:
                message = f"the directory holds no *.hcl file{_beside_nemo(path)}"
                diagnostics.add(Location(str(path)), "", message, code=Code.UNREADABLE_FILE)
            found.update(dict.fromkeys(inside))
        else:
            found[path] = None
    if not paths:
        diagnostics.add(Location("configuration"), "", "no file was named", code=Code.UNREADABLE_FILE)
    return list(found)


def read_blocks(
    path: Path, ours: frozenset[str], diagnostics: Diagnostics, ignored: dict[str, int], budget: Budget
) -> Iterator[Block]:
    """Return the blocks of one file whose type is in `ours`; count the others in `ignored` and do not read them.

    All files of a configuration share the budget; what is after its end is not read.
    """
    file = str(path)
    if budget.left < 0:
        return
    text = _read_text(path, diagnostics)
    if text is None:
        return
    of_nemo = nemo.recognise(path.name, text)
    if of_nemo is not None:
        message = f"this is Nemo's own file ({of_nemo[1]})"
        diagnostics.add(Location(file, of_nemo[0]), "", message, code=Code.FILE_OF_NEMO, hint=_OURS_IS_HCL)
        return
    try:
        tree, intact = _parse(file, text, ours, diagnostics, budget)
    except TooLargeError as error:
        diagnostics.add(Location(file, error.line), "", str(error), code=Code.TOO_LARGE)
        return
    reader = _FileReader(file, ExpressionReader(text, budget), diagnostics, intact=intact)
    before: Tree | None = None
    for node in trees(trees(tree.children)[0].children):
        if node.data in {"attribute", "block"}:
            neighbours, before = (before, node), node
        if node.data == "block":
            kind = reader.name(node)
            meant = kind if kind in ours else block_meant(kind, reader.keys(node), ours)
            if meant is None:
                ignored[kind] = ignored.get(kind, 0) + 1
                _warn_of_ignored(kind, node, reader, ours, diagnostics)
                continue
            block = reader.block(node, "")
            reader.warn_of_shared_line(neighbours, str(block))
            if meant != kind:
                hint = f"did you mean `{meant}`?"
                diagnostics.add(
                    block.location, str(block), "there is no such block", code=Code.UNKNOWN_BLOCK, hint=hint
                )
            yield msgspec.structs.replace(block, type=meant)
        elif node.data == "attribute":
            name = reader.name(node)
            meant = name if name in ours or not reader.holds_parts(node) else block_meant(name, (), ours)
            if meant in ours:
                message, code = "is a block", Code.BLOCK_OR_KEY
                if meant != name:
                    message, code = "there is no such block", Code.UNKNOWN_BLOCK
                hint = f"write `{meant} {{ … }}`"
                diagnostics.add(reader.name_location(node), name, message, code=code, hint=hint)
                diagnostics.lose_block()
            else:
                ignored[name] = ignored.get(name, 0) + 1
        elif node.data == LOST or (node.data == DAMAGED and _may_be_ours(reader.name(node), ours)):
            diagnostics.lose_block()


def _may_be_ours(name: str, ours: frozenset[str]) -> bool:
    """Return whether what could not be read is perhaps one of our blocks; its keys are not known."""
    return name in ours or block_meant(name, (), ours) is not None


def _parse(file: str, text: str, ours: frozenset[str], diagnostics: Diagnostics, budget: Budget) -> tuple[Tree, bool]:
    """Return the tree of a text, and whether it has no syntax errors.

    Where it has some, add a diagnostic for each, and leave out what they damage.

    Raises:
        TooLargeError: It has more tokens than are left.
    """
    left = budget.left
    try:
        return parse(text, budget), True
    except UnexpectedInputError as error:
        place = Span(*_position(error, text))
    from bridge.config.recovery import recover  # noqa: PLC0415 - most files are whole

    budget.left = left  # what follows looks at the same tokens
    recovered = recover(text, ours, budget)
    for subject, fault in recovered.faults:
        _report(file, subject, fault, recovered, diagnostics)
    if not recovered.faults:
        diagnostics.add(Location(file, *place), "", "this is not HCL's syntax", code=Code.SYNTAX)
    return recovered.tree, False


def _report(file: str, block: str, fault: "SyntaxFault", recovered: "Recovered", diagnostics: Diagnostics) -> None:
    location = Location(file, *recovered.source.span(fault.start, fault.end))
    subject = " > ".join(filter(None, (block, fault.key)))
    message, hint = fault.message, fault.hint
    if fault.code == Code.SYNTAX and block.endswith("> auth"):
        # What is no value may be a secret without its quotes.
        message, hint = "is not a value", "write a string in quotes, `env.NAME` or `var.name`"
    related: tuple[Related, ...] = ()
    if fault.other is not None:
        start, end, label = fault.other
        related = (Related(Location(file, *recovered.source.span(start, end)), label),)
    diagnostics.add(location, subject, message, code=fault.code, hint=hint, related=related)


def _position(error: UnexpectedInputError, text: str) -> tuple[int, int]:
    """Return line and column of an error; those of the end where it is behind the text."""
    last = text.rstrip().count("\n") + 1
    if not error.line or not 0 < error.line <= last:
        return last, 0
    return error.line, max(error.column, 0)


def _warn_of_ignored(
    kind: str, node: Tree, reader: "_FileReader", ours: frozenset[str], diagnostics: Diagnostics
) -> None:
    """Warn of a block that is none of ours, where it was probably meant as one."""
    meant = near_name(kind, ours, cutoff=_NEAR)
    hint = misplaced_block(kind, reader.keys(node)) or (f"did you mean `{meant}`?" if meant else "")
    if hint and not is_of_nemo(kind):
        message = "is ignored, because the bridge has no such block"
        diagnostics.warn(reader.head(node), kind, message, code=Code.UNKNOWN_BLOCK, hint=hint)


class _FileReader:
    """Turn the parse tree of one file into blocks.

    Args:
        file: The file.
        reader: Reads its expressions.
        diagnostics: Takes what is wrong.
        intact: Whether the file has no syntax errors. Only then it is compared with HCL's grammar.
    """

    def __init__(self, file: str, reader: ExpressionReader, diagnostics: Diagnostics, *, intact: bool) -> None:
        self._file = file
        self._reader = reader
        self._diagnostics = diagnostics
        self._intact = intact

    def location(self, node: Tree) -> Location:
        return Location(self._file, *self._reader.span(node))

    def name_location(self, node: Tree) -> Location:
        """Return the location of the name of a block or an attribute."""
        return self.location(trees(node.children)[0])

    def keys(self, node: Tree) -> set[str]:
        """Return the keys of a block, and the types of the blocks in it."""
        parts = trees(trees(node.children)[-1].children)
        return {self.name(part) for part in parts if part.data in {"attribute", "block", DAMAGED}}

    def holds_parts(self, node: Tree) -> bool:
        """Return whether the value of an attribute is written as a map or a list."""
        return self._reader.source(trees(node.children)[-1]).startswith(("{", "["))

    def head(self, node: Tree) -> Location:
        """Return the location of a block's type and labels."""
        parts = trees(node.children)
        first, last = self._reader.span(parts[0]), self._reader.span(parts[-2])
        return Location(self._file, first.line, first.column, last.end_line, last.end_column)

    def name(self, node: Tree) -> str:
        return str(trees(node.children)[0].children[0])

    def warn_of_shared_line(self, neighbours: tuple[Tree | None, Tree], subject: str) -> None:
        """Warn where a block begins on the line on which what is before it ends."""
        parts = [part for part in neighbours if part is not None]
        self._warn_of(departures.same_line(parts), subject)

    def _warn_of(self, found: Iterable[departures.Departure], subject: str) -> None:
        """Warn of what HCL's grammar does not allow."""
        for one in found if self._intact else ():
            location = Location(self._file, *one.span)
            self._diagnostics.warn(location, subject, one.message, code=Code.NOT_PORTABLE, hint=one.hint)

    def block(self, node: Tree, outer: str, depth: int = 0) -> Block:
        parts = trees(node.children)
        labels = tuple(self._label(part) for part in parts[1:] if part.data in {"string", "identifier"})
        kind = self.name(node)
        subject = outer + " ".join([kind, *(f'"{label}"' for label in labels)])
        attributes: dict[str, Attribute] = {}
        blocks: list[Block] = []
        damaged: set[str] = set()
        complete = True
        self._warn_of(departures.of_block(node), subject)
        for child in trees(parts[-1].children):
            if child.data == "attribute":
                attribute = self._attribute(child, kind, subject)
                if attribute is None:
                    damaged.add(self.name(child))
                    continue
                first = attributes.setdefault(attribute.name, attribute)
                if first is not attribute:
                    self._diagnostics.add(
                        attribute.location,
                        f"{subject} > {attribute.name}",
                        f"given twice; the first is on line {first.location.line}",
                        code=Code.GIVEN_TWICE,
                        related=(Related(first.location, "first given here"),),
                    )
            elif child.data == "block" and depth >= MAX_DEPTH:
                message = f"nested more than {MAX_DEPTH} deep"
                self._diagnostics.add(self.head(child), subject, message, code=Code.TOO_LARGE)
            elif child.data == "block":
                blocks.append(self.block(child, f"{subject} > ", depth + 1))
            elif child.data == DAMAGED:
                damaged.add(self.name(child))
            elif child.data == LOST:
                complete = False
        return Block(
            kind,
            labels,
            tuple(attributes.values()),
            tuple(blocks),
            self.head(node),
            damaged=frozenset(damaged),
            complete=complete,
        )

    def _label(self, node: Tree) -> str:
        text = self._reader.source(node)
        return text[1:-1] if node.data == "string" else text

    def _attribute(self, node: Tree, kind: str, subject: str) -> Attribute | None:
        name = self.name(node)
        try:
            value = trees(node.children)[-1]
            self._warn_of(departures.of_value(value), f"{subject} > {name}")
            return Attribute(name, self._reader.read(value), self.name_location(node), self.location(value))
        except Fault as fault:
            self._diagnostics.fault(fault, Location(self._file), f"{subject} > {name}", kind)
            return None


def _beside_nemo(folder: Path) -> str:
    """Return the end of a message about a folder without a configuration, where a Nemo application is in it."""
    there = [name for name in nemo.FILES if os.path.isfile(folder / name)]  # noqa: PTH113 - see `find_files`
    return f"; `{there[0]}` is Nemo's own file, and {_OURS_IS_HCL}" if there else ""


def _read_text(path: Path, diagnostics: Diagnostics) -> str | None:
    location = Location(str(path))
    try:
        data = read_regular(path, MAX_FILE_SIZE)
    except FileNotFoundError:
        diagnostics.add(location, "", "there is no such file", code=Code.UNREADABLE_FILE)
        return None
    except OSError as error:
        diagnostics.add(location, "", f"cannot be read: {error.strerror or error}", code=Code.UNREADABLE_FILE)
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        diagnostics.add(Location(str(path), line), "", "is not UTF-8 text", code=Code.UNREADABLE_FILE)
        return None
