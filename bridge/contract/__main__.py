"""`python -m bridge.contract FOLDER [--check]`: write `schemas/`, or list the files that would change."""

import argparse
import sys
from pathlib import Path

from bridge.contract import drift, files, write
from bridge.registry import AdapterRegistry


def main() -> int:
    """Run the command; return the exit code: 1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="scripts/schemas", description="Write schemas/ from the models.")
    parser.add_argument("folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something would change")
    arguments = parser.parse_args()
    texts = files(AdapterRegistry(bundled=True))
    changed = drift(arguments.folder, texts) if arguments.check else write(arguments.folder, texts)
    for path in changed:
        print(arguments.folder / path)
    if changed and arguments.check:
        print("schemas: out of date; run scripts/schemas", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
