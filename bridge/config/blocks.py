"""Turn blocks into plain data and pydantic models; each fault becomes a diagnostic at the line of its key."""

import copy
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bridge.config.compiler import Compiler, Names
from bridge.config.diagnostics import Diagnostics, did_you_mean, one_of
from bridge.config.expressions import Expression
from bridge.config.keys import bare, blocks_where_plain, inner_model, keys_of, where_it_belongs
from bridge.config.kinds import misuses
from bridge.config.secrets import SecretValue
from bridge.config.syntax import Attribute, Block, Constant, Sequence
from bridge.core.diagnostic import Code, Location, Related
from bridge.core.endpoint import PlainFault
from bridge.core.near import near_name

Model = TypeVar("Model", bound=BaseModel)
KeyPath = tuple[str, ...]

_PLAIN_WORDS: Final = {
    "missing": "is missing",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a map",
    "model_type": "must be a block",
    "model_attributes_type": "must be a block",
    "path_type": "must be a path",
    "path_not_file": "there is no such file",
    "path_not_directory": "there is no such directory",
    "string_pattern_mismatch": "may hold letters, digits, `_` and `-` only",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}


#: What people write in quotes for true and false.
_TRUTHS: Final = {"true": ("true", "yes", "on", "y", "1"), "false": ("false", "no", "off", "n", "0", "none")}


class Data(msgspec.Struct):
    """The content of a block, and where each part of it stands.

    Attributes:
        values: The block as plain data.
        locations: The location of each key.
        secrets: Keys whose value came from the environment, or a part of it, each with the value.
        broken: Keys that have a diagnostic already.
        placeholders: Keys whose value is a placeholder, or is made of one.
        incomplete: Blocks of which a part could not be read, so that they may have more keys.
        meant: Keys that were probably meant by unknown ones, so that no diagnostic says that they are missing.
    """

    block: Block
    subject: str
    values: dict[str, Any] = msgspec.field(default_factory=dict)
    locations: dict[KeyPath, Location] = msgspec.field(default_factory=dict)
    secrets: dict[KeyPath, SecretValue] = msgspec.field(default_factory=dict)
    broken: set[KeyPath] = msgspec.field(default_factory=set)
    placeholders: set[KeyPath] = msgspec.field(default_factory=set)
    incomplete: set[KeyPath] = msgspec.field(default_factory=set)
    meant: set[KeyPath] = msgspec.field(default_factory=set)

    def has(self, name: str) -> bool:
        """Return whether the block has a key, is meant to have it, or may have it in a part that could not be read."""
        return (name,) in self.locations or () in self.incomplete or any(key[0] == name for key in self.meant)

    def is_consequence(self, key: KeyPath, *, missing: bool = False) -> bool:
        """Return whether a fault at this key may only be the consequence of one that has a diagnostic already.

        Args:
            key: The key.
            missing: True where the fault is that the key is missing.
        """
        if missing and (key[:-1] in self.incomplete or key in self.meant):
            return True
        if any(key[: len(one)] == one for one in self.broken):
            return True
        # What a block says as a whole depends on all in it.
        parts = (*self.broken, *self.incomplete, *(one for one in self.meant if len(one) > len(key)))
        return any(one[: len(key)] == key for one in parts)

    def location(self, key: KeyPath) -> Location:
        """Return the location of a key; of the block that holds it, where the key is not there."""
        while key:
            if key in self.locations:
                return self.locations[key]
            key = key[:-1]
        return self.block.location

    def item_location(self, key: str, position: int) -> Location:
        """Return the location of one item of a list; of the whole value where it is not written as a list."""
        location = self.location((key,))
        for attribute in self.block.attributes:
            if attribute.name == key and isinstance(attribute.term, Sequence) and position < len(attribute.term.items):
                return location.at(attribute.term.items[position].span)
        return location

    def with_lists(self, *keys: str) -> dict[str, Any]:
        """Return the values, with a list of one item where one of these keys has a string."""
        return self.values | {key: [self.values[key]] for key in keys if isinstance(self.values.get(key), str)}

    @property
    def secret_keys(self) -> frozenset[KeyPath]:
        """Return the keys whose value came from the environment."""
        return frozenset(self.secrets)

    def secret_values(self, key: KeyPath) -> list[SecretValue]:
        """Return the secret values at a key, inside it and around it."""
        return [value for at, value in self.secrets.items() if key[: len(at)] == at or at[: len(key)] == key]


class _Level(msgspec.Struct, frozen=True):
    """A block that is being turned into data.

    Attributes:
        block: The block.
        model: Its model; None where any key may stand in it.
        subject: The block, as diagnostics name it.
        path: Its path in the outermost block, with labels and positions.
        values: Takes its values.
        types: The types of the blocks from the outermost to this one.
        outermost: The model of the outermost block.
    """

    block: Block
    model: type[BaseModel] | None
    subject: str
    path: KeyPath
    values: dict[str, Any]
    types: tuple[str, ...]
    outermost: type[BaseModel] | None

    def annotation(self, name: str) -> Any:
        fields = self.model.model_fields if self.model is not None else {}
        return next((one.annotation for field, one in fields.items() if name == (one.alias or field)), None)


class BlockReader(msgspec.Struct, frozen=True):
    """Turn blocks into data, and data into models."""

    names: Names
    diagnostics: Diagnostics

    def compile(
        self, attribute: Attribute, subject: str, root: str | None = None, *, kind: str = ""
    ) -> Expression | None:
        """Compile the expression of one attribute; add diagnostics and return None where it is faulty.

        Args:
            attribute: The attribute.
            subject: The block, as diagnostics name it.
            root: `event` or `message` where the expression is evaluated for each of these; None where the value must
                be known now.
            kind: The type of the attribute's block; in `auth`, diagnostics do not quote the file.
        """
        compiler = Compiler(self.names, root)
        expression = compiler.compile(attribute.term)
        for fault in compiler.faults:
            if not fault.message:
                continue
            self.diagnostics.fault(fault, attribute.location, f"{subject} > {attribute.name}", kind)
        if compiler.faults or (root is not None and self._is_misused(attribute, subject)):
            return None
        return expression

    def _is_misused(self, attribute: Attribute, subject: str) -> bool:
        """Return whether an expression can never be computed; add the diagnostics of that."""
        found = misuses(attribute.term)
        for misuse in found:
            report = self.diagnostics.add if misuse.fails else self.diagnostics.warn
            code = Code.WRONG_OPERAND if misuse.fails else Code.ALWAYS_THE_SAME
            location = attribute.location.at(misuse.term.span)
            report(location, f"{subject} > {attribute.name}", misuse.message, code=code)
        return any(misuse.fails for misuse in found)

    def data(self, block: Block, model: type[BaseModel] | None, subject: str, *, computed: Iterable[str] = ()) -> Data:
        """Return the block as plain data, without the keys in `computed`, which are expressions."""
        data = Data(block, subject)
        self._collect(_Level(block, model, subject, (), data.values, (block.type,), model), data, frozenset(computed))
        return data

    def _collect(self, level: "_Level", data: Data, computed: frozenset[str] = frozenset()) -> None:
        for name in level.block.damaged:
            key = (*level.path, name)
            data.locations[key] = level.block.location
            data.broken.add(key)
        if not level.block.complete:
            data.incomplete.add(level.path)
        for attribute in level.block.attributes:
            name = attribute.name
            key = (*level.path, name)
            data.locations[key] = attribute.value
            if not self._known(name, level, attribute.location, data) or name in computed:
                continue
            if isinstance(bare(level.annotation(name)), type(BaseModel)):
                subject, hint = f"{level.subject} > {name}", f"write `{name} {{ … }}`"
                if isinstance(attribute.term, Constant):
                    # The same key may be one of another block, where it has no keys of its own: `tls = false`.
                    elsewhere = blocks_where_plain(name, level.types, level.outermost)
                    hint += f", or `{name} = …` in {elsewhere}" if elsewhere else ""
                self.diagnostics.add(attribute.location, subject, "is a block", code=Code.BLOCK_OR_KEY, hint=hint)
                data.broken.add(key)
                continue
            if isinstance(attribute.term, Constant) and takes_only_truth(level.annotation(name), attribute.term.value):
                self._quoted_truth(attribute, level)
                level.values[name] = attribute.term.value  # it is there, so that nothing else misses it
                data.broken.add(key)
                continue
            expression = self.compile(attribute, level.subject, kind=level.block.type)
            if expression is None:
                data.broken.add(key)
                continue
            value = expression.evaluate({})
            if expression.secret:
                data.secrets[key] = SecretValue.of(expression)
            if self.names.uses_placeholder(attribute.term):
                data.placeholders.add(key)
            if _holds(level.annotation(name), Path):
                try:
                    value = anchored(value, attribute.location)
                except ValueError as error:
                    subject = f"{level.subject} > {name}"
                    self.diagnostics.add(attribute.value, subject, str(error), code=Code.INVALID_VALUE)
                    data.broken.add(key)
                    continue
            level.values[name] = value
        for child in level.block.blocks:
            if not self._known(child.type, level, child.location, data):
                continue
            if child.type in computed or is_plain(level.annotation(child.type)):
                subject, hint = f"{level.subject} > {child.type}", f"write `{child.type} = …`"
                self.diagnostics.add(child.location, subject, "is no block", code=Code.BLOCK_OR_KEY, hint=hint)
                data.broken.add((*level.path, child.type))
                data.locations[(*level.path, child.type)] = child.location
                continue
            self._child(child, level, data)

    def _quoted_truth(self, attribute: Attribute, level: "_Level") -> None:
        subject = f"{level.subject} > {attribute.name}"
        written = str(attribute.term.value).strip().lower() if isinstance(attribute.term, Constant) else ""
        value = {word: value for value, words in _TRUTHS.items() for word in words}.get(written)
        hint = f"write `{value}`, without quotes" if value else "write `true` or `false`, without quotes"
        self.diagnostics.add(
            attribute.value, subject, "must be true or false, not a string", code=Code.WRONG_TYPE, hint=hint
        )

    def _child(self, child: Block, level: "_Level", data: Data) -> None:
        key: KeyPath = (*level.path, child.type)
        subject = f"{level.subject} > {child}"
        annotation = level.annotation(child.type)
        values: dict[str, Any] = {}
        if child.labels:
            if len(child.labels) > 1:
                self.diagnostics.add(child.location, subject, "takes one label", code=Code.INVALID_LABEL)
            labelled = level.values.setdefault(child.type, {})
            key = (*key, child.labels[0])
            if not isinstance(labelled, dict) or child.labels[0] in labelled:
                self._twice(child.location, subject, data, key)
                return
            labelled[child.labels[0]] = values
        elif typing.get_origin(bare(annotation)) in {list, tuple} and key not in data.locations:
            siblings = level.values.setdefault(child.type, [])
            key = (*key, str(len(siblings)))
            siblings.append(values)
        elif key in data.locations:
            self._twice(child.location, subject, data, key)
            return
        else:
            level.values[child.type] = values
        data.locations[key] = child.location
        types = (*level.types, child.type)
        self._collect(_Level(child, inner_model(annotation), subject, key, values, types, level.outermost), data)

    def _twice(self, location: Location, subject: str, data: Data, key: KeyPath) -> None:
        first = data.location(key)
        related = (Related(first, "first given here"),)
        message = f"given twice; the first is at {first}"
        self.diagnostics.add(location, subject, message, code=Code.GIVEN_TWICE, related=related)

    def _known(self, name: str, level: "_Level", location: Location, data: Data) -> bool:
        """Return whether a block has such a key; where it has none, add the diagnostic, and none for what was meant."""
        if level.model is None or level.model.model_config.get("extra") == "allow" or name in keys_of(level.model):
            return True
        known = keys_of(level.model)
        message, code = "unknown key", Code.MISPLACED_KEY
        hint, meant = where_it_belongs(name, level.types, level.outermost)
        if not hint:
            code = Code.UNKNOWN_KEY
            hint = did_you_mean(name, known) or (f"there are {one_of(known)}" if known else "this block takes none")
            meant = [(*level.path, one) for one in [near_name(name, known)] if one is not None]
        data.meant.update(meant)
        gone: Mapping[str, str] = getattr(level.model, "GONE", {})
        if name in gone:
            message, hint, code = "there is no such key any more", gone[name], Code.REMOVED_KEY
        self.diagnostics.add(location, f"{level.subject} > {name}", message, code=code, hint=hint)
        return False

    def model(
        self, model: type[Model], data: Data, values: Mapping[str, Any], path: KeyPath = (), *, secret: bool = False
    ) -> Model | None:
        """Check data and return it as a model; add diagnostics and return None where it is not valid.

        Args:
            model: The model to check against.
            data: The whole block, for the locations.
            values: The part of the data to check.
            path: The path of that part in the data.
            secret: True where each value is a secret, which no diagnostic may show.
        """
        try:
            return model.model_validate(values)
        except ValidationError as error:
            fitted = _fitted(model, values, path, data.placeholders) if data.placeholders else None
            if fitted is not None:
                return fitted
            for detail in error.errors(include_url=False):
                key = (*path, *(str(part) for part in detail["loc"]))
                if data.is_consequence(key, missing=detail["type"] == "missing"):
                    continue
                subject = " > ".join([data.subject, *key])
                message, code, hint = self._complaint(detail, key, data, model, secret=secret)
                self.diagnostics.add(data.location(key), subject, message, code=code, hint=hint)
            return None

    @staticmethod
    def _complaint(
        detail: ErrorDetails, key: KeyPath, data: Data, model: type[BaseModel], *, secret: bool
    ) -> tuple[str, Code, str]:
        """Return message, code and hint for what pydantic found."""
        kind, given = detail["type"], detail.get("input")
        secrets = [SecretValue.whole(given)] if secret else data.secret_values(key)
        if kind == "extra_forbidden":
            return "unknown key", Code.UNKNOWN_KEY, did_you_mean(key[-1], keys_of(_model_at(model, detail["loc"][:-1])))
        if given is None and kind != "missing":
            return "must not be null", Code.WRONG_TYPE, ""
        if kind == "literal_error":
            expected = str(detail.get("ctx", {}).get("expected", ""))
            options = re.findall(r"'([^']*)'", expected)
            hint = did_you_mean(given, options) if isinstance(given, str) and not secrets else ""
            return f"must be {expected.replace(chr(39), '`')}", Code.INVALID_VALUE, hint
        if kind in _PLAIN_WORDS:
            return _PLAIN_WORDS[kind], _code(kind), ""
        if isinstance(detail.get("ctx", {}).get("error"), PlainFault):
            secrets = []
        message = unless_secret(detail["msg"].removeprefix("Value error, ").replace("Input should", "must"), secrets)
        return message, _code(kind), ""

    @staticmethod
    def message_of(message: str, key: KeyPath, data: Data) -> str:
        """Return the message about a key; another one without the value where it would repeat a secret."""
        return unless_secret(message, data.secret_values(key))


#: What takes the place of a placeholder that is of the wrong type: nothing, so that the default holds; or one of these.
_FITTING: Final = (None, 1, True, "1s", "http://placeholder.invalid")


def _fitted(
    model: type[Model], values: Mapping[str, Any], path: KeyPath, placeholders: Iterable[KeyPath]
) -> Model | None:
    """Return the model with other values in place of placeholders that do not fit; None where there is more amiss."""
    inside = [key[len(path) :] for key in placeholders if key[: len(path)] == path and len(key) > len(path)]
    for fitting in _FITTING:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            wrong = [tuple(str(part) for part in detail["loc"]) for detail in error.errors(include_url=False)]
        unfit = [key for key in inside if any(key[: len(at)] == at or at[: len(key)] == key for at in wrong)]
        values = copy.deepcopy(dict(values))
        for key in unfit:
            _put(values, key, fitting)
    return None


def _put(values: Any, key: KeyPath, value: Any) -> None:
    """Put a value in the place of a key, which may be inside of maps and lists; None takes it out."""
    for part in key[:-1]:
        values = values[int(part) if isinstance(values, list) else part]
    if value is None:
        values.pop(key[-1], None)
    else:
        values[key[-1]] = value


def anchored(value: Any, location: Location) -> Any:
    """Return an absolute path: relative ones start at the file that names them, `~` is the user's home directory.

    Raises:
        ValueError: It can be no path; the message does not repeat it.
    """
    if isinstance(value, str) and value:
        if "\0" in value:
            raise ValueError("a path has no NUL character")
        try:
            return str(Path(location.file).parent.absolute() / Path(value).expanduser())
        except RuntimeError:
            raise ValueError(
                "`~` and a name stand for the home directory of a user, and there is no such user"
            ) from None
    if isinstance(value, list):
        return [anchored(item, location) for item in value]
    return value


def _code(kind: str) -> Code:
    """Return the code for a kind of error of pydantic's."""
    if kind == "missing":
        return Code.MISSING_KEY
    if kind.startswith("path_not"):
        return Code.UNUSABLE_FILE
    return Code.WRONG_TYPE if kind.endswith(("_type", "_parsing")) else Code.INVALID_VALUE


def takes_only_truth(annotation: Any, value: Any) -> bool:
    """Return whether a value is a string where only true or false is taken; pydantic would take `"no"` for false.

    A string from the environment or a variable is another matter: there is no other way to write it there.
    """
    return isinstance(value, str) and bare(annotation) is bool


def is_plain(annotation: Any) -> bool:
    """Return whether a key takes a text, number or list and so is never a block."""
    found = bare(annotation)
    kinds = {typing.get_origin(found)} | ({found} if isinstance(found, type) else set())
    return not kinds.isdisjoint({str, int, float, bool, list, tuple, Literal}) and inner_model(annotation) is None


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model of a part of a block, which may be in a list or a map."""
    for part in path:
        field = model.model_fields.get(str(part))
        model = (None if field is None else inner_model(field.annotation)) or model
    return model


def _holds(annotation: Any, kind: type) -> bool:
    return annotation is kind or any(_holds(argument, kind) for argument in typing.get_args(annotation))


def unless_secret(message: str, secrets: Iterable[SecretValue]) -> str:
    """Return the message; another one without the value where it would repeat a part of a secret."""
    for secret in secrets:
        message = secret.hidden(message)
    return message
