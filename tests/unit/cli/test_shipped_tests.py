"""The tests that recipes and examples bring along pass, and print the same bytes on each machine and Python.

`python -m tests.unit.cli.test_shipped_tests` writes anew what they must print.
"""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import msgspec
import pytest

from bridge.config import Configuration, load
from bridge.core.model import Event
from bridge.core.redaction import Redactor
from bridge.registry import AdapterRegistry
from bridge.simulation.cases import CaseResult, run_case
from bridge.simulation.replay import read_trace, replay
from bridge.simulation.report import TextLine, replay_report, report

ROOT = Path(__file__).parents[3]
PRINTED = Path(__file__).parent / "printed.txt"
RECIPES = sorted((ROOT / "bridge" / "recipes").glob("*.hcl"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.hcl"))
#: Those that configure no integration, so that nothing happens that could be tested.
WITHOUT_TESTS = {"bridge.hcl"}
FILES = [path for path in (*RECIPES, *EXAMPLES) if path.parent.name == "nemo" or path.name not in WITHOUT_TESTS]
#: All of them as one configuration.
FOLDER = ROOT / "examples"
TESTED = FOLDER / "tested.hcl"
WRONG = """
test "a parcel goes to another shelf" {
  remote "packing" {
    answers = [{ error = "timeout" }, { result = { shelf = "A3", height = 1.5 }, after = "300ms" }]
  }
  step {
    emit    = "parcel.ready"
    payload = { id = 7, items = 2 }
  }
  expect {
    event   = "parcel.packed"
    payload = { shelf = "B1", height = 1e100, width = 2 }
  }
  expect {
    event = "parcel.paked"
  }
}
"""


def name_of(path: Path) -> str:
    """Return the path in the project."""
    return path.relative_to(ROOT).as_posix()


@cache
def ran(path: Path) -> tuple[Configuration, list[CaseResult]]:
    """Run all tests of a file or folder, without anything in the environment."""
    configuration = load([path], adapters=AdapterRegistry(), environ={}, with_placeholders=True)
    redactor = Redactor(configuration.secrets)
    return configuration, [run_case(configuration, case, redactor) for case in configuration.cases]


def reported(path: Path, *, whole: bool = False) -> str:
    """Return what `nemo-bridge test` prints for a file."""
    configuration, results = ran(path)
    return text_of(report(results, configuration.bridge.source, Redactor(configuration.secrets), whole=whole))


def simulated(seed: int) -> str:
    """Return what `nemo-bridge simulate` prints for a recording of four parcels, with the faults of a seed."""
    configuration, _ = ran(TESTED)
    events = [
        Event(
            id=number,
            event_type="parcel.ready",
            raw=msgspec.Raw(msgspec.msgpack.encode({"id": number, "items": number, "weight": 0.1 * number})),
            timestamp=1_700_000_000_000 + 7_333 * number,
            source="scanner",
            correlation_id=f"c{number}",
        )
        for number in range(4)
    ]
    return text_of(replay_report(replay(configuration, read_trace(events), seed=seed), "bridge", Redactor(())))


def text_of(lines: Iterable[TextLine]) -> str:
    """Return lines as a text."""
    return "".join(f"{line.text}\n" for line in lines)


def printed(folder: Path) -> str:
    """Return all that must be the same everywhere, with titles.

    Args:
        folder: Takes a file with a test that fails.
    """
    wrong = folder / "wrong.hcl"
    wrong.write_text(TESTED.read_text("utf-8").partition("\ntest ")[0] + WRONG, "utf-8")
    parts: dict[str, Callable[[], str]] = {f"test {name_of(path)}": lambda path=path: reported(path) for path in FILES}
    parts["test wrong.hcl"] = lambda: reported(wrong)
    parts[f"test {name_of(TESTED)} --timeline"] = lambda: reported(TESTED, whole=True)
    parts |= {f"simulate {name_of(TESTED)} --seed {seed}": lambda seed=seed: simulated(seed) for seed in (11, 12, 13)}
    return "\n".join(f"$ nemo-bridge {words}\n{part()}" for words, part in parts.items())


@pytest.mark.parametrize("path", [*FILES, FOLDER], ids=name_of)
def test_they_pass(path: Path) -> None:
    """Each file has a test, each test expects something and passes, also beside the other examples."""
    _, results = ran(path)
    assert results
    assert all(result.case.expectations for result in results)
    assert [result.case.name for result in results if not result.ok] == []


def test_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """Reports, timelines and simulations with faults are those that were printed on another machine and Python."""
    assert printed(tmp_path) == PRINTED.read_text("utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        PRINTED.write_text(printed(Path(place)), "utf-8")
