"""Show the configuration to a person: values with their defaults, secrets masked."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from bridge.config.expressions import Expression
from bridge.config.models import Configuration, FabricBlock, FabricSettings, Integration, Route, SubscriptionSettings
from bridge.core.units import duration_text, size_text

MASK: Final = "***"
#: Blocks of which there is at most one; they have no label.
SINGLE_BLOCKS: Final = ("bridge", "log", "bus")
#: The blocks inside of an `integration`.
INTEGRATION_PARTS: Final = ("endpoint", "auth", "tls", "config", "resilience", "health")
_NOT_SHOWN: Final = {"name", "location", "secret_keys"}
#: What has a unit in a file, and how it is written there.
_WITH_UNIT: Final[Mapping[str, Callable[[Any], Any]]] = {
    "visibility": duration_text,
    "max_age": duration_text,
    "max_bytes": size_text,
}


class Source(str):
    """The text of an expression as the file has it; it is shown without quotes."""

    __slots__ = ()


def masked(configuration: Configuration) -> dict[str, Any]:
    """Return the configuration as plain data, with the keys of the files.

    Values from the environment and all of `auth` are masked. An integration that a fabric uses has no block of its own.
    """
    singles = {
        name: _dump(getattr(configuration, name), name, configuration.secret_keys, with_none=True)
        for name in SINGLE_BLOCKS
    }
    return {
        **singles,
        "integration": {
            name: masked_integration(found) for name, found in configuration.integrations.items() if not found.is_used
        },
        "route": {route.name: _fields(route) for route in configuration.routes},
        "subscription": {found.name: _fields(found) for found in configuration.subscriptions},
        "fabric": {name: _fields(found) for name, found in configuration.fabrics.items()},
    }


def show(configuration: Configuration) -> str:
    """Return the configuration as HCL text, with secrets masked."""
    lines: list[str] = []
    for kind, content in masked(configuration).items():
        if kind in SINGLE_BLOCKS:
            _write(kind, content, "", lines)
        else:
            for name, block in content.items():
                _write(f"{kind} {json.dumps(name)}", block, "", lines)
    return "\n".join(lines)


def key_of(field: str) -> str:
    """Return the key of a file for a field of a route, a subscription or a fabric."""
    found = FabricBlock.model_fields.get(field)
    return field if found is None else found.alias or field


def masked_integration(integration: Integration) -> dict[str, Any]:
    """Return an integration as plain data, as `masked` does."""
    found: dict[str, Any] = {"type": integration.type}
    for part in INTEGRATION_PARTS:
        model = getattr(integration, part)
        if model is not None:
            found[part] = _dump(model, part, integration.secret_keys)
    found["auth"] = {key: value if key == "type" else MASK for key, value in found["auth"].items()}
    return found


def _dump(
    model: BaseModel, name: str, secret_keys: frozenset[tuple[str, ...]], *, with_none: bool = False
) -> dict[str, Any]:
    whole: dict[str, Any] = model.model_dump(mode="json", by_alias=True, fallback=_kind_of_value)
    found: dict[str, Any] = (
        whole if with_none else model.model_dump(mode="json", by_alias=True, exclude_none=True, fallback=_kind_of_value)
    )
    _mask_credentials(found, model)
    for path in secret_keys:
        if path[0] == name:
            _mask(found, path[1:], whole)
    return found


def _mask_credentials(found: dict[str, Any], model: BaseModel) -> None:
    """Mask what the model has as a secret, as every other secret is."""
    for key in type(model).model_fields:
        value = getattr(model, key)
        if isinstance(value, SecretStr) and key in found:
            found[key] = MASK
        elif isinstance(value, BaseModel) and isinstance(found.get(key), dict):
            _mask_credentials(found[key], value)


def _kind_of_value(value: object) -> str:
    """Return what is shown of a value in a third party's settings that JSON cannot have."""
    return f"<{type(value).__name__}>"


def _mask(found: Any, path: tuple[str, ...], whole: Any) -> None:
    """Mask one value; where its key is not found, mask everything around it, so that no secret is shown.

    Args:
        found: What is shown, from some depth on.
        path: The value's keys from there on.
        whole: The same with values that are null: one that is not known here is masked, too.
    """
    for depth, part in enumerate(path):
        key = int(part) if isinstance(found, list) else part
        if isinstance(found, dict) and key not in found:
            found.update({key: MASK} if isinstance(whole, dict) and key in whole else dict.fromkeys(found, MASK))
            return
        if depth == len(path) - 1 or not isinstance(found[key], dict | list):
            found[key] = MASK
            return
        found, whole = found[key], whole[key]


def _fields(settings: Route | SubscriptionSettings | FabricSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in settings.__struct_fields__:
        key, value = key_of(field), getattr(settings, field)
        if key in settings.secret_keys:
            found[key] = MASK
        elif field not in _NOT_SHOWN and value is not None:
            write = _WITH_UNIT.get(key, _plain)
            found[key] = _expression(value) if isinstance(value, Expression) else write(value)
    return found


def _plain(value: Any) -> Any:
    """Return a value as a file has it, which knows no tuples."""
    return list(value) if isinstance(value, tuple) else value


def _expression(expression: Expression) -> Any:
    if expression.constant and not expression.secret:
        return expression.evaluate({})
    return Source(expression.text)


def _write(head: str, content: dict[str, Any], indent: str, lines: list[str]) -> None:
    lines.append(f"{indent}{head} {{")
    for key, value in content.items():
        if isinstance(value, dict):
            _write(key, value, indent + "  ", lines)
        else:
            shown = value if isinstance(value, Source) else json.dumps(value, ensure_ascii=False)
            lines.append(f"{indent}  {key} = {shown}")
    lines.append(f"{indent}}}")
