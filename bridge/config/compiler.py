"""Compile syntax trees to expressions: resolve names, compute constants, write operators as CEL."""

import json
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from bridge.config.cel import CelExpression, regex_fault
from bridge.config.diagnostics import Fault, did_you_mean, near, one_of
from bridge.config.expressions import (
    FIELDS,
    Expression,
    ListExpression,
    Literal,
    ObjectExpression,
    PathExpression,
    Presence,
    TemplateExpression,
)
from bridge.config.functions import ARITHMETIC, FUNCTIONS, in_place_of
from bridge.config.models import LABELLED_BLOCKS
from bridge.config.secrets import is_text, strings
from bridge.config.syntax import (
    Binary,
    Conditional,
    Constant,
    FunctionCall,
    Index,
    Object,
    Reference,
    Sequence,
    Template,
    Term,
    Unary,
    references,
)
from bridge.core.diagnostic import Code
from bridge.core.errors import InvalidError


def placeholder(name: str) -> str:
    """Return the text that takes the place of an environment variable, or of a variable's value, that is not given."""
    return f"placeholder-{name}"


class Names(msgspec.Struct, frozen=True):
    """The names that expressions may use.

    Attributes:
        environ: The environment, for `env.NAME`.
        variables: The variables, for `var.name`.
        unresolved: Variables that are declared but have no value; the reason has a diagnostic.
        variable_secrets: The secret texts of which the value of each variable was made.
        secrets: Collects the secret texts that expressions use.
        with_placeholders: Whether an environment variable that is not set has a placeholder, as in tests of the
            configuration; else it is a fault.
        placeholders: Collects the variables whose value is a placeholder, or is made of one.
        complete: False where a block could not be read, which may declare a variable.
    """

    environ: Mapping[str, str]
    variables: Mapping[str, Literal] = msgspec.field(default_factory=dict)
    unresolved: AbstractSet[str] = frozenset()
    variable_secrets: Mapping[str, AbstractSet[str]] = msgspec.field(default_factory=dict)
    secrets: set[str] = msgspec.field(default_factory=set)
    with_placeholders: bool = False
    placeholders: set[str] = msgspec.field(default_factory=set)
    complete: bool = True

    def uses_placeholder(self, term: Term) -> bool:
        """Return whether a part of a term's value is a placeholder."""
        return self.with_placeholders and any(
            (one.root == "env" and one.steps[0] not in self.environ)
            or (one.root == "var" and one.steps[0] in self.placeholders)
            for one in references(term)
            if one.steps
        )


class Compiler(msgspec.Struct):
    """Compile the terms of one attribute.

    Attributes:
        names: The names that may be used everywhere.
        root: `event` or `message` where the expression is evaluated for each of these; None where the value must be
            known now.
        faults: What is wrong; the result may be used only while this is empty. A fault without a message has a
            diagnostic already.
    """

    names: Names
    root: str | None = None
    faults: list[Fault] = msgspec.field(default_factory=list)

    def compile(self, term: Term) -> Expression:
        """Return the expression of a term; a `Literal` where nothing in it depends on a message."""
        match term:
            case Constant():
                return Literal(term.text, term.value)
            case Reference():
                return self._reference(term)
            case Template():
                parts = tuple(part if isinstance(part, str) else self.compile(part) for part in term.parts)
                inner = [Literal(part, part) if isinstance(part, str) else part for part in parts]
                return self._fold(TemplateExpression(term.text, parts, secret=_secret(inner)), inner, term)
            case Sequence():
                items = tuple(self.compile(item) for item in term.items)
                return self._fold(ListExpression(term.text, items, secret=_secret(items)), items, term)
            case Object():
                pairs = tuple((key, self.compile(item)) for key, item in term.items)
                values = [item for _, item in pairs]
                return self._fold(ObjectExpression(term.text, pairs, secret=_secret(values)), values, term)
            case FunctionCall(name="has"):
                return self._has(term)
        return self._cel(term)

    def _fold(
        self, expression: Expression, parts: "list[Expression] | tuple[Expression, ...]", term: Term
    ) -> Expression:
        if self.faults or not all(part.constant for part in parts):
            return expression
        joined = isinstance(expression, TemplateExpression | ListExpression | ObjectExpression)
        pieces = [part for part in parts if isinstance(part, Literal)] if joined else ()
        try:
            return Literal(term.text, expression.evaluate({}), secret=expression.secret, parts=pieces)
        except InvalidError as error:
            return self._fail(term, error.message, Code.INVALID_EXPRESSION)

    def _fail(self, term: Term, message: str, code: Code, *, hint: str = "", quotes: bool = True) -> Literal:
        self.faults.append(Fault(term.span, message, code=code, hint=hint, quotes=quotes))
        return Literal(term.text, None)

    def _reference(self, term: Reference) -> Expression:
        if term.root == "env":
            return self._environment(term)
        if term.root == "var":
            return self._variable(term)
        if term.root != self.root:
            return self._fail(term, self._unknown_root(term), Code.UNKNOWN_NAME)
        known = FIELDS[term.root]
        if term.steps and term.steps[0] not in known:
            step = str(term.steps[0])
            message = f"`{term.root}` has no `{step}`{near(step, known)}; it has {one_of(known)}"
            return self._fail(term, message, Code.UNKNOWN_NAME)
        return PathExpression(term.text, term.root, term.steps)

    def _unknown_root(self, term: Reference) -> str:
        if term.root in FIELDS:
            here = (
                f"only `{self.root}.…` can be used here"
                if self.root
                else "its value must be known when the file is loaded"
            )
            return f"`{term.text}`: {here}"
        if not term.steps:
            hint = near(term.root, ["env", "var", *([self.root] if self.root else [])])
            return f'`{term.root}` is a bare word; write "{term.root}" in quotes{hint}'
        roots = ["env", "var", *([self.root] if self.root else [])]
        label = term.steps[0]
        if term.root in LABELLED_BLOCKS and isinstance(label, str):
            return f'`{term.text}`: a block is named by its label in quotes; write "{label}"'
        meant = near(term.root, roots)
        is_text = not meant and all(isinstance(step, str) for step in term.steps)
        quoted = f'; write "{term.text}" in quotes if it is a text' if is_text else ""
        return f"`{term.text}`: there is no `{term.root}`{meant}; there are {one_of(roots)}{quoted}"

    def _environment(self, term: Reference) -> Literal:
        if len(term.steps) != 1 or not isinstance(term.steps[0], str):
            return self._fail(term, f"`{term.text}`: write `env.NAME`", Code.UNKNOWN_NAME)
        name = term.steps[0]
        value = self.names.environ.get(name)
        if value is None and self.names.with_placeholders:
            value = placeholder(name)
        if value is None:
            message = f"the environment variable `{name}` is not set"
            return self._fail(term, message, Code.UNSET_ENVIRONMENT, quotes=False)
        if not is_text(value):
            message = f"the environment variable `{name}` is not UTF-8 text"
            return self._fail(term, message, Code.UNSET_ENVIRONMENT, quotes=False)
        self.names.secrets.add(value)
        return Literal(term.text, value, secret=True)

    def _variable(self, term: Reference) -> Expression:
        variables, unresolved = self.names.variables, self.names.unresolved
        if not term.steps or not isinstance(term.steps[0], str):
            return self._fail(term, f"`{term.text}`: write `var.name`", Code.UNKNOWN_NAME)
        name, *steps = term.steps
        found = variables.get(str(name))
        if found is None:
            if name in unresolved or not self.names.complete:
                # It has a diagnostic where it is declared; an empty message marks the attribute as unusable.
                return self._fail(term, "", Code.NO_VALUE)
            hint = did_you_mean(str(name), [*variables, *unresolved])
            message = f"there is no variable `{name}`"
            return self._fail(term, message, Code.UNKNOWN_VARIABLE, hint=hint, quotes=False)
        value = found.value
        for step in steps:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return self._fail(term, f"`{term.text}`: there is no `{step}`", Code.UNKNOWN_NAME)
        if found.secret:
            self.names.secrets.update(strings(value), self.names.variable_secrets[str(name)])
        return Literal(term.text, value, secret=found.secret)

    def _has(self, term: FunctionCall) -> Expression:
        if len(term.arguments) == 1 and isinstance(term.arguments[0], Reference):
            path = self.compile(term.arguments[0])
            if isinstance(path, PathExpression) and len(term.arguments[0].steps) > 0:
                return Presence(term.text, path)
            if self.faults:
                return Literal(term.text, value=False)
        message = f"`{term.text}`: has() takes one path, as in `has(event.payload.id)`"
        return self._fail(term, message, Code.WRONG_ARGUMENTS)

    def _cel(self, term: Term) -> Expression:
        program = _Program(self)
        plain, exact = program.write(term)
        if self.faults:
            return Literal(term.text, None)
        try:
            expression = CelExpression(
                term.text,
                plain=plain,
                exact=exact,
                leaves=program.leaves,
                functions=program.functions,
                span=term.span,
            )
        except Fault as fault:
            self.faults.append(fault)
            return Literal(term.text, None)
        return self._fold(expression, list(program.leaves.values()), term)


class _Program(msgspec.Struct):
    """Write one CEL program in its two forms; see `cel.py`."""

    compiler: Compiler
    leaves: dict[str, Expression] = msgspec.field(default_factory=dict)
    functions: dict[str, Callable[..., Any]] = msgspec.field(default_factory=dict)

    def write(self, term: Term) -> tuple[str, str]:
        """Return the text of a term as plain CEL, and with our own functions for arithmetic."""
        match term:
            case Constant(value=value) if _is_plain(value):
                return (_literal(value),) * 2
            case Sequence():
                items = [self.write(item) for item in term.items]
                return _both(items, lambda parts: f"[{', '.join(parts)}]")
            case Object():
                pairs = [self.write(item) for _, item in term.items]
                keys = [_literal(key) for key, _ in term.items]
                return _both(pairs, lambda parts: "{" + ", ".join(map("{}: {}".format, keys, parts)) + "}")
            case Unary():
                if term.operator == "-":
                    # 0 - x, so that the second form needs no function for it.
                    zero = Constant(term.span, "0", 0)
                    return self.write(Binary(term.span, term.text, "-", zero, term.operand))
                return _both([self.write(term.operand)], lambda parts: f"!({parts[0]})")
            case Binary():
                return self._binary(term)
            case Conditional():
                parts = [self.write(part) for part in (term.condition, term.then, term.otherwise)]
                return _both(parts, lambda found: "({} ? {} : {})".format(*found))
            case Index():
                return _both([self.write(term.base), self.write(term.key)], lambda found: "({})[{}]".format(*found))
            case FunctionCall() if term.name != "has":
                return self._call(term)
        name = f"v{len(self.leaves)}"
        self.leaves[name] = self.compiler.compile(term)
        return name, name

    def _binary(self, term: Binary) -> tuple[str, str]:
        left, right = self.write(term.left), self.write(term.right)
        plain = f"({left[0]} {term.operator} {right[0]})"
        if term.operator not in ARITHMETIC:
            return plain, f"({left[1]} {term.operator} {right[1]})"
        name, call = ARITHMETIC[term.operator]
        self.functions[name] = call
        exact = f"{name}({left[1]}, {right[1]})"
        return (f"{name}({left[0]}, {right[0]})" if term.operator == "/" else plain), exact

    def _call(self, term: FunctionCall) -> tuple[str, str]:
        function = FUNCTIONS.get(term.name)
        if function is None:
            known = [*FUNCTIONS, "has"]
            other = in_place_of(term.name)
            hint = f"write `{other}`" if other else did_you_mean(term.name, known) or f"there are {one_of(known)}"
            message = f"there is no function `{term.name}`"
            self.compiler.faults.append(Fault(term.span, message, code=Code.UNKNOWN_FUNCTION, hint=hint))
            return "null", "null"
        if not function.least <= len(term.arguments) <= function.most:
            count = str(function.least) if function.least == function.most else f"{function.least} to {function.most}"
            message = f"`{term.text}`: {term.name}() takes {count} arguments, not {len(term.arguments)}"
            self.compiler.faults.append(Fault(term.span, message, code=Code.WRONG_ARGUMENTS))
            return "null", "null"
        match term:
            case FunctionCall(name="matches", arguments=(_, Constant(value=str(pattern)))) if fault := regex_fault(
                pattern
            ):
                message = f"`{term.text}`: {fault}"
                self.compiler.faults.append(Fault(term.span, message, code=Code.INVALID_EXPRESSION))
        arguments = [self.write(argument) for argument in term.arguments]
        if function.call is None:
            native = function.native
            return _both(arguments, lambda parts: native.format(*parts))
        # The prefix avoids the names of CEL's own functions, which have precedence.
        name = f"f_{term.name}"
        self.functions[name] = function.call
        return _both(arguments, lambda parts: f"{name}({', '.join(parts)})")


def _both(written: list[tuple[str, str]], make: Callable[[list[str]], str]) -> tuple[str, str]:
    return make([plain for plain, _ in written]), make([exact for _, exact in written])


def _secret(parts: "list[Expression] | tuple[Expression, ...]") -> bool:
    return any(part.secret for part in parts)


def _is_plain(value: Any) -> bool:
    return not isinstance(value, int) or isinstance(value, bool) or -(1 << 63) < value < 1 << 63


def _literal(value: Any) -> str:
    """Return a value as CEL text; CEL writes strings as JSON does."""
    return json.dumps(value, ensure_ascii=False)
