"""Recognise a file in another language than HCL, so that one complaint says so, and not one for each line."""

from collections.abc import Iterator, Sequence

from bridge.config.scanner import Piece, Source


def recognise(source: Source, pieces: Sequence[Piece]) -> tuple[str, Piece] | None:
    """Return the language that a file is written in, and the sign that shows it; None where it may be HCL.

    A file with a mistake in HCL is not taken for another language: most of its lines must be of that one.
    """
    lines = list(_lines(pieces))
    if not lines:
        return None
    first = _texts(source, lines[0])
    if first[0] in {"{", "["} and _is_json(source, pieces):
        return "JSON", lines[0][0]
    tables = [line for line in lines if _is_table(_texts(source, line))]
    if tables and len(tables) >= sum(_opens_block(_texts(source, line)) for line in lines):
        return "TOML", tables[0][0]
    of_yaml = [line for line in lines if _is_of_yaml(_texts(source, line))]
    if of_yaml and of_yaml[0] is lines[0] and 2 * len(of_yaml) > len(lines):
        return "YAML", lines[0][0]
    return None


def _lines(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    line: list[Piece] = []
    for piece in pieces:
        if piece.kind != "newline":
            line.append(piece)
        elif line:
            yield line
            line = []
    if line:
        yield line


def _texts(source: Source, line: Sequence[Piece]) -> list[str]:
    return [source.text[piece.start : piece.end] for piece in line]


def _is_json(source: Source, pieces: Sequence[Piece]) -> bool:
    """Return whether a file that begins with a bracket goes on as JSON does: with a string, and a colon or comma."""
    found = [piece for piece in pieces if piece.kind != "newline"]
    return len(found) > 2 and found[1].kind in {"string", "open"} and _texts(source, found[-1:])[0] in {"}", "]"}


def _is_table(line: Sequence[str]) -> bool:
    """Return whether a line is the head of a table of TOML: `[a.b]` or `[[a]]`."""
    inside = [text for text in line if text not in {"[", "]", "."}]
    return (
        line[0] == "["
        and line[-1] == "]"
        and bool(inside)
        and all(text[0] in '"_' or text[0].isalpha() for text in inside)
    )


def _opens_block(line: Sequence[str]) -> bool:
    return line[-1] == "{"


def _is_of_yaml(line: Sequence[str]) -> bool:
    """Return whether a line is one of YAML: `key:`, `key: value`, `- item` or `---`."""
    return line[0] == "-" or (len(line) > 1 and line[1] == ":" and "{" not in line[-1:])
