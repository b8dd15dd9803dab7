"""`--profile FILE`: the sidecar under 32 callers with cProfile inside, to look at before and after a change."""

import pstats
from pathlib import Path

from bench_lib import processes
from bench_lib.rows import Plan, Row
from bench_lib.rpc import MANY, over_bus


def measure(plan: Plan, file: Path) -> Row:
    """Write the profile; the row's figures are those of a sidecar that is slowed down by it."""
    row = Row("rpc-32-profiled", f"RPC over the bus, {MANY} callers, under cProfile")
    python = ("-m", "cProfile", "-o", str(file))
    with (
        processes.folder() as directory,
        processes.service() as url,
        processes.sidecar(directory, url, python=python) as one,
    ):
        plan.say(row.title)
        row.add("sidecar", over_bus(one, MANY, plan.rounds * plan.seconds))
    return row


def show(file: Path, entries: int = 15) -> None:
    """Print the most expensive functions, by own time and by time with all they call; the start is part of it."""
    stats = pstats.Stats(str(file))
    stats.sort_stats("tottime").print_stats(entries)
    # Command line and event loop hold everything; what the bridge's own rooms cost is below them.
    stats.sort_stats("cumulative").print_stats(r"/bridge/(?!cli/|__main__|gateway)", entries)
