"""Describe the keys of a block for a person: type, default as a file writes it, and meaning, all from its model."""

import json
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import BaseModel, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from bridge.core.units import duration_text, parse_duration, parse_rate, parse_size, rate_text, size_text

#: What a value of a plain type is called.
_PLAIN: Final[Mapping[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretStr: "text, secret",
    Any: "any value",
}
#: The values that have a unit: how they are read → what they are called, and how they are written.
_UNITS: Final[Mapping[Any, tuple[str, Callable[[Any], str]]]] = {
    parse_duration: ("duration", duration_text),
    parse_size: ("size", size_text),
    parse_rate: ("rate", rate_text),
}


class Option(msgspec.Struct, frozen=True):
    """One key of a block.

    Attributes:
        name: The key.
        kind: What its value is, in words: *duration*, *whole number, 1 to 100*, *one of `a`, `b`*, *block*.
        default: The default as a file writes it; None where there is none.
        required: Whether the key must be there.
        description: What it does, in one or a few sentences.
        block: The model of the block, where the key is one, or holds several by label.
    """

    name: str
    kind: str
    default: str | None
    required: bool
    description: str
    block: type[BaseModel] | None = None


def options(model: type[BaseModel]) -> list[Option]:
    """Return the keys of a block, in the order of its model."""
    return [_option(field.alias or name, field) for name, field in model.model_fields.items()]


def summary(model: type[BaseModel]) -> str:
    """Return what a block is for: the docstring of its model without the block's name before it."""
    text = " ".join((model.__doc__ or "").split())
    text = text.partition("}`: ")[2] or text
    return text[:1].upper() + text[1:]


def _option(name: str, field: FieldInfo) -> Option:
    block = _block(field.annotation)
    kind, write = _describe(field.annotation, field.metadata)
    default = None
    if not field.is_required() and block is None:
        value = field.get_default(call_default_factory=True)
        default = None if value is None or value == () else write(value)
    return Option(name, kind, default, field.is_required(), field.description or "", block)


def _describe(annotation: Any, metadata: typing.Sequence[Any] = ()) -> tuple[str, Callable[[Any], str]]:
    """Return what a value of a type is called, and what writes one."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *inner = typing.get_args(annotation)
        return _describe(annotation, [*inner, *metadata])
    metadata = [one for found in metadata for one in (found.metadata if isinstance(found, FieldInfo) else [found])]
    for one in metadata:
        if isinstance(one, BeforeValidator) and one.func in _UNITS:
            return _with_unit(metadata, *_UNITS[one.func])
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {typing.Union, types.UnionType}:
        kinds = [_describe(one, metadata) for one in arguments if one is not type(None)]
        return " or ".join(kind for kind, _ in kinds), kinds[0][1]
    if origin is typing.Literal:
        values = [json.dumps(value) for value in arguments]
        return " or ".join(f"`{value}`" for value in values), _json
    if origin in {list, tuple} and _block(arguments[0]) is not None:
        return "blocks" if origin is tuple else "list of maps", _json
    if origin in {list, tuple}:
        return f"list of {_describe(arguments[0])[0]}", _json
    if _block(annotation) is not None:
        return "blocks with a label" if origin is dict else "block", _json
    if origin is dict:
        return "map", _json
    return f"{_PLAIN.get(annotation, _PLAIN[Any])}{_limits(metadata, str)}", _json


def _with_unit(
    metadata: typing.Sequence[Any], kind: str, write: Callable[[Any], str]
) -> tuple[str, Callable[[Any], str]]:
    return f"{kind}{_limits(metadata, write)}", lambda value: json.dumps(write(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _limits(metadata: typing.Sequence[Any], write: Callable[[Any], str]) -> str:
    """Return the limits of a number in words; a size, duration or rate of more than 0 needs none."""
    lower = max((one.ge for one in metadata if getattr(one, "ge", None) is not None), default=None)
    upper = min((one.le for one in metadata if getattr(one, "le", None) is not None), default=None)
    if any(getattr(one, "gt", None) is not None for one in metadata) and write is str and lower is None:
        lower = 1
    if lower is not None and upper is not None:
        return f", {write(lower)} to {write(upper)}"
    if upper is not None:
        return f", at most {write(upper)}"
    return "" if lower is None else f", {write(lower)} or more"


def _block(annotation: Any) -> type[BaseModel] | None:
    """Return the model where a key is a block, or holds blocks by label."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in {typing.Union, types.UnionType, typing.Annotated, dict, list, tuple}:
        found = (_block(one) for one in typing.get_args(annotation))
        return next((one for one in found if one is not None), None)
    return None
