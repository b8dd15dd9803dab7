"""`python -m bridge.contract SCHEMAS RUST REFERENCE [--check]`: write what is made from the models.

That is `schemas/`, the Rust types, and the reference pages of the documentation. `--check` lists what would change.
"""

import argparse
import sys
from pathlib import Path

from bridge.contract import drift, files, rust_types, write
from bridge.contract.reference import reference
from bridge.registry import AdapterRegistry


def main() -> int:
    """Run the command; return the exit code: 1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(
        prog="scripts/schemas", description="Write schemas/, the Rust types and docs/reference/ from the models."
    )
    parser.add_argument("folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("rust", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("reference", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something would change")
    arguments = parser.parse_args()
    adapters = AdapterRegistry(bundled=True)
    found = []
    for folder, texts in ((arguments.folder, files(adapters)), (arguments.reference, reference(adapters))):
        changed = drift(folder, texts) if arguments.check else write(folder, texts)
        found += [folder / path for path in changed]
    types = rust_types(adapters).encode()
    if not arguments.rust.is_file() or arguments.rust.read_bytes() != types:
        found.append(arguments.rust)
        if not arguments.check:
            arguments.rust.write_bytes(types)
    for path in found:
        print(path)
    if found and arguments.check:
        print("schemas: out of date; run scripts/schemas", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
