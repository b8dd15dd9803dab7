"""Start `nemo-bridge`; `python -m bridge` does the same."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, also while it is being imported.

    Raises:
        SystemExit: Always, with an exit code of `bridge.cli.exit_codes.ExitCode`.
    """
    try:
        from bridge.cli.main import main as run  # noqa: PLC0415 - Ctrl-C may come meanwhile
    except KeyboardInterrupt:
        sys.exit(130)  # ExitCode.INTERRUPTED, which may not be imported yet
    run()


if __name__ == "__main__":
    main()
