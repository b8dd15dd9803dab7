"""Read `variable "name" { … }` blocks: the values of `var.name`."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bridge.config.blocks import BlockReader, Data
from bridge.config.compiler import Names
from bridge.config.diagnostics import Location, near
from bridge.config.expressions import Literal
from bridge.config.models import VariableBlock
from bridge.config.secrets import is_text
from bridge.config.syntax import Attribute, Block, Constant, Reference

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "bool": (bool,),
    "list": (list,),
    "map": (dict,),
}


def read_variables(blocks: Iterable[Block], reader: BlockReader, given: Mapping[str, str]) -> Names:
    """Read the variables and return the names that all other blocks can use.

    A value comes from `--var`, else from the environment variable that `env` names, else from `default`.

    Args:
        blocks: The `variable` blocks.
        reader: Reads blocks; takes the diagnostics.
        given: Values from `--var`.
    """
    found: dict[str, Literal] = {}
    failed: set[str] = set()
    for block in blocks:
        name = block.labels[0]
        value = _value(block, reader, given)
        if value is None:
            failed.add(name)
        else:
            found[name] = value
    for name in given:
        if name not in found and name not in failed:
            hint = near(name, [*found, *failed])
            reader.diagnostics.add(Location("--var"), name, f"no `variable` block declares it{hint}")
    return replace(reader.names, variables=found, failed=frozenset(failed))


def _value(block: Block, reader: BlockReader, given: Mapping[str, str]) -> Literal | None:
    name, subject = block.labels[0], str(block)
    attributes = tuple(_bare_type(attribute) for attribute in block.attributes)
    data = reader.data(replace(block, attributes=attributes), VariableBlock, subject)
    settings = reader.model(VariableBlock, data, data.values)
    if settings is None or data.broken:
        return None
    text = f"var.{name}"
    environment = reader.names.environ.get(settings.env) if settings.env else None
    for source, value in (
        (f"--var {name}", given.get(name)),
        (f"the environment variable `{settings.env}`", environment),
    ):
        if value is not None and not is_text(value):
            reader.diagnostics.add(block.location, subject, f"the value of {source} is not UTF-8 text")
            return None
    if name in given:
        return _typed(given[name], settings, Literal(text, None, secret=settings.sensitive), data, reader)
    if environment is not None:
        return _typed(environment, settings, Literal(text, None, secret=True), data, reader)
    if "default" in data.values:
        secret = settings.sensitive or ("default",) in data.secret_keys
        return _typed(settings.default, settings, Literal(text, None, secret=secret), data, reader)
    ways = f"--var {name}=…" if not settings.env else f"--var {name}=… or the environment variable `{settings.env}`"
    reader.diagnostics.add(block.location, subject, f"has no value; give it a `default`, or {ways}")
    return None


def _typed(value: Any, settings: VariableBlock, empty: Literal, data: Data, reader: BlockReader) -> Literal | None:
    kind = settings.type or "any"
    if isinstance(value, str) and kind not in {"string", "any"}:
        # A value from the command line or the environment is text; so is a quoted default.
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    fits = kind == "any" or (isinstance(value, _KINDS[kind]) and (kind == "bool" or not isinstance(value, bool)))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        reader.diagnostics.add(data.location(("default",)), data.subject, f"its value is not a {kind}")
        return None
    return Literal(empty.text, value, secret=empty.secret)


def _bare_type(attribute: Attribute) -> Attribute:
    """Return the attribute with a bare word as its `type` made a string: Nemo and Terraform write `type = string`."""
    term = attribute.term
    if attribute.name == "type" and isinstance(term, Reference) and not term.steps:
        return replace(attribute, term=Constant(term.line, term.text, term.root))
    return attribute
