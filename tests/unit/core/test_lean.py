"""Imports without the parts of a library that the bridge does not use."""

import subprocess
import sys
from pathlib import Path

import pytest

from bridge.core.lean import by_module, later, without, without_classes


def test_a_module_that_is_not_imported_yet_cannot_be() -> None:
    """In the body its import fails; after it, it does not."""
    sys.modules.pop("this", None)
    with without("this", "json"):
        import json  # noqa: F401 - imported before

        with pytest.raises(ModuleNotFoundError):
            import this  # noqa: F401
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "program",
    ["import bridge.gateway, structlog; structlog.get_logger()", "import bridge.adapters._common.http"],
)
def test_neither_imports_rich(program: str) -> None:
    """The bridge imports structlog, and its HTTP transport imports httpx, without rich."""
    script = f"{program}\nimport sys\nsys.exit('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("bridge.adapters.redis", ["redis.client", "redis.asyncio.connection", "redis.commands", "opentelemetry"]),
        ("bridge.adapters.nats", ["nats.aio.client", "nats.js.client", "nats.micro.service"]),
        ("bridge.gateway", ["sqlite3", "ctypes", "zmq.asyncio", "greenlet", "opentelemetry", "prometheus_client"]),
    ],
)
def test_what_an_idle_bridge_does_not_need_is_not_imported(module: str, unwanted: list[str]) -> None:
    """Each of these takes between half a megabyte and eight."""
    script = f"import {module}, sys\nsys.exit(repr(sorted(set(sys.modules) & {set(unwanted)})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.strip() == "[]"


def test_a_class_that_is_left_out() -> None:
    """In the body there is an empty one; after it the module is as ever."""
    sys.modules.pop("colorsys", None)
    with without_classes("colorsys.Left", "json.JSONDecoder"):
        from colorsys import Left
        from json import JSONDecoder  # imported before
    assert (Left.__name__, [name for name in vars(Left) if not name.startswith("__")]) == ("Left", [])
    assert JSONDecoder().decode("1") == 1
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_a_module_is_imported_when_something_of_it_is_used() -> None:
    """What stands for it has all that it has."""
    colorsys = later("colorsys")
    sys.modules.pop("colorsys", None)
    assert "colorsys" not in sys.modules
    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    with pytest.raises(AttributeError):
        _ = colorsys.missing


def test_a_package_is_imported_by_module_until_it_is_used_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its modules are importable in every way; another name runs its `__init__`, once; a package inside it as well."""
    package = tmp_path / "lean_example"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from lean_example import a\nWHOLE = [a]\n")
    (package / "a.py").write_text("from lean_example import b\nNAME = b.NAME\n")
    (package / "b.py").write_text("NAME = 'b'\n")
    (package / "inner" / "__init__.py").write_text("from lean_example.inner.c import NAME\n")
    (package / "inner" / "c.py").write_text("NAME = 'c'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        by_module("lean_example", "lean_example.inner", "lean_not_installed")
        import lean_example.inner.c  # type: ignore[import-not-found]
        from lean_example.a import NAME  # type: ignore[import-not-found]

        assert (NAME, lean_example.inner.c.NAME) == ("b", "c")
        assert not {"WHOLE", "NAME"} & {*vars(lean_example), *vars(lean_example.inner)}
        with pytest.raises(AttributeError):
            _ = lean_example.__no_such_name__
        assert ([lean_example.a], "c") == (lean_example.WHOLE, lean_example.inner.NAME)
        with pytest.raises(AttributeError):
            _ = lean_example.missing
        by_module("lean_example")  # which is imported
        assert lean_example.WHOLE
    finally:
        for name in [one for one in sys.modules if one.startswith("lean_example")]:
            del sys.modules[name]
