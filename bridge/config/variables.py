"""Read `variable "name" { … }` blocks: the values of `var.name`."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from bridge.config.blocks import BlockReader
from bridge.config.compiler import Names, placeholder
from bridge.config.diagnostics import Diagnostics, did_you_mean
from bridge.config.expressions import Literal
from bridge.config.models import VariableBlock
from bridge.config.secrets import is_text
from bridge.config.syntax import Attribute, Block, Constant, Reference, references
from bridge.core.diagnostic import Code, Location

#: What a value of each type is, for a diagnostic.
_TYPES: Final[Mapping[str, str]] = {
    "string": "a string; write it in quotes",
    "number": "a number, such as 5 or 2.5",
    "int": "a whole number, such as 5; the type `float` takes 2.5, too",
    "float": "a number, such as 2.5",
    "bool": "`true` or `false`",
    "list": 'a list, such as ["a", "b"]; on the command line and in the environment, JSON',
    "map": 'a map, such as { a = 1 }; on the command line and in the environment, JSON such as {"a": 1}',
    "any": "numbers of at most 64 bits",
}
#: What takes the place of a value that is not given, where text does not fit.
_PLACEHOLDERS: Final[Mapping[str, Any]] = {
    "number": 1,
    "int": 1,
    "float": 1.0,
    "bool": True,
    "list": [],
    "map": {},
}
#: The most circles that are reported at once; of thousands of variables there can be very many.
_MOST_CIRCLES: Final = 10


def read_variables(blocks: Iterable[Block], reader: BlockReader, given: Mapping[str, str]) -> Names:
    """Read the variables and return the names that all other blocks can use.

    A value comes from `--var`, else from the environment variable that `env` names, else from `default`. A default may
    use the environment and other variables, whatever the order of the blocks.

    Args:
        blocks: The `variable` blocks.
        reader: Reads blocks; takes the diagnostics.
        given: Values from `--var`.
    """
    declared = {block.labels[0]: block for block in blocks}
    found: dict[str, Literal] = {}
    secrets: dict[str, frozenset[str]] = {}
    unresolved = set(declared)
    # The variables that are read see those that were read before: all these are filled on the way.
    names = msgspec.structs.replace(reader.names, variables=found, unresolved=unresolved, variable_secrets=secrets)
    order, circles = _in_order({name: _used(block, declared) for name, block in declared.items()})
    for circle in circles:
        _report_circle(circle, declared[circle[0]], reader.diagnostics)
    for name in order:
        own = msgspec.structs.replace(names, secrets=set())
        value = _Variable(declared[name], BlockReader(own, reader.diagnostics), given).value()
        if value is not None:
            found[name] = value
            secrets[name] = frozenset(own.secrets)
            unresolved.remove(name)
    for name in given:
        if name not in declared and reader.diagnostics.complete:
            message, hint = "no `variable` block declares it", did_you_mean(name, declared)
            reader.diagnostics.add(Location("--var"), name, message, code=Code.UNKNOWN_VARIABLE, hint=hint)
    return names


def _used(block: Block, declared: Mapping[str, Block]) -> list[str]:
    """Return the declared variables that a block uses, each once."""
    found = [
        str(reference.steps[0])
        for attribute in block.attributes
        for reference in references(attribute.term)
        if reference.root == "var" and reference.steps
    ]
    return [name for name in dict.fromkeys(found) if name in declared]


def _in_order(uses: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the variables, each after those that it uses, and the circles among them, each with its members in order.

    It does not call itself, because variables may use each other in a chain of any length.
    """
    order: list[str] = []
    circles: list[list[str]] = []
    done: set[str] = set()
    for start in uses:
        path: dict[str, Iterator[str]] = {} if start in done else {start: iter(uses[start])}
        while path:
            name, rest = next(reversed(path.items()))
            for other in rest:
                if other in path and len(circles) < _MOST_CIRCLES:
                    members = list(path)
                    circles.append(members[members.index(other) :])
                elif other not in path and other not in done:
                    path[other] = iter(uses[other])
                    break
            else:
                del path[name]
                done.add(name)
                order.append(name)
    return order, circles


def _report_circle(circle: Sequence[str], block: Block, diagnostics: Diagnostics) -> None:
    way = " → ".join(f"`var.{name}`" for name in [*circle, circle[0]])
    places = [one.location for one in block.attributes if one.name == "default"]
    message = f"a circle of variables: {way}; give one of them a value that does not use the next one"
    diagnostics.add([*places, block.location][0], f"{block} > default", message, code=Code.CIRCULAR_VARIABLES)


class _Variable(msgspec.Struct, frozen=True):
    """One `variable` block while its value is found.

    Attributes:
        block: The block.
        reader: Reads it; takes the diagnostics, and the secrets that the value is made of.
        given: Values from `--var`.
    """

    block: Block
    reader: BlockReader
    given: Mapping[str, str]

    def value(self) -> Literal | None:
        """Return the value; add diagnostics and return None where there is none."""
        block, name, subject = self.block, self.block.labels[0], str(self.block)
        attributes = tuple(_bare_type(one) for one in block.attributes if not self._is_unused(one))
        data = self.reader.data(msgspec.structs.replace(block, attributes=attributes), VariableBlock, subject)
        settings = self.reader.model(VariableBlock, data, data.values)
        if settings is None or data.broken or data.incomplete:
            return None
        place = data.location(("default",))
        own = None
        if "default" in data.values:
            secret = settings.sensitive or ("default",) in data.secret_keys
            if ("default",) in data.placeholders:
                own = self._placeholder(settings.default, settings)
            else:
                own = self._typed(settings.default, settings, place, f"{subject} > default", "", secret=secret)
        if name in self.given:
            return self._from_outside(self.given[name], settings, f"--var {name}", secret=settings.sensitive)
        environment = self.reader.names.environ.get(settings.env) if settings.env else None
        if environment is not None:
            return self._from_outside(environment, settings, f"the environment variable `{settings.env}`", secret=True)
        if "default" not in data.values and settings.env and self.reader.names.with_placeholders:
            return self._placeholder(placeholder(settings.env), settings)
        if "default" not in data.values:
            ways = f"--var {name}=…"
            if settings.env:
                ways += f" or the environment variable `{settings.env}`"
            hint = f"give it a `default`, or {ways}"
            self.reader.diagnostics.add(block.location, subject, "has no value", code=Code.NO_VALUE, hint=hint)
        return own

    def _is_unused(self, attribute: Attribute) -> bool:
        """Return whether this is a default that depends on something, and need not be known.

        So `default = env.TOKEN` demands nothing of the environment where `--var` gives the value.
        """
        if attribute.name != "default" or not any(one.root in {"env", "var"} for one in references(attribute.term)):
            return False
        environment = [one.term for one in self.block.attributes if one.name == "env"]
        return self.block.labels[0] in self.given or any(
            isinstance(term, Constant) and term.value in self.reader.names.environ for term in environment
        )

    def _placeholder(self, value: Any, settings: VariableBlock) -> Literal:
        """Return what takes the place of the value: text that is made of a placeholder, or a value of the type."""
        name, kind = self.block.labels[0], settings.type or "any"
        self.reader.names.placeholders.add(name)
        try:
            value = _converted(value, kind)
        except ValueError:
            value = _PLACEHOLDERS[kind]
        return Literal(f"var.{name}", value, secret=True)

    def _from_outside(self, text: str, settings: VariableBlock, source: str, *, secret: bool) -> Literal | None:
        subject, message = str(self.block), f"the value of {source}"
        if not is_text(text):
            message = f"{message} is not UTF-8 text"
            self.reader.diagnostics.add(self.block.location, subject, message, code=Code.UNSET_ENVIRONMENT)
            return None
        if secret:
            self.reader.names.secrets.add(text)
        return self._typed(text, settings, self.block.location, subject, f"{message} ", secret=secret)

    def _typed(
        self, value: Any, settings: VariableBlock, location: Location, subject: str, what: str, *, secret: bool
    ) -> Literal | None:
        """Return a value as one of the variable's type; add a diagnostic and return None where it is none.

        A value from the command line or the environment is text, and so may a default be.
        """
        kind = settings.type or "any"
        try:
            converted = _converted(value, kind)
        except ValueError:
            self.reader.diagnostics.add(location, subject, f"{what}must be {_TYPES[kind]}", code=Code.WRONG_TYPE)
            return None
        return Literal(f"var.{self.block.labels[0]}", converted, secret=secret)


def _converted(value: Any, kind: str) -> Any:
    """Return a value as one of this type. Raises ValueError where it does not fit."""
    try:
        if isinstance(value, str) and kind not in {"string", "any"}:
            value = json.loads(value)
        fits = _can_be_sent(value)
    except RecursionError:
        raise ValueError from None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "string":
            fits = fits and isinstance(value, str)
        case "number" | "float":
            fits = fits and is_number
        case "int":
            fits = fits and is_number and int(value) == value
        case "bool":
            fits = isinstance(value, bool)
        case "list":
            fits = fits and isinstance(value, list)
        case "map":
            fits = fits and isinstance(value, dict)
    if not fits:
        raise ValueError
    if kind == "int":
        return int(value)
    return float(value) if kind == "float" else value


def _can_be_sent(value: Any) -> bool:
    """Return whether all numbers in a value are finite and have at most 64 bits, as on the bus."""
    if isinstance(value, dict | list):
        return all(map(_can_be_sent, value.values() if isinstance(value, dict) else value))
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(1 << 63) <= value < 1 << 64


def _bare_type(attribute: Attribute) -> Attribute:
    """Return the attribute with a bare word as its `type` made a string: Nemo and Terraform write `type = string`."""
    term = attribute.term
    if attribute.name == "type" and isinstance(term, Reference) and not term.steps:
        return msgspec.structs.replace(attribute, term=Constant(term.span, term.text, term.root))
    return attribute
