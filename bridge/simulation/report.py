"""Write the results of the tests of a configuration as lines of text, for a person."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from bridge.core.diagnostic import Location
from bridge.core.printable import printable
from bridge.core.redaction import Redactor
from bridge.simulation.cases import CaseResult
from bridge.simulation.expectations import Failure, title
from bridge.simulation.replay import Replay
from bridge.simulation.texts import clock_time
from bridge.simulation.timeline import Line, timeline

#: The most lines of a timeline that are shown with a failure, and how many of them are before its place.
_MOST: Final = 30
_BEFORE: Final = 20

Kind = Literal["passed", "failed", "title", "expected", "came", "note", "line", "trouble", "plain"]


class TextLine(msgspec.Struct, frozen=True):
    """One line of a report.

    Attributes:
        text: It.
        kind: What it is, for its colour.
    """

    text: str
    kind: Kind = "plain"


def report(
    results: Sequence[CaseResult], source: str, redactor: Redactor, *, whole: bool = False
) -> Iterator[TextLine]:
    """Return the report of all tests: a line for each, the reasons of failures, and the sums.

    Args:
        results: What came of the tests, in order.
        source: The `source` of the bridge's own events.
        redactor: Masks the secrets.
        whole: Show the whole timeline of each test, also of those that have passed.
    """
    for result in results:
        name = printable(redactor.text(result.case.name))
        remark = "" if result.case.expectations else ", expects nothing"
        head = f"{'ok' if result.ok else 'FAILED':<6}  {name}  ({clock_time(result.ended_ms)}{remark})"
        yield TextLine(head, "passed" if result.ok else "failed")
        if not result.ok:
            yield from _reasons(result, redactor)
        if whole or not result.ok:
            yield from _timeline(timeline(result.record, source, redactor), result.failures, whole=whole)
    failed = sum(not result.ok for result in results)
    many = f"{len(results)} test{'' if len(results) == 1 else 's'}"
    if failed:
        yield TextLine(f"{many}: {len(results) - failed} passed, {failed} failed", "failed")
    else:
        yield TextLine(f"{many} passed", "passed")


def replay_report(result: Replay, source: str, redactor: Redactor) -> Iterator[TextLine]:
    """Return the report of a recording: its faults, all that happened, and the invariants that do not hold.

    Args:
        result: What came of it.
        source: The `source` of the bridge's own events.
        redactor: Masks the secrets.
    """
    for fault in result.faults:
        yield TextLine(f"fault {fault}", "note")
    for line in timeline(result.record, source, redactor):
        yield TextLine(str(line), "trouble" if line.failed else "line")
    for note in result.notes:
        yield TextLine(f"note: {printable(redactor.text(note))}", "note")
    for broken in result.broken:
        yield TextLine(f"does not hold: {printable(redactor.text(broken))}", "failed")
    if not result.broken:
        yield TextLine("all invariants hold", "passed")


def _reasons(result: CaseResult, redactor: Redactor) -> Iterator[TextLine]:
    for failure in result.failures:
        yield TextLine("")
        yield TextLine(
            f"    {place(failure.expectation.location)}: expected {title(failure.expectation, redactor)}", "title"
        )
        for line in failure.lines:
            kind: Kind = "plain"
            if line.startswith("  - "):
                kind = "expected"
            elif line.startswith("  + "):
                kind = "came"
            yield TextLine(f"      {line}", kind)
    for note in result.notes:
        yield TextLine("")
        yield TextLine(f"    note: {printable(redactor.text(note))}", "note")


def _timeline(lines: Sequence[Line], failures: Sequence[Failure], *, whole: bool) -> Iterator[TextLine]:
    first, end = (0, len(lines)) if whole else _around(lines, failures)
    yield TextLine("")
    yield TextLine("    what happened, in virtual time:", "title")
    if first:
        yield TextLine(f"      … {_lines(first)} before; --timeline shows all", "note")
    for line in lines[first:end]:
        yield TextLine(f"      {line}", "trouble" if line.failed else "line")
    if end < len(lines):
        yield TextLine(f"      … {_lines(len(lines) - end)} after; --timeline shows all", "note")
    if not lines:
        yield TextLine("      nothing", "note")
    yield TextLine("")


def _around(lines: Sequence[Line], failures: Sequence[Failure]) -> tuple[int, int]:
    """Return which lines to show: those around the place of the first failure that has one, else the first ones."""
    places = [failure.at_ms for failure in failures if failure.at_ms is not None]
    at = 0
    if places:
        at = next((number for number, line in enumerate(lines) if line.at_ms >= places[0]), len(lines))
    first = max(0, min(at - _BEFORE, len(lines) - _MOST))
    return first, min(first + _MOST, len(lines))


def _lines(count: int) -> str:
    return f"{count} line{'' if count == 1 else 's'}"


def place(location: Location) -> str:
    """Return a place in a file; of a file with an absolute path only its name, which is the same on each machine."""
    path = Path(location.file)
    return f"{path.name if path.is_absolute() else path.as_posix()}:{location.line}"
