"""List the functions that expressions can use, and compute those that CEL does not have."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

#: A function returns this where it has no result. CEL cannot convert it: that is an error. An exception in a function
#: would also write a line to the log, with the value in it.
_NO_VALUE: Final = object()


#: Characters of a result. Without a limit, `replace` and `join` could make terabytes of one small event.
_LONGEST: Final = 4 << 20


class Function(msgspec.Struct, frozen=True):
    """A function of the expression language.

    Attributes:
        summary: One line for a person.
        least: How many arguments it takes at least.
        most: How many at most.
        takes: The kinds of each argument, as in `string|list`, empty for any; the last is that of all further ones.
        gives: The kind of the result.
        native: The CEL text, with `{0}`, `{1}` for the arguments, where CEL has it.
        call: The Python function otherwise.
    """

    summary: str
    least: int
    most: int
    takes: tuple[str, ...]
    gives: str
    native: str = ""
    call: Callable[..., Any] | None = None


def _guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*arguments: Any) -> Any:
        try:
            value = call(*arguments)
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
            return _NO_VALUE
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
            return _NO_VALUE
        return value

    return guarded


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(left, list) and isinstance(right, list):
        return left + right
    return _number(left) + _number(right)


def _divide(left: Any, right: Any) -> Any:
    if isinstance(_number(left), int) and isinstance(_number(right), int) and left % right == 0:
        return left // right
    return left / right


def _remainder(left: Any, right: Any) -> Any:
    if isinstance(_number(left), int) and isinstance(_number(right), int):
        size = abs(left) % abs(right)
        return -size if left < 0 else size
    return math.fmod(left, right)


def _contains(value: Any, item: Any) -> bool:
    if isinstance(value, str):
        return _text(item) in value
    if isinstance(value, list | Mapping):
        return item in value
    raise TypeError


def _replace(text: Any, old: Any, new: Any) -> Any:
    count = _text(text).count(_text(old))
    _check_size(len(text) + count * (len(_text(new)) - len(old)))
    return text.replace(old, new)


def _join(parts: Any, separator: Any) -> Any:
    _check_size(sum(len(_text(part)) for part in parts) + len(parts) * len(_text(separator)))
    return separator.join(parts)


def _check_size(size: int) -> None:
    if size > _LONGEST:
        raise ValueError


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return _text(value) if isinstance(value, str) else str(_number(value))


def _to_number(value: Any) -> Any:
    if not isinstance(value, str):
        return _number(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return int(value) if value.strip().lstrip("+-").isdecimal() else number


def _rounded(how: Callable[[Any], int]) -> Callable[[Any], int]:
    return lambda value: how(_number(value))


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


#: The functions that replace an operator where CEL refuses to mix numbers; `/` is always replaced.
ARITHMETIC: Final[Mapping[str, tuple[str, Callable[..., Any]]]] = {
    "+": ("_add", _guarded(_add)),
    "-": ("_subtract", _guarded(lambda left, right: _number(left) - _number(right))),
    "*": ("_multiply", _guarded(lambda left, right: _number(left) * _number(right))),
    "/": ("_divide", _guarded(_divide)),
    "%": ("_remainder", _guarded(_remainder)),
}

_ONE_TEXT: Final = ("string",)
_ONE_NUMBER: Final = ("number",)
_TEXT_FUNCTION: Final = (1, 1, _ONE_TEXT, "string")
_TEXT_TEST: Final = (2, 2, _ONE_TEXT, "boolean")
_ROUNDING: Final = (1, 1, _ONE_NUMBER, "number")
_CHOICE: Final = (1, 8, _ONE_NUMBER, "number")

#: `has` is not listed: it takes a path, not a value. `size` is our own, because the library's counts UTF-8 bytes.
FUNCTIONS: Final[Mapping[str, Function]] = {
    "size": Function(
        "length of a string (in characters), list or map", 1, 1, ("string|list|map",), "number", call=_guarded(len)
    ),
    "startsWith": Function("whether a string starts with another", *_TEXT_TEST, native="({0}).startsWith({1})"),
    "endsWith": Function("whether a string ends with another", *_TEXT_TEST, native="({0}).endsWith({1})"),
    "matches": Function(
        "whether a regular expression (RE2) is found in a string", *_TEXT_TEST, native="({0}).matches({1})"
    ),
    "contains": Function(
        "whether a string has a part, a list an item, a map a key",
        2,
        2,
        ("string|list|map", ""),
        "boolean",
        call=_guarded(_contains),
    ),
    "lower": Function("a string in lower case", *_TEXT_FUNCTION, call=_guarded(lambda text: _text(text).lower())),
    "upper": Function("a string in upper case", *_TEXT_FUNCTION, call=_guarded(lambda text: _text(text).upper())),
    "trim": Function(
        "a string without white space around it", *_TEXT_FUNCTION, call=_guarded(lambda text: _text(text).strip())
    ),
    "replace": Function(
        "a string with each `old` made `new`: replace(text, old, new)",
        3,
        3,
        _ONE_TEXT,
        "string",
        call=_guarded(_replace),
    ),
    "split": Function(
        "the parts of a string: split(text, separator)",
        2,
        2,
        _ONE_TEXT,
        "list",
        call=_guarded(lambda text, by: _text(text).split(_text(by))),
    ),
    "join": Function(
        "the strings of a list as one: join(list, separator)",
        2,
        2,
        ("", "string"),
        "string",
        call=_guarded(_join),
    ),
    "string": Function(
        "a number or boolean as a string", 1, 1, ("number|boolean|string",), "string", call=_guarded(_string)
    ),
    "number": Function("a string as a number", 1, 1, ("string|number",), "number", call=_guarded(_to_number)),
    "abs": Function("a number without its sign", *_ROUNDING, call=_guarded(lambda value: abs(_number(value)))),
    "floor": Function("the next whole number below", *_ROUNDING, call=_guarded(_rounded(math.floor))),
    "ceil": Function("the next whole number above", *_ROUNDING, call=_guarded(_rounded(math.ceil))),
    "round": Function("the nearest whole number, halves up", *_ROUNDING, call=_guarded(_rounded(_half_up))),
    "min": Function(
        "the smallest of its arguments", *_CHOICE, call=_guarded(lambda *values: min(map(_number, values)))
    ),
    "max": Function("the largest of its arguments", *_CHOICE, call=_guarded(lambda *values: max(map(_number, values)))),
}

#: What functions are called elsewhere, in small letters and without `_`, with what stands for them here.
_ELSEWHERE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("length", "len", "count", "strlen"), "size(x)"),
    **dict.fromkeys(("beginswith", "hasprefix"), 'startsWith(text, "a")'),
    **dict.fromkeys(("hassuffix",), 'endsWith(text, "a")'),
    **dict.fromkeys(("match", "regex", "regexp", "test"), 'matches(text, "re")'),
    **dict.fromkeys(("includes", "in", "has_key", "haskey", "containskey", "indexof", "find"), "contains(x, y)"),
    **dict.fromkeys(("lowercase", "tolower", "tolowercase", "downcase"), "lower(text)"),
    **dict.fromkeys(("uppercase", "toupper", "touppercase", "upcase"), "upper(text)"),
    **dict.fromkeys(("strip", "trimspace"), "trim(text)"),
    **dict.fromkeys(("str", "tostring"), "string(x)"),
    **dict.fromkeys(("int", "float", "double", "tonumber", "parseint", "parsefloat"), "number(text)"),
    **dict.fromkeys(("ceiling",), "ceil(x)"),
    **dict.fromkeys(("exists", "defined", "isset", "present"), "has(event.payload.x)"),
    **dict.fromkeys(("concat", "format", "printf", "sprintf"), '"${x} and ${y}"'),
    **dict.fromkeys(("if", "iff", "ternary"), "x ? y : z"),
    **dict.fromkeys(("coalesce", "default", "ifnull", "lookup", "nvl", "try"), "has(x) ? x : y"),
    **dict.fromkeys(("and",), "x && y"),
    **dict.fromkeys(("or",), "x || y"),
    **dict.fromkeys(("not",), "!x"),
}


def in_place_of(name: str) -> str:
    """Return what stands for a function that other languages have, as in `size(x)`; empty where that is not known.

    A word in which two letters are swapped is known, too: `lenght` is `length`.
    """
    plain = name.lower().replace("_", "")
    ours = {known.lower(): known for known in (*FUNCTIONS, "has")}
    if plain in ours:
        return f"{ours[plain]}(…)"
    if plain in _ELSEWHERE:
        return _ELSEWHERE[plain]
    swapped = [plain[:i] + plain[i + 1] + plain[i] + plain[i + 2 :] for i in range(len(plain) - 1)]
    return next((_ELSEWHERE[word] for word in swapped if word in _ELSEWHERE), "")
