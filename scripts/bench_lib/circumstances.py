"""What a measurement is of, and where and when it was made."""

import datetime as dt
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
#: What a record changes itself, so that two measurements can be recorded one after the other.
_RECORD: Final = ("docs/benchmarks.json", "docs/benchmarks.md")


def now() -> dict[str, Any]:
    """Commit, date, machine, Python and load; for machines, and as far as they are known here."""
    return {
        "commit": commit(),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit() -> str | None:
    """The commit of this tree, with `-dirty` where files are not as they are in it; None outside of a repository."""
    head = _git("rev-parse", "--short=10", "HEAD")
    if head is None:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{name}" for name in _RECORD))
    return f"{head}-dirty" if changed else head


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
