"""Collect the faults of a configuration as diagnostics."""

from collections.abc import Iterable
from typing import NoReturn

import msgspec

from bridge.core.diagnostic import Code, Diagnostic, Location, Related, Span
from bridge.core.errors import ConfigError
from bridge.core.near import near_name


class Fault(Exception):  # noqa: N818 - it becomes part of a diagnostic
    """One fault in an expression; whoever catches it makes a diagnostic of it.

    Attributes:
        span: The place in the file.
        message: What is wrong.
        code: The kind of the diagnostic.
        hint: What would be right; may be empty.
        quotes: True where message and hint may quote the text of the file, which in `auth` may be a secret.
    """

    def __init__(self, span: Span, message: str, *, code: Code, hint: str = "", quotes: bool = True) -> None:
        super().__init__(message)
        self.span = span
        self.message = message
        self.code = code
        self.hint = hint
        self.quotes = quotes

    def shown_in(self, kind: str) -> tuple[str, str]:
        """Return message and hint for a block of this type: in `auth` they do not quote the file."""
        if kind == "auth" and self.quotes:
            return "is not a value", "write a string in quotes, `env.NAME` or `var.name`"
        return self.message, self.hint


class Diagnostics(msgspec.Struct):
    """Collect diagnostics, so that a person sees all of them at once."""

    _found: set[Diagnostic] = msgspec.field(default_factory=set)
    _lost_block: bool = False

    @property
    def complete(self) -> bool:
        """Return whether all blocks could be read; else one that could not may declare a name that is not known."""
        return not self._lost_block

    def lose_block(self) -> None:
        """Keep that a block could not be read."""
        self._lost_block = True

    def add(
        self,
        location: Location,
        subject: str,
        message: str,
        *,
        code: Code,
        hint: str = "",
        related: tuple[Related, ...] = (),
    ) -> None:
        """Add the diagnostic of one fault.

        Args:
            location: Its exact place.
            subject: Block and key, as in `integration "a" > endpoint > port`; empty for a whole file.
            message: What is wrong.
            code: Its kind.
            hint: What would be right, or a near name; a phrase without a full stop.
            related: A second place that belongs to it, as where a key was given first.
        """
        self._found.add(Diagnostic(location, subject, message, code, "error", hint, related))

    def warn(
        self,
        location: Location,
        subject: str,
        message: str,
        *,
        code: Code,
        hint: str = "",
        related: tuple[Related, ...] = (),
    ) -> None:
        """Add a warning: what is allowed but may be a mistake. The arguments are those of `add`."""
        self._found.add(Diagnostic(location, subject, message, code, "warning", hint, related))

    def fault(self, fault: Fault, location: Location, subject: str, kind: str = "") -> None:
        """Add the diagnostic of a fault in an expression.

        Args:
            fault: The fault.
            location: A place in the same file.
            subject: Block and key.
            kind: The type of the block; in `auth` the diagnostic does not quote the file.
        """
        message, hint = fault.shown_in(kind)
        self.add(location.at(fault.span), subject, message, code=fault.code, hint=hint)

    def __bool__(self) -> bool:
        return any(one.severity == "error" for one in self._found)

    def all(self) -> list[Diagnostic]:
        """Return errors and warnings, sorted by file and line."""
        return sorted(self._found)

    def warnings(self) -> list[Diagnostic]:
        """Return all warnings, sorted by file and line."""
        return [one for one in self.all() if one.severity == "warning"]

    def fail(self) -> NoReturn:
        """Raise the error that ends the loading.

        Raises:
            ConfigError: Always, with all diagnostics, warnings as well.
        """
        raise ConfigError(self.all())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean `x`?`` where a known name is close to `name`, else the empty string."""
    found = near_name(name, known)
    return "" if found is None else f"did you mean `{found}`?"


def near(name: str, known: Iterable[str]) -> str:
    """Return the text of `did_you_mean` in brackets, with a space before them, for the middle of a message."""
    found = did_you_mean(name, known)
    return f" ({found})" if found else ""


def one_of(known: Iterable[str]) -> str:
    """Return the names as a list for a person: `a`, `b`, `c`."""
    return ", ".join(f"`{name}`" for name in sorted(known))
