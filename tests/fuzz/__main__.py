"""The command line of `scripts/fuzz`."""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.fuzz.oracles import TARGETS, corpus
from tests.fuzz.words import WORDS

#: Seconds for one input: far more than any may take.
_ONE_INPUT: Final = 10
_LONGEST: Final[dict[str, int]] = {"codec": 2048, "hcl": 4096, "expressions": 512}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    options = parser.parse_args()
    for name in options.targets:
        if name not in TARGETS:
            parser.error(f"there is no target {name}; there are {', '.join(TARGETS)}")
    if options.seconds < 1:
        parser.error("--seconds is 1 at least")
    return options


def _fuzz(name: str, seconds: int, seed: int, folder: Path) -> bool:
    """Fuzz one target and print the result; return True where nothing was found."""
    seeds, fresh = folder / "seeds", folder / "fresh"
    for place in (seeds, fresh):
        place.mkdir(parents=True)
    for number, (_, data) in enumerate(corpus(name)):
        (seeds / str(number)).write_bytes(data)
    words = folder / "words"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in WORDS[name]), "ascii")
    limits = [
        f"-max_total_time={seconds}",
        f"-timeout={_ONE_INPUT}",
        "-rss_limit_mb=2048",
        f"-max_len={_LONGEST[name]}",
    ]
    places = [f"-dict={words}", f"-artifact_prefix={folder}/found-", str(fresh), str(seeds)]
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.target",
        name,
        *limits,
        f"-seed={seed}",
        "-print_final_stats=1",
        *places,
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    output = done.stdout + done.stderr
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
    covered = re.findall(r" cov: (\d+)", output)
    summary = f"{runs[1] if runs else '?'} runs, {covered[-1] if covered else '?'} places covered"
    if done.returncode == 0:
        print(f"{name}: nothing found in {seconds} s ({summary})", flush=True)
        return True
    print(f"{name}: FOUND ({summary})", flush=True)
    for file in sorted(folder.glob("found-*")):
        print(f"  input   {file.read_bytes()!r}\n  in hex  {file.read_bytes().hex()}")
    report = output.partition("=== Uncaught Python exception: ===")[2] or output[-3000:]
    print(report.partition("MS: ")[0], flush=True)
    return False


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> int:
    """Fuzz each target in turn; return 1 where something was found."""
    options = _options()
    good = True
    with tempfile.TemporaryDirectory(prefix="nemo-fuzz-") as folder:
        for name in options.targets or TARGETS:
            good &= _fuzz(name, options.seconds, options.seed, Path(folder) / name)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
