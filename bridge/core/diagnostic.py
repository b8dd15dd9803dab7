"""Define a diagnostic of the configuration: its place, its stable code, and its text.

`bridge/config/explanations.py` explains each code at length; `nemo-bridge explain` prints that.
"""

from enum import StrEnum, unique
from typing import Final, Literal, NamedTuple

import msgspec

from bridge.core.printable import printable

#: The most characters of a subject, of a message and of a hint.
_LONGEST: Final = 600

Severity = Literal["error", "warning"]


@unique
class Code(StrEnum):
    """The kinds of diagnostics.

    A code never changes its meaning, and the code of a kind that is gone is not used again.
    """

    UNREADABLE_FILE = "NB001"
    FILE_OF_NEMO = "NB002"
    TOO_LARGE = "NB003"
    NOT_LOADED = "NB004"

    SYNTAX = "NB010"
    UNCLOSED_BLOCK = "NB011"
    UNCLOSED_STRING = "NB012"
    SURPLUS_SIGN = "NB013"
    ONE_ATTRIBUTE_A_LINE = "NB014"
    NOT_SUPPORTED = "NB015"
    INVALID_LITERAL = "NB016"
    NOT_PORTABLE = "NB017"

    UNKNOWN_BLOCK = "NB020"
    UNKNOWN_KEY = "NB021"
    MISPLACED_KEY = "NB022"
    GIVEN_TWICE = "NB023"
    MISSING_KEY = "NB024"
    INVALID_LABEL = "NB025"
    BLOCK_OR_KEY = "NB026"
    CONFLICTING_KEYS = "NB027"
    REMOVED_KEY = "NB028"
    NO_EFFECT = "NB029"

    WRONG_TYPE = "NB030"
    INVALID_VALUE = "NB031"
    UNUSABLE_FILE = "NB032"
    INVALID_SETTINGS = "NB033"
    INVALID_ADDRESS = "NB034"
    UNSAFE = "NB035"

    UNKNOWN_NAME = "NB040"
    UNSET_ENVIRONMENT = "NB041"
    UNKNOWN_VARIABLE = "NB042"
    NO_VALUE = "NB043"
    UNKNOWN_FUNCTION = "NB044"
    WRONG_ARGUMENTS = "NB045"
    INVALID_EXPRESSION = "NB046"
    NO_CONDITION = "NB047"
    CIRCULAR_VARIABLES = "NB048"
    WRONG_OPERAND = "NB049"

    UNKNOWN_INTEGRATION = "NB050"
    UNKNOWN_TYPE = "NB051"
    UNSUPPORTED_BY_PROTOCOL = "NB052"
    INVALID_PATTERN = "NB053"
    INVALID_NAME = "NB054"
    ENDLESS_LOOP = "NB055"
    POSSIBLE_LOOP = "NB056"
    NEVER_SET_OFF = "NB057"
    DIFFERENT_SETTINGS = "NB058"
    UNKNOWN_SUBSCRIPTION = "NB059"
    ALWAYS_THE_SAME = "NB060"
    REPEATED_MESSAGES = "NB061"
    FOREIGN_WILDCARD = "NB062"
    UNKNOWN_FABRIC = "NB063"
    NEVER_SHARED = "NB064"

    NOT_CONNECTED = "NB070"


class Span(NamedTuple):
    """A part of a text: lines and columns count from 1, `end_column` is the one behind the last character.

    0 means that it is not known.
    """

    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0


class Location(msgspec.Struct, frozen=True, order=True):
    """A place in a configuration file; `line` 0 means the file as a whole. See `Span` for the numbers."""

    file: str
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    def at(self, span: Span) -> "Location":
        """Return another place in the same file."""
        return Location(self.file, *span)


class Related(msgspec.Struct, frozen=True, order=True):
    """A second place that belongs to a diagnostic, and what is there, as in `first given here`."""

    location: Location
    label: str


class Diagnostic(msgspec.Struct, frozen=True, order=True):
    """One fault of a configuration, or a warning. As a string it is one line for a person.

    Attributes:
        location: Its exact place; a file without a name where it is in no file.
        block: Block and key, as in `integration "a" > endpoint > port`; empty for a whole file.
        message: What is wrong.
        code: Its kind.
        severity: A configuration with an error is not used.
        hint: What would be right, or the name that was probably meant; may be empty.
        related: A second place.
    """

    location: Location
    block: str
    message: str
    code: Code
    severity: Severity = "error"
    hint: str = ""
    related: tuple[Related, ...] = ()

    def __post_init__(self) -> None:
        # A quotation from the file may be the whole of it, and hold control characters, which a terminal would execute.
        for name in ("block", "message", "hint"):
            msgspec.structs.force_setattr(self, name, printable(_shortened(getattr(self, name))))

    def __str__(self) -> str:
        is_question = self.hint.startswith("did you mean")
        hint = f" ({self.hint})" if is_question else self.hint and f"; {self.hint}"
        return ": ".join(filter(None, (str(self.location), self.block, f"{self.message}{hint}")))


def _shortened(text: str) -> str:
    """Return a text without its middle where it is longer than a person reads."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
