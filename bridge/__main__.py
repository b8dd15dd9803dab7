"""Start `nemo-bridge`; `python -m bridge` does the same."""

import gc
import os
import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, also while it is being imported.

    Raises:
        SystemExit: Always, with an exit code of `bridge.cli.exit_codes.ExitCode`.
    """
    # What is imported stays. By default the garbage collector looks through it a hundred times meanwhile.
    gc.set_threshold(100_000, 20, 100)
    # pydantic would read a file of each installed package to find out whether it is a plugin.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from bridge.cli.main import main as run  # noqa: PLC0415 - Ctrl-C may come meanwhile
    except KeyboardInterrupt:
        sys.exit(130)  # ExitCode.INTERRUPTED, which may not be imported yet
    try:
        run()
    finally:
        gc.freeze()  # the end of the process would look through everything once more


if __name__ == "__main__":
    main()
