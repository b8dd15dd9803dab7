"""The project's habits, as far as a machine can hold them."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bridge

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
EXTRAS = [Requirement(text) for texts in PROJECT["project"]["optional-dependencies"].values() for text in texts]
DEVELOPMENT = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
DOCUMENTATION = [Requirement(text) for text in PROJECT["dependency-groups"]["docs"]]
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)(.*(?:\n    --hash=.*)*)", re.MULTILINE)
#: Places of one machine, and where packages come from there.
PRIVATE = re.compile(r"(?<![\w.~/-])/(?:work|root|home|tmp|Users)/|pypi\.org|--(?:extra-)?index-url|--find-links")


def sources(folder: str, pattern: str = "*.py") -> list[Path]:
    """All files of a folder by a pattern; never none."""
    found = sorted((ROOT / folder).rglob(pattern))
    assert found
    return found


def pins(lock: str) -> dict[str, tuple[str, str]]:
    """A lock file: name → (version, all that is said about it)."""
    found = {name: (version, rest) for name, version, rest in PIN.findall((ROOT / lock).read_text("utf-8"))}
    assert found
    return found


def imported(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_versions_agree():
    """Metadata, package, crates and the newest release in the changelog name one version."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    newest = next(heading for heading in headings if heading != "Unreleased")
    assert PROJECT["project"]["version"] == bridge.__version__ == newest
    workspace = tomllib.loads((ROOT / "rust" / "Cargo.toml").read_text("utf-8"))["workspace"]
    assert workspace["package"]["version"] == newest
    assert workspace["package"]["license"] == PROJECT["project"]["license"]
    locked = tomllib.loads((ROOT / "rust" / "Cargo.lock").read_text("utf-8"))["package"]
    assert {one["version"] for one in locked if "source" not in one} == {newest}


def test_crates_come_from_the_public_registry():
    """The lock file of the Cargo workspace names no other registry than crates.io."""
    locked = tomllib.loads((ROOT / "rust" / "Cargo.lock").read_text("utf-8"))["package"]
    sources = {one["source"] for one in locked if "source" in one}
    assert sources == {"registry+https://github.com/rust-lang/crates.io-index"}


def test_crates_are_on_the_map():
    """Each crate of the workspace stands in docs/architecture.md, and no other."""
    members = tomllib.loads((ROOT / "rust" / "Cargo.toml").read_text("utf-8"))["workspace"]["members"]
    section = (
        (ROOT / "docs" / "architecture.md").read_text("utf-8").split("\n## The Rust workspace\n")[1].split("\n## ")[0]
    )
    assert sorted(re.findall(r"^\| `rust/([\w-]+)/`", section, re.MULTILINE)) == sorted(members)


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("requirements.lock", RUNTIME),
        ("requirements-dev.lock", RUNTIME + EXTRAS + DEVELOPMENT),
        ("requirements-docs.lock", DOCUMENTATION),
    ],
    ids=["runtime", "development", "documentation"],
)
def test_the_lock_fits_the_project(lock, requirements):
    """Every requirement is pinned, with hashes, to a version that it allows; if not, run `scripts/lock`."""
    locked = pins(lock)
    for requirement in requirements:
        version, rest = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}, locked {version}"
        assert "--hash=sha256:" in rest
    assert all("--hash=sha256:" in rest for _, rest in locked.values())


def test_development_runs_on_what_users_get():
    """The development lock holds every runtime pin as it is."""
    development = pins("requirements-dev.lock")
    assert {name: development[name][0] for name in pins("requirements.lock")} == {
        name: version for name, (version, _) in pins("requirements.lock").items()
    }


def test_imports_are_declared():
    """What the package imports is a dependency of its own, not by luck another one's."""
    declared = {canonicalize_name(requirement.name) for requirement in RUNTIME + EXTRAS}
    homes = packages_distributions()
    foreign = {name for path in sources("bridge") for name in imported(path)} - sys.stdlib_module_names - {"bridge"}
    foreign.discard("pydantic_core")  # pydantic pins it to the very version; its errors are pydantic's documented API
    assert foreign
    assert not {name for name in foreign if not declared & {canonicalize_name(home) for home in homes.get(name, ())}}


def test_dependencies_have_reasons():
    """Each dependency has a line in CONTRIBUTING.md, and nothing else has."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = text.split("\n## Dependencies\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)
    assert sorted(named) == sorted(requirement.name for requirement in RUNTIME + EXTRAS + DEVELOPMENT + DOCUMENTATION)


def test_dependencies_of_the_rust_client_have_reasons():
    """Each has a line in CONTRIBUTING.md, and nothing else has."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = text.split("\n## Dependencies in Rust\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)
    manifest = tomllib.loads((ROOT / "rust" / "client" / "Cargo.toml").read_text("utf-8"))
    assert sorted(named) == sorted(manifest["dependencies"])


def test_packages_are_on_the_map():
    """Each package and module of the top level stands in docs/architecture.md, and no other."""
    rooms = {path.name for path in (ROOT / "bridge").iterdir() if path.suffix == ".py"}
    rooms |= {f"{path.parent.name}/" for path in (ROOT / "bridge").glob("*/__init__.py")}
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = text.split("\n## Packages\n")[1].split("\n## ")[0]
    shown = set(re.findall(r"\| `bridge/([\w/.]+)` \|", section))
    assert shown == rooms - {"__init__.py"}


def test_nothing_is_of_one_machine():
    """No tracked file outside the tests names a place of one machine or a package index."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in listing.stdout.decode().split("\0"):
        path = ROOT / name
        if not name or name.startswith("tests/") or not path.is_file():
            continue
        lines = path.read_text("utf-8", errors="replace").splitlines()
        found += [f"{name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if PRIVATE.search(line)]
    assert not found


def test_tests_say_what_they_show():
    """Every test has a docstring."""
    silent = []
    for path in sources("tests", "test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            is_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
            if is_test and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert not silent


def test_scripts_and_tests_stand_apart():
    """Scripts import nothing of the tests, and the tests nothing of the scripts."""
    crossings = [path for path in sources("scripts") if "tests" in imported(path)]
    crossings += [path for path in sources("tests") if {"scripts", "bench_lib", "stack_lib"} & set(imported(path))]
    assert not crossings
