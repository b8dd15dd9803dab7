"""Imports libraries without the parts of them that the bridge does not use.

structlog imports rich to colour tracebacks, and httpx imports click, rich and pygments for a command line of its own,
where these are installed. The bridge uses neither. They would cost a fifth of its start and 6 MB of memory.

redis-py and nats-py import all of themselves with whichever module of theirs is imported first: clients, pools, every
command. The bridge uses their errors and a few functions. All of redis-py would cost 8 MB.

typer's help imports rich's Markdown and tracebacks, and with them a parser and highlighters, and uses neither here.
"""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Let imports in the body fail for these modules, unless they have been imported before.

    An entry None in `sys.modules` makes an import raise ModuleNotFoundError (Python's reference, "The module cache").
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def without_classes(*names: str) -> Iterator[None]:
    """Let imports in the body get an empty class for each of these, and leave their modules out.

    It is for a library that imports a class, and uses it only for what the bridge does not do.

    Args:
        names: Classes, as in `package.module.Class`. One whose module has been imported before is the real one.
    """
    hidden: list[str] = []
    for name in names:
        module, _, kind = name.rpartition(".")
        if module not in sys.modules:
            hidden.append(module)
            sys.modules[module] = ModuleType(module)
            setattr(sys.modules[module], kind, type(kind, (), {}))
    try:
        yield
    finally:
        for module in hidden:
            del sys.modules[module]


def later(name: str) -> Any:
    """Return what stands for a module, and imports it as soon as something of it is used."""
    return _Later(name)


class _Later:
    """A module that may not be imported yet."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


def by_module(*packages: str) -> None:
    """Let modules of these packages be imported without running the package's own `__init__`.

    It runs as soon as something is wanted of the package that is no module of it, so that who uses the whole package
    finds it as ever. A package that is imported already, or not installed, is left alone.

    Args:
        packages: A package stands before those inside it.
    """
    for name in packages:
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None:
            continue
        package = importlib.util.module_from_spec(spec)
        package.__class__ = _Package
        sys.modules[name] = package
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, package)


class _Package(ModuleType):
    """A package whose `__init__` has not run yet."""

    def __getattr__(self, name: str) -> Any:
        """Import a module of the package, or run its `__init__`, for what the package does not have yet."""
        spec = self.__spec__
        if spec is None or spec.loader is None or (name.startswith("__") and name != "__version__"):
            raise AttributeError(name)
        if importlib.util.find_spec(f"{spec.name}.{name}") is not None:
            return importlib.import_module(f"{spec.name}.{name}")
        self.__class__ = ModuleType  # type: ignore[assignment]  # mypy knows one class for `self`
        spec.loader.exec_module(self)
        return getattr(self, name)
