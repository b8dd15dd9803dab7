"""The command `nemo-bridge explain`: what a code of a diagnostic means."""

import re

from bridge.cli.exit_codes import ExitCode
from bridge.cli.terminal import failure, say
from bridge.config.explanations import EXPLANATIONS
from bridge.core.diagnostic import Code


def show(text: str) -> None:
    """Print what a code means, with an example.

    Args:
        text: The code, as `NB012`; `nb12` and `12` will do.

    Raises:
        typer.Exit: There is no such code.
    """
    found = re.fullmatch(r"\s*(?:NB)?(\d{1,3})\s*", text, re.IGNORECASE)
    name = f"NB{found[1]:>03}" if found else text.strip()
    if name not in {code.value for code in Code}:
        raise failure(f"there is no code `{name}`; `nemo-bridge explain` lists all", ExitCode.INVALID)
    code = Code(name)
    one = EXPLANATIONS[code]
    say(f"{code}: {one.title}\n\n{one.text}")
    for head, example in (("Wrong", one.wrong), ("Right", one.right)):
        if example:
            body = "\n".join(f"    {line}".rstrip() for line in example.splitlines())
            say(f"\n{head}:\n\n{body}")


def show_all() -> None:
    """Print all codes, each with its title."""
    for code in Code:
        say(f"{code}  {EXPLANATIONS[code].title}")
