"""`python -m bridge.contract FOLDER RUST [--check]`: write `schemas/` and the Rust types, or list what would change."""

import argparse
import sys
from pathlib import Path

from bridge.contract import drift, files, rust_types, write
from bridge.registry import AdapterRegistry


def main() -> int:
    """Run the command; return the exit code: 1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(
        prog="scripts/schemas", description="Write schemas/ and the Rust types from the models."
    )
    parser.add_argument("folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("rust", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something would change")
    arguments = parser.parse_args()
    adapters = AdapterRegistry(bundled=True)
    texts = files(adapters)
    changed = drift(arguments.folder, texts) if arguments.check else write(arguments.folder, texts)
    found = [arguments.folder / path for path in changed]
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
