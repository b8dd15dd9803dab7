"""Evaluate operators, conditionals and functions as CEL, by the library `common-expression-language`.

CEL is the Common Expression Language. Paths, templates and values of `env` and `var` are not part of the CEL text: they
are variables (`v0`, `v1`, …) whose values our own expressions compute. So only those parts of a payload are converted
that are used, and no secret is in a program's text.

Numbers. CEL never mixes whole numbers and doubles (`1.5 * 2` is an error), but HCL and JSON know one kind of number;
many programs send 7.0 as 7. The rules here: `+ - * %` of two whole numbers is whole, of anything else a double; `/` is
exact, and a whole number only where there is no remainder (6 / 2 is 3, 7 / 2 is 3.5); `%` takes the sign of its left
side; whole numbers beyond 64 bits are an error. Each expression with arithmetic therefore has two programs: plain CEL,
and the same with our functions in place of the operators, for numbers that plain CEL refuses to mix.
"""

import importlib
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from bridge.config.diagnostics import Fault
from bridge.config.expressions import Expression, Scope, kind_of
from bridge.core.diagnostic import Code, Span
from bridge.core.errors import InvalidError

_REFUSALS: Final = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError)
_EXTENSION: Final = "cel.cel"
_FUNCTION: Final = re.compile(r"Function '(\w+)' error")
_FUNCTION_MESSAGES: Final = {
    "_add": "`+` takes two numbers, two strings or two lists, and the result has 64 bits at most",
    "_subtract": "`-` takes two numbers, and the result has 64 bits at most",
    "_multiply": "`*` takes two numbers, and the result has 64 bits at most",
    "_divide": "`/` takes two numbers, and the second is not 0",
    "_remainder": "`%` takes two numbers, and the second is not 0",
}
_MESSAGES: Final[dict[type[Exception], str]] = {
    ZeroDivisionError: "division by zero",
    OverflowError: "the number is too large",
    IndexError: "there is no such index",
    KeyError: "there is no such key",
}


def regex_fault(pattern: str) -> str:
    """Return what is wrong with a regular expression of `matches()`; the empty string where it is valid."""
    program = _library().compile('"".matches(pattern)')
    try:
        program.execute({"pattern": pattern})
    except _REFUSALS:
        return "the regular expression is not valid (the syntax is RE2's)"
    return ""


def _library() -> ModuleType:
    """Import the library without its command line, which would make each start 190 ms longer.

    The extension module is imported under its own name but before its package, so that whoever imports the package
    later gets the same module; the extension panics if it is initialised twice (it sets a process-wide logger).
    """
    module = sys.modules.get(_EXTENSION)
    if module is not None:
        return module
    package = importlib.util.find_spec("cel")
    folders = package.submodule_search_locations if package else None
    found = importlib.machinery.PathFinder.find_spec(_EXTENSION, folders) if folders else None
    if found is None or found.loader is None:
        return importlib.import_module("cel")
    module = importlib.util.module_from_spec(found)
    sys.modules[_EXTENSION] = module
    found.loader.exec_module(module)
    return module


class CelExpression(Expression):
    """An expression with operators or functions."""

    __slots__ = ("_context", "_exact", "_functions", "_leaves", "_plain", "_program")

    def __init__(
        self,
        text: str,
        *,
        plain: str,
        exact: str,
        leaves: dict[str, Expression],
        functions: dict[str, Callable[..., Any]],
        span: Span,
    ) -> None:
        """Compile the program.

        Raises:
            Fault: CEL cannot compile it.
        """
        super().__init__(text, secret=any(leaf.secret for leaf in leaves.values()))
        library = _library()
        try:
            self._plain = library.compile(plain)
            self._exact = self._plain if exact == plain else library.compile(exact)
        except _REFUSALS:
            raise Fault(span, f"`{text}` cannot be compiled", code=Code.INVALID_EXPRESSION) from None
        self._program = exact
        self._leaves = tuple(leaves.items())
        self._functions = functions
        self._context = library.Context

    @property
    def signature(self) -> tuple[Any, ...]:
        """See `Expression.signature`."""
        return ("cel", self._program, *(leaf.signature for _, leaf in self._leaves))

    @property
    def resolved(self) -> str:
        """See `Expression.resolved`."""
        text = self.text
        for _, leaf in self._leaves:
            if leaf.text.startswith("var.") and not leaf.secret:
                value = leaf.resolved.replace("\\", r"\\")
                text = re.sub(rf"(?<![\w.]){re.escape(leaf.text)}(?![\w.\[])", value, text)
        return text

    def evaluate(self, scope: Scope) -> Any:
        """See `Expression.evaluate`."""
        values: dict[str, Any] = {}
        missing: InvalidError | None = None
        for name, leaf in self._leaves:
            try:
                values[name] = leaf.evaluate(scope)
            except InvalidError as error:
                # Not yet an error: a conditional or `&&` may never use it.
                missing = missing or error
        try:
            return self._run(self._plain, values)
        except _REFUSALS as error:
            reason: Exception = error
        if self._exact is not self._plain:
            try:
                return self._run(self._exact, values)
            except _REFUSALS as error:
                reason = error
        raise missing or self._explain(reason, values)

    def _run(self, program: Any, values: dict[str, Any]) -> Any:
        if not self._functions:
            return program.execute(values)
        # A context keeps its variables, so each message gets its own.
        return program.execute(self._context(values, self._functions))

    def _explain(self, error: Exception, values: dict[str, Any]) -> InvalidError:
        reason = _MESSAGES.get(type(error))
        function = _FUNCTION.match(str(error)) if isinstance(error, RuntimeError) else None
        if function:
            reason = _FUNCTION_MESSAGES.get(
                function[1], f"{function[1].removeprefix('f_')}() cannot use the arguments that it got"
            )
        elif reason is None:
            # CEL's own message may quote values, which may be secret; their kinds are enough.
            kinds = [f"{leaf.text} is {kind_of(values[name])}" for name, leaf in self._leaves if name in values]
            reason = "an operator or function does not fit its operands"
            reason += f" ({', '.join(kinds)})" if kinds else ""
        return InvalidError(f"`{self.text}`: {reason}")
