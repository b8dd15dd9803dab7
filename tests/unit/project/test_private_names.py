"""Private names of libraries: each one that the package uses stands in a table, with its reason.

A table is called `PRIVATE_NAMES` and stands in the package that uses the names, each behind its module or class, as in
`library.module.Class._name`. Tests of what a name does in a new version stand with those of that package.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version
from paho.mqtt.client import Client

import bridge
from tests.unit.project.test_project import ROOT, RUNTIME

#: How many the whole package has; fewer with each release.
_MOST = 2
_OURS = frozenset({"bridge", "tests"})
#: Documented, and so promised, although they begin with an underscore.
_DOCUMENTED = frozenset({"os._exit"})
_BY_NAME = frozenset({"getattr", "setattr", "hasattr", "delattr"})


def is_private(name: str) -> bool:
    """One underscore in front: not part of what a library promises."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def is_self(node: ast.AST) -> bool:
    """The object whose method this is."""
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def reached(tree: ast.AST) -> Iterator[str]:
    """Private names that a module imports, or reaches on objects other than its own `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if any(map(is_private, one.name.split("."))))
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] != "bridge":
            names = [f"{node.module}.{one.name}" for one in node.names]
            yield from (name for name in names if any(map(is_private, name.split("."))))
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and not is_self(node.value):
            if ast.unparse(node) not in _DOCUMENTED:
                yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_NAME:
            name = node.args[1] if len(node.args) > 1 else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and is_private(name.value):
                yield from () if is_self(node.args[0]) else (name.value,)


@functools.cache
def own_names(kind: type) -> set[str]:
    """Private names that the body of a class defines or uses on `self`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # written in C
        return {name for name in vars(kind) if is_private(name)}
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_self(node.value)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return {name for name in names if is_private(name)}


def inherited(kind: type) -> set[str]:
    """Private names of the libraries' classes that a class of ours derives from, and uses or overrides."""
    foreign = [base for base in kind.__mro__ if base is not object and base.__module__.split(".")[0] not in _OURS]
    theirs = set().union(*map(own_names, foreign)) if foreign else set()
    return own_names(kind) & theirs if theirs else set()


def package_of(path: Path) -> str:
    """Whose table counts: a protocol's, or that of a package of the bridge."""
    parts = path.relative_to(ROOT / "bridge").parts
    return "/".join(parts[:2]) if parts[0] == "adapters" and len(parts) > 2 else parts[0]


@functools.cache
def used() -> dict[str, set[str]]:
    """Package → private names of libraries."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "bridge").rglob("*.py")):
        found[package_of(path)] |= set(reached(ast.parse(path.read_text("utf-8"))))
    for info in pkgutil.walk_packages(bridge.__path__, "bridge."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == info.name:
                found[package_of(Path(inspect.getfile(module)))] |= inherited(kind)
    return {package: names for package, names in found.items() if names}


@functools.cache
def tables() -> dict[str, dict[str, str]]:
    """Package → its table: name, with that of its module or class in front → reason."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted((ROOT / "bridge").rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            target = node.target if isinstance(node, ast.AnnAssign) else None
            if isinstance(node, ast.Assign):
                (target,) = node.targets[:1]
            if isinstance(target, ast.Name) and target.id == "PRIVATE_NAMES":
                assert package_of(path) not in found, f"{path}: a second table"
                found[package_of(path)] = ast.literal_eval(node.value)
    return found


PACKAGES = sorted({package_of(path) for path in (ROOT / "bridge").rglob("*.py")})


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_used_stands_in_the_table(package: str) -> None:
    """No private name more, and none that is used no longer."""
    names, listed = used().get(package, set()), tables().get(package, {})
    assert {name.rpartition(".")[2] for name in names} == {name.rpartition(".")[2] for name in listed}
    assert all(reason.strip() for reason in listed.values())


def test_there_are_few() -> None:
    """In the whole package; a new one is a decision that shows here."""
    assert sum(map(len, tables().values())) <= _MOST


LIBRARIES = sorted({name.split(".")[0] for table in tables().values() for name in table})


@pytest.mark.parametrize("library", LIBRARIES)
def test_their_libraries_are_pinned(library: str) -> None:
    """To the minor version that was tried: the next one is not installed before its tests have passed."""
    (home,) = set(packages_distributions()[library])
    (requirement,) = [one for one in RUNTIME if canonicalize_name(one.name) == canonicalize_name(home)]
    tried = Version(version(home))
    assert requirement.specifier.contains(tried)
    assert not requirement.specifier.contains(f"{tried.major}.{tried.minor + 1}"), str(requirement)


def test_every_way_to_a_private_name_is_seen() -> None:
    """By import, on an object, by its name as text; what is our own is not one."""
    source = """
    import library._inside
    from library._inside import public
    from library import _name
    from bridge.room import _ours
    class Own:
        def method(self, other):
            self._own = getattr(self, "_own", None)
            self.client._reached()
            other._set = getattr(other, "_read")
            other.__class__
    """
    assert set(reached(ast.parse(textwrap.dedent(source)))) == {
        "library._inside",
        "library._inside.public",
        "library._name",
        "_reached",
        "_set",
        "_read",
    }


class _Derived(Client):
    def _create_socket(self) -> None:  # type: ignore[override]
        self._own = self._sock


def test_what_is_inherited_is_seen() -> None:
    """A method that is overridden, and an attribute that is used."""
    assert inherited(_Derived) == {"_create_socket", "_sock"}
