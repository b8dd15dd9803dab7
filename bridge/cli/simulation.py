"""The commands `nemo-bridge test` and `simulate`: run a configuration on virtual time, without connecting it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from rich.text import Text

from bridge.bus import read_events
from bridge.cli import sidecar
from bridge.cli.exit_codes import ExitCode
from bridge.cli.terminal import console
from bridge.config.case_models import Case
from bridge.config.diagnostics import did_you_mean
from bridge.core.errors import InvalidError
from bridge.core.printable import printable
from bridge.core.redaction import Redactor
from bridge.simulation.cases import run_case
from bridge.simulation.replay import first_broken, read_trace, replay
from bridge.simulation.report import Kind, TextLine, replay_report, report

_STYLES: Final[dict[Kind, str]] = {
    "passed": "green",
    "failed": "bold red",
    "title": "bold",
    "expected": "green",
    "came": "red",
    "note": "yellow",
    "trouble": "red",
    "line": "",
    "plain": "",
}
_HOW: Final = 'add one, as in `test "an order is confirmed" { step { … } expect { … } }`; docs/testing.md shows more'


def run_tests(files: Sequence[Path], pairs: Sequence[str], *, chosen: str, timeline: bool) -> ExitCode:
    """Run the tests of a configuration and print their report.

    Args:
        files: HCL files, or directories of them.
        pairs: Variables, as `NAME=VALUE`.
        chosen: Only tests with this text in their names; empty: all.
        timeline: Show the whole timeline of each test.

    Returns:
        The exit code: 1 where a test has failed.

    Raises:
        ConfigError: The configuration has faults.
        InvalidError: There is no test, or none of that name.
    """
    configuration = sidecar.read(files, pairs, with_placeholders=True)
    redactor = Redactor(configuration.secrets)
    results = [run_case(configuration, case, redactor) for case in _chosen(configuration.cases, chosen)]
    _print(report(results, configuration.bridge.source, redactor, whole=timeline))
    return ExitCode.OK if all(result.ok for result in results) else ExitCode.FAILED


def simulate(
    files: Sequence[Path],
    pairs: Sequence[str],
    *,
    trace: Path,
    faults: Path | None,
    seed: int | None,
    seeds: int | None,
) -> ExitCode:
    """Play a recording through a configuration and print what happened; or try many seeds.

    Args:
        files: HCL files, or directories of them.
        pairs: Variables, as `NAME=VALUE`.
        trace: A recording of `tap --record`.
        faults: A file of `step` and `remote` blocks.
        seed: Of random faults; with `seeds` the first one.
        seeds: How many seeds to try; None: run once and show all that happens.

    Returns:
        The exit code: 1 where an invariant does not hold.

    Raises:
        ConfigError: The configuration, or the file of faults, has faults.
        InvalidError: The recording cannot be read, or has no event of a program.
    """
    configuration = sidecar.read(files, pairs, with_placeholders=True, faults=faults)
    redactor, source = Redactor(configuration.secrets), configuration.bridge.source
    try:
        with trace.open("rb") as file:
            events = read_trace(read_events(file))
    except OSError as error:
        raise InvalidError(f"{trace}: {error.strerror}") from None
    if not events.events:
        raise InvalidError(f"{trace}: the recording has no event of a program")
    first = seed or 0
    if seeds is None:
        found = replay(configuration, events, seed=seed)
        _print(replay_report(found, source, redactor))
        return ExitCode.FAILED if found.broken else ExitCode.OK
    broken = first_broken(configuration, events, range(first, first + seeds))
    many = f"{seeds} seed{'' if seeds == 1 else 's'}"
    if broken is None:
        _print([TextLine(f"{many}: all invariants hold", "passed")])
        return ExitCode.OK
    number, found = broken
    _print(replay_report(found, source, redactor))
    _print([TextLine(f"seed {number} is the first of {many} with which an invariant does not hold", "failed")])
    return ExitCode.FAILED


def _chosen(cases: Sequence[Case], text: str) -> list[Case]:
    if not cases:
        raise InvalidError(f"there is no `test` block; {_HOW}")
    found = [case for case in cases if text.casefold() in case.name.casefold()]
    if not found:
        names = [case.name for case in cases]
        raise InvalidError(f"no test has {text!r} in its name; {did_you_mean(text, names) or _listed(names)}")
    return found


def _listed(names: Sequence[str]) -> str:
    return "there are " + ", ".join(f'"{name}"' for name in names)


def _print(lines: Iterable[TextLine]) -> None:
    output = console(soft_wrap=True)
    for line in lines:
        output.print(Text(printable(line.text), style=_STYLES[line.kind]))
