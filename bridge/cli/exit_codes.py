"""Define the exit codes of all commands."""

import enum
from typing import Final


class ExitCode(enum.IntEnum):
    """What the exit code of a command says. It means the same for every command."""

    OK = 0
    FAILED = 1
    INVALID = 2
    NO_ANSWER = 3
    CHANGES = 4
    INTERRUPTED = 130
    TERMINATED = 143


#: What each code means, for people. `docs/commands.md` and the manual page print it.
MEANINGS: Final = {
    ExitCode.OK: "It worked. `status`: all is well. `run`: it stopped in order.",
    ExitCode.FAILED: (
        "It did not work: a call failed, an endpoint cannot be reached, something is not well, "
        "or the output cannot be written."
    ),
    ExitCode.INVALID: "What you gave is wrong: the configuration, an argument, an option, or a file that it names.",
    ExitCode.NO_ANSWER: "Nothing answers: there is no bus at these addresses, or no bridge on it.",
    ExitCode.CHANGES: "A reload would change something, and `plan --exit-code` asked.",
    ExitCode.INTERRUPTED: "Ctrl-C (SIGINT) ended it. `run` and `mock` stop in order at the first one and end with 0.",
    ExitCode.TERMINATED: "SIGTERM ended it. `run` and `mock` stop in order at the first one and end with 0.",
}
