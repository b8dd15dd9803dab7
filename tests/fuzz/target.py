"""Runs one target under the fuzzer, as a process of its own.

`python -m tests.fuzz.target NAME LIBFUZZER-OPTION …`
"""

import sys

import atheris

# What is instrumented is what leads the fuzzer: our own code; the parsers underneath are written in C, or slow.
with atheris.instrument_imports(
    include=["bridge.bus", "bridge.config", "bridge.core.filters", "bridge.core.event_type"]
):
    from tests.fuzz.oracles import TARGETS


def main() -> None:
    """Fuzz until libFuzzer's own limits end it."""
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
