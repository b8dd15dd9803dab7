"""Escape what a terminal would obey, or what would change how a line reads, in text that others wrote.

Remotes, files and programs on the bus choose texts that the bridge prints: an escape sequence could set the window's
title or the clipboard, a line feed could fake a line, a bidirectional control (Unicode TR 9) could reorder one. The
escapes are those of Python's and JSON's string literals, so that a reader still sees what was there.
"""

import re
from typing import Any, Final

#: Control (Cc), format (Cf), unassigned (Cn), private (Co) and surrogate (Cs) characters and line separators are not
#: printable for `str.isprintable`; it also excludes spaces other than U+0020, which are harmless.
_SPACES: Final = frozenset(
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
_PLAIN: Final = re.compile(r"[ -~]*")


def _is_printable(letter: str) -> bool:
    return letter.isprintable() or letter in _SPACES


def printable(text: str, *, keep: str = "") -> str:
    r"""Return one line of text with each control character as an escape such as `\n`, `\x1b` or `\u202e`.

    Args:
        text: Any text.
        keep: Characters to leave as they are, for text of several lines.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(
        letter if letter in keep or _is_printable(letter) else letter.encode("unicode_escape").decode()
        for letter in text
    )


def printable_json(text: str) -> str:
    r"""Return a JSON text with each control character in its strings as a `\u` escape; its value stays the same.

    Args:
        text: What a JSON encoder has written; line feeds between its tokens stay.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(letter if letter == "\n" or _is_printable(letter) else _json_escape(letter) for letter in text)


def printable_values(value: Any) -> Any:
    """Return a value of maps and lists in which each text is `printable`, also the keys of maps."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_values(key): printable_values(one) for key, one in value.items()}
    if isinstance(value, list):
        return [printable_values(one) for one in value]
    return value


def _json_escape(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
