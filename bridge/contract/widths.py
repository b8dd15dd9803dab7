"""Gives each integer and each number of a schema its width, as the formats of OpenAPI name it."""

from typing import Any, Final

#: Keywords whose value is an object of schemas by name.
_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
#: Keywords whose value is data and no schema.
_DATA: Final = frozenset({"default", "examples", "enum", "const", "required"})


def add_widths(schema: Any) -> Any:
    """Return a schema in which `format` tells the width of each integer and number.

    `uint64` is an integer that is never negative, `int64` any other one, `double` a number. Some generators know no
    other way to learn it, and take 32 bits.
    """
    if isinstance(schema, list):
        return [add_widths(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key in _DATA:
            found[key] = value
        elif key in _BY_NAME:
            found[key] = {name: add_widths(one) for name, one in value.items()}
        else:
            found[key] = add_widths(value)
    if found.get("exclusiveMinimum") == 0 and _is(found, "integer"):
        found["minimum"] = 1
        del found["exclusiveMinimum"]
    if "format" not in found:
        if _is(found, "integer"):
            found["format"] = "uint64" if found.get("minimum", -1) >= 0 else "int64"
        elif _is(found, "number"):
            found["format"] = "double"
    return found


def _is(schema: dict[str, Any], name: str) -> bool:
    kind = schema.get("type")
    return kind == name or (isinstance(kind, list) and name in kind)
