"""Imports libraries without what they use only in a terminal.

structlog imports rich to colour tracebacks, and httpx imports click, rich and pygments for a command line of its own,
where these are installed. The bridge uses neither. They would cost a fifth of its start and 6 MB of memory.
"""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Let imports in the body fail for these modules, unless they have been imported before.

    An entry None in `sys.modules` makes an import raise ModuleNotFoundError (Python's reference, "The module cache").
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
