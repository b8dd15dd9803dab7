"""Run scenarios from many seeds, and shrink those that break an invariant: `python -m tests.simulation --help`."""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from tests.support.simulation.scenario import Scenario, faults_of, scenario, shrink


def main() -> int:
    """Run them; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description="Random runs of the whole gateway on virtual time, each from a seed."
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)")
    parser.add_argument("--most", type=int, default=5, help="failing seeds that are shrunk and shown (default 5)")
    parser.add_argument("--show", action="store_true", help="print each scenario and all that happened")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    began, failed = time.monotonic(), 0
    kinds: Counter[str] = Counter()
    with multiprocessing.Pool(options.jobs, maxtasksperchild=500) as pool:
        for seed, found in pool.imap_unordered(partial(_try, show=options.show), seeds, chunksize=4):
            if not found:
                continue
            failed += 1
            kinds.update({line.partition(":")[0] for line in found})
            print(f"seed {seed}: {found[0]}" + (f" (and {len(found) - 1} more)" if found[1:] else ""), flush=True)
            if failed <= options.most:
                _show(_shrunk(scenario(seed), found))
    took = time.monotonic() - began
    print(f"{options.seeds} seeds in {took:.0f} s, {failed} failed {dict(kinds) or ''}")
    return int(failed > 0)


def _try(seed: int, *, show: bool) -> tuple[int, list[str]]:
    one = scenario(seed)
    with tempfile.TemporaryDirectory() as folder:
        if show:
            _print_run(one, Path(folder))
        return seed, faults_of(one, Path(folder))


def _print_run(one: Scenario, folder: Path) -> None:
    from tests.support.simulation.scenario import run

    print(one)
    for entry in run(one, folder).record:
        print(entry)


def _shrunk(one: Scenario, found: Iterable[str]) -> Scenario:
    """Shrink a scenario as long as it breaks one of the same invariants."""
    kinds = {line.partition(":")[0] for line in found}
    with tempfile.TemporaryDirectory() as folder:

        def fails(smaller: Scenario) -> bool:
            return bool(kinds & {line.partition(":")[0] for line in faults_of(smaller, Path(folder))})

        return shrink(one, fails)


def _show(one: Scenario) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = faults_of(one, Path(folder))
    print("\n".join(["", "the smallest that fails:", str(one), *(f"!! {line}" for line in found[:10]), ""]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
