"""Complete arguments in the shell. Only what is known without reading a file or asking a bridge is completed."""

import os
from collections.abc import Iterator


def prepare() -> None:
    """Let descriptions have any length where a shell asks for completions.

    They are laid out by `rich`, which wraps lines at the width of the terminal. To fish, each line is a candidate.
    """
    if "_NEMO_BRIDGE_COMPLETE" in os.environ:
        os.environ["COLUMNS"] = "10000"


def adapter_names(incomplete: str) -> Iterator[str]:
    """Return the names of installed adapters that begin with what is typed already."""
    from bridge.registry import AdapterRegistry  # noqa: PLC0415 - needed only while completing

    return (name for name in AdapterRegistry() if name.startswith(incomplete) and name.isprintable())


def recipe_names(incomplete: str) -> Iterator[tuple[str, str]]:
    """Return the names of recipes that begin with what is typed already, each with what it is for."""
    from bridge.cli.init import recipes  # noqa: PLC0415

    return ((recipe.name, recipe.summary) for recipe in recipes().values() if recipe.name.startswith(incomplete))


def explained_codes(incomplete: str) -> Iterator[tuple[str, str]]:
    """Return the codes of errors and warnings that begin with what is typed already, each with its title."""
    from bridge.config.explanations import EXPLANATIONS  # noqa: PLC0415

    found = ((code.value, one.title) for code, one in EXPLANATIONS.items())
    return ((code, title) for code, title in found if code.startswith(incomplete))


def schema_names(incomplete: str) -> Iterator[tuple[str, str]]:
    """Return the names of schemas that begin with what is typed already, each with what it describes."""
    from bridge.cli.schema import names  # noqa: PLC0415

    return ((name, text) for name, text in names().items() if name.startswith(incomplete))


def event_patterns(incomplete: str) -> Iterator[tuple[str, str]]:
    """Return the patterns of the families of events that begin with what is typed already."""
    families = {
        "health.**": "state of the bridge and its integrations",
        "resilience.**": "retries, circuits, failures",
        "response.**": "answers",
        "receipt.**": "outcomes of accepted events",
        "message.**": "messages from outside",
        "integration.**": "commands to integrations",
        "bridge.**": "commands to the bridge",
    }
    return ((pattern, text) for pattern, text in families.items() if pattern.startswith(incomplete))
