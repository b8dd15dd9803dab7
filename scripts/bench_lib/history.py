"""What was measured of which commit: `benchmarks.json`, one record for each, and the page `benchmarks.md` made of it.

`python -m bench_lib.history FOLDER` writes the page again; with `--check` it changes nothing, and exits with 1 if the
page is not what would be written.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench_lib import history_page
from bench_lib.processes import BenchError

#: What `--json` prints.
Report = Mapping[str, Any]
#: What is kept of it.
Record = dict[str, Any]

_JSON: Final = "benchmarks.json"
_PAGE: Final = "benchmarks.md"


def add(folder: Path, report: Report) -> None:
    """Put a measurement into the history in a folder; one of the same commit and machine gets the rows that are new.

    Raises:
        BenchError: It is of no commit, or something was wrong in it.
    """
    refuse(report["commit"])
    if any(row["problems"] for row in report["rows"]):
        raise BenchError("something was lost, answered twice or answered wrongly, so nothing is recorded")
    record = _record(report)
    records = load(folder)
    for known in records:
        if (known["commit"], known["machine"]) == (record["commit"], record["machine"]):
            known["rows"] |= record["rows"]
            known["date"] = record["date"]
            break
    else:
        records.append(record)
    # A line for each record, so that a new one is one line of a comparison.
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in records)
    (folder / _JSON).write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    (folder / _PAGE).write_text(history_page.page(records), encoding="utf-8")


def refuse(commit: str | None) -> None:
    """Raise BenchError where a measurement would not be of a commit."""
    if commit is None or commit.endswith("-dirty"):
        raise BenchError("a record is of a commit: commit the changes first")


def load(folder: Path) -> list[Record]:
    """All records, the newest last."""
    file = folder / _JSON
    records: list[Record] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return records


def _record(report: Report) -> Record:
    rows = {}
    for row in report["rows"]:
        if row["skipped"] is None:
            candidates = {name: _medians(entry) for name, entry in row["candidates"].items()}
            # What is one candidate's over another's can be made of theirs.
            figures = {name: value for name, value in row["figures"].items() if "_over_" not in name}
            rows[row["name"]] = {"title": row["title"], "candidates": candidates, "figures": figures}
    machine = f"{report['processor']}, {report['cpus']} cores, Python {report['python']}"
    return {"commit": report["commit"], "date": report["date"][:10], "machine": machine, "rows": rows}


def _medians(entry: Mapping[str, Any]) -> dict[str, float]:
    """The median of each quantity that was measured, with four digits."""
    return {
        name: float(f"{entry[name]['median']:.4g}")
        for name in ("rate", "cpu_us", "p50_ms", "p99_ms")
        if entry[name] is not None
    }


def main(folder: Path, *options: str) -> int:
    """Write the page, or only compare it; returns the exit code."""
    file, text = folder / _PAGE, history_page.page(load(folder))
    if "--check" in options:
        same = file.exists() and file.read_text(encoding="utf-8") == text
        print(f"{file} is {'as it should be' if same else f'not what is made of {_JSON}'}")
        return int(not same)
    file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
