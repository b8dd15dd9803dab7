"""Evaluate the expressions of routes and subscriptions.

An expression is compiled once, when the configuration is loaded, and evaluated for each message. A plain path is
followed directly; lists, maps and templates evaluate their parts; anything with an operator or a function is CEL
(`cel.py`).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import MsgspecError

from bridge.core.errors import InvalidError

Scope = Mapping[str, Any]
"""The values of the roots: `{"event": bridge.core.model.Event}` or `{"message": bridge.core.model.Inbound}`.

A mapping with the same names may take the object's place.
"""

#: The fields that a root has in expressions, each with the attribute of the object that holds it.
FIELDS: Final[dict[str, dict[str, str]]] = {
    "event": {
        "id": "id",
        "type": "event_type",
        "payload": "payload",
        "timestamp": "timestamp",
        "source": "source",
        "correlation_id": "correlation_id",
        "headers": "headers",
    },
    "message": {"topic": "topic", "segments": "topic", "payload": "message", "headers": "headers"},
}


class Expression(ABC):
    """A compiled expression; a `Literal` where it needs no message.

    Attributes:
        text: The expression as the file has it, with the names of `env` and `var`, never their values.
        secret: True where a value from `env` is part of it.
    """

    __slots__ = ("secret", "text")

    def __init__(self, text: str, *, secret: bool = False) -> None:
        self.text = text
        self.secret = secret

    @property
    def constant(self) -> bool:
        """Return whether the value is known already."""
        return False

    @property
    def shape(self) -> tuple[str | None, ...]:
        """Return what is known of the text that it gives: its parts in order, None for each part that is computed."""
        return (None,)

    @property
    def signature(self) -> tuple[Any, ...]:
        """Return what its value is computed from; expressions with equal ones compute the same. It holds secrets."""
        return (self.text,)

    @property
    def resolved(self) -> str:
        """Return the expression on one line with the values of variables in place of their names, but no secrets."""
        return self.text

    @abstractmethod
    def evaluate(self, scope: Scope) -> Any:
        """Return the value for one message.

        Raises:
            InvalidError: It cannot be computed for this message; the error names the expression and the reason.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text})"


class Literal(Expression):
    """A value that is known when the configuration is loaded.

    Attributes:
        value: The value.
        parts: What a template, list or map was made of, where all of it is known; empty for a value of one piece.
    """

    __slots__ = ("parts", "value")

    def __init__(self, text: str, value: Any, *, secret: bool = False, parts: "Iterable[Literal]" = ()) -> None:
        super().__init__(text, secret=secret)
        self.value = value
        self.parts = tuple(parts)

    def pieces(self) -> Iterator["Literal"]:
        """Yield the values of one piece that this one is made of; itself where it is one."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.pieces()

    @property
    def constant(self) -> bool:
        """Return True: nothing is left to compute."""
        return True

    @property
    def shape(self) -> tuple[str | None, ...]:
        """See `Expression.shape`."""
        return (self.value,) if isinstance(self.value, str) else (None,)

    @property
    def signature(self) -> tuple[Any, ...]:
        """See `Expression.signature`."""
        return ("value", self.value)

    @property
    def resolved(self) -> str:
        """See `Expression.resolved`."""
        return self.text if self.secret else json.dumps(self.value, ensure_ascii=False)

    def evaluate(self, scope: Scope) -> Any:  # noqa: ARG002 - it needs no message
        """Return the value."""
        return self.value


class PathExpression(Expression):
    """A plain path into the message, as in `event.payload.items[0].id`."""

    __slots__ = ("_attribute", "_field", "_get", "_indexed", "_root", "_steps")

    def __init__(self, text: str, root: str, steps: tuple[str | int, ...]) -> None:
        super().__init__(text)
        self._root = root
        self._field = str(steps[0]) if steps else ""
        # Where the root object has the value as it is, one look gets it.
        plain = self._field not in {"", "segments", "headers"}
        self._attribute = FIELDS[root][self._field] if plain else None
        self._get = _getter(root, self._field)
        self._steps = steps[1:]
        self._indexed = any(isinstance(step, int) for step in self._steps)

    @property
    def signature(self) -> tuple[Any, ...]:
        """See `Expression.signature`."""
        return ("path", self._root, self._field, *self._steps)

    def evaluate(self, scope: Scope) -> Any:
        """See `Expression.evaluate`."""
        try:
            carrier = scope[self._root]
            if self._attribute is None or carrier.__class__ is dict:
                value = self._get(carrier)
            else:
                value = getattr(carrier, self._attribute)
            if self._indexed:
                return self._walk(value)
            for step in self._steps:
                value = value[step]
        except (KeyError, IndexError, TypeError):
            raise InvalidError(f"`{self.text}`: {self._why(scope)}") from None
        except (MsgspecError, UnicodeDecodeError):
            # The bus checks only that the payload is one value; msgspec reports bad UTF-8 in Python's own error.
            raise InvalidError(f"`{self.text}`: the payload cannot be decoded") from None
        else:
            return value

    def present(self, scope: Scope) -> bool:
        """Return whether every step of the path exists; a field of the root that is null counts as missing."""
        try:
            value = self._walk(self._get(scope[self._root]))
        except (KeyError, IndexError, TypeError):
            return False
        except (MsgspecError, UnicodeDecodeError):
            raise InvalidError(f"`{self.text}`: the payload cannot be decoded") from None
        return bool(self._steps) or value is not None

    def _walk(self, value: Any) -> Any:
        for step in self._steps:
            # Python would also index into a string; a path must not.
            if isinstance(step, int) and not isinstance(value, list | tuple):
                raise TypeError
            value = value[step]
        return value

    def _why(self, scope: Scope) -> str:
        value, walked = self._get(scope[self._root]), f"{self._root}.{self._field}"
        for step in self._steps:
            if isinstance(step, int):
                if not isinstance(value, list | tuple):
                    return f"{walked} is {kind_of(value)}, not a list"
                if step >= len(value):
                    return f"{walked} has {len(value)} items, no [{step}]"
            else:
                if not isinstance(value, Mapping):
                    return f"{walked} is {kind_of(value)}, not a map"
                if step not in value:
                    return f"there is no `{step}` in {walked}"
            value = value[step]
            walked += f"[{step}]" if isinstance(step, int) else f".{step}"
        return "cannot be read"


class Presence(Expression):
    """`has(path)`."""

    __slots__ = ("_path",)

    def __init__(self, text: str, path: PathExpression) -> None:
        super().__init__(text)
        self._path = path

    @property
    def signature(self) -> tuple[Any, ...]:
        """See `Expression.signature`."""
        return ("has", *self._path.signature)

    def evaluate(self, scope: Scope) -> bool:
        """Return whether the path exists."""
        return self._path.present(scope)


class TemplateExpression(Expression):
    """A string with `${…}` in it.

    Numbers are written as decimals (2.0 as `2`), booleans as `true` and `false`; null, lists and maps are errors.
    """

    __slots__ = ("_parts",)

    def __init__(self, text: str, parts: tuple[str | Expression, ...], *, secret: bool = False) -> None:
        super().__init__(text, secret=secret)
        self._parts = parts

    @property
    def shape(self) -> tuple[str | None, ...]:
        """See `Expression.shape`."""
        return tuple(part if isinstance(part, str) else None for part in self._parts)

    @property
    def signature(self) -> tuple[Any, ...]:
        """See `Expression.signature`."""
        return ("template", *(part if isinstance(part, str) else part.signature for part in self._parts))

    @property
    def resolved(self) -> str:
        """See `Expression.resolved`."""
        return f'"{"".join(map(_piece, self._parts))}"'

    def evaluate(self, scope: Scope) -> str:
        """See `Expression.evaluate`."""
        return "".join(
            [part if isinstance(part, str) else _in_string(part.evaluate(scope), part) for part in self._parts]
        )


class ListExpression(Expression):
    """A list with a part that is computed for each message."""

    __slots__ = ("_items",)

    def __init__(self, text: str, items: tuple[Expression, ...], *, secret: bool = False) -> None:
        super().__init__(text, secret=secret)
        self._items = items

    @property
    def signature(self) -> tuple[Any, ...]:
        """See `Expression.signature`."""
        return ("list", *(item.signature for item in self._items))

    @property
    def resolved(self) -> str:
        """See `Expression.resolved`."""
        return f"[{', '.join(item.resolved for item in self._items)}]"

    def evaluate(self, scope: Scope) -> list[Any]:
        """See `Expression.evaluate`."""
        return [item.evaluate(scope) for item in self._items]


class ObjectExpression(Expression):
    """A map with a part that is computed for each message."""

    __slots__ = ("_items",)

    def __init__(self, text: str, items: tuple[tuple[str, Expression], ...], *, secret: bool = False) -> None:
        super().__init__(text, secret=secret)
        self._items = items

    @property
    def signature(self) -> tuple[Any, ...]:
        """See `Expression.signature`."""
        return ("map", *((key, item.signature) for key, item in self._items))

    @property
    def resolved(self) -> str:
        """See `Expression.resolved`."""
        return f"{{ {', '.join(f'{_key(key)} = {item.resolved}' for key, item in self._items)} }}"

    def evaluate(self, scope: Scope) -> dict[str, Any]:
        """See `Expression.evaluate`."""
        return {key: item.evaluate(scope) for key, item in self._items}


def kind_of(value: Any) -> str:
    """Return the kind of a value, for a message to a person; the value itself may be a secret."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case bytes():
            return "bytes"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a map"
    return f"a {type(value).__name__}"


def _in_string(value: Any, part: Expression) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    raise InvalidError(f"`{part.text}`: {kind_of(value)} cannot be part of a string")


def _piece(part: str | Expression) -> str:
    """Return a part of a template as it stands between its quotes."""
    if isinstance(part, Literal) and not part.secret:
        part = _in_string(part.value, part)
    return json.dumps(part, ensure_ascii=False)[1:-1] if isinstance(part, str) else f"${{{part.resolved}}}"


def _key(key: str) -> str:
    """Return the key of a map as a file has it."""
    return key if key.isidentifier() else json.dumps(key, ensure_ascii=False)


def _getter(root: str, field: str) -> Callable[[Any], Any]:
    """Return a function that reads one field of the root object, or of a mapping in its place."""
    if not field:
        return lambda carrier: {name: _getter(root, name)(carrier) for name in FIELDS[root]}
    if field == "segments":
        topic = _getter(root, "topic")
        return lambda carrier: topic(carrier).replace("/", ".").split(".")
    attribute = FIELDS[root][field]

    def get(carrier: Any) -> Any:
        value = carrier.get(field) if isinstance(carrier, dict) else getattr(carrier, attribute)
        return {} if value is None and field == "headers" else value

    return get
