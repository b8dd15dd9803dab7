"""Collect the faults of a configuration as diagnostics: one line each, with file, line, block and key."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from bridge.core.errors import ConfigError

#: The most characters of a subject, and of a message.
_LONGEST: Final = 600
#: The most names that are compared, and the most characters of one, to find the one that was meant: 15 us for a name.
_COMPARED_NAMES: Final = 100
_LONGEST_NAME: Final = 64


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a configuration file; `line` counts from 1, 0 means the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Fault(Exception):  # noqa: N818 - it becomes part of a diagnostic
    """One fault in an expression; whoever catches it makes a diagnostic of it.

    Attributes:
        line: The line in the file.
        message: What is wrong.
        quotes: True where the message may quote the text of the file, which in `auth` may be a secret.
    """

    def __init__(self, line: int, message: str, *, quotes: bool = True) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.quotes = quotes

    def shown_in(self, kind: str) -> str:
        """Return the message for a block of this type: in `auth` it does not quote the file."""
        if kind == "auth" and self.quotes:
            return "is not a value; write a string in quotes, `env.NAME` or `var.name`"
        return self.message


@dataclass(slots=True)
class Diagnostics:
    """Collect diagnostics, so that a person sees all of them at once."""

    _found: set[tuple[Location, str]] = field(default_factory=set)
    _warnings: set[tuple[Location, str]] = field(default_factory=set)

    def add(self, location: Location, subject: str, message: str) -> None:
        """Add the diagnostic of one fault.

        Args:
            location: Its exact location.
            subject: Block and key, as in `integration "a" > endpoint > port`; empty for a whole file.
            message: What is wrong, and what would be right.
        """
        self._found.add((location, _line(subject, message)))

    def warn(self, location: Location, subject: str, message: str) -> None:
        """Add a warning: what is allowed but may be a mistake. The arguments are those of `add`."""
        self._warnings.add((location, _line(subject, message)))

    def __bool__(self) -> bool:
        return bool(self._found)

    def lines(self) -> list[str]:
        """Return all diagnostics, sorted by file and line."""
        return [f"{location}: {text}" for location, text in sorted(self._found)]

    def warnings(self) -> list[str]:
        """Return all warnings, sorted by file and line."""
        return [f"{location}: {text}" for location, text in sorted(self._warnings)]

    def fail(self) -> NoReturn:
        """Raise the error that ends the loading.

        Raises:
            ConfigError: Always, with all diagnostics.
        """
        raise ConfigError(self.lines())


def _line(subject: str, message: str) -> str:
    text = f"{_shortened(subject)}: {_shortened(message)}" if subject else _shortened(message)
    # A quotation from the file may hold line breaks and control characters, which a terminal would execute.
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _shortened(text: str) -> str:
    """Return a text without its middle where it is longer than a person reads: a quotation may be a whole file."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def near(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean `x`?)"` where a known name is close to `name`, else the empty string."""
    known = [one for one in known if len(one) <= _LONGEST_NAME]
    if len(known) > _COMPARED_NAMES or len(name) > _LONGEST_NAME:
        return ""
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f" (did you mean `{found[0]}`?)" if found else ""


def one_of(known: Iterable[str]) -> str:
    """Return the names as a list for a person: `a`, `b`, `c`."""
    return ", ".join(f"`{name}`" for name in sorted(known))
