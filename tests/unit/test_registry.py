"""Show how installed adapters are found by their entry points."""

from importlib.metadata import EntryPoint, EntryPoints, distribution
from pathlib import Path

import pytest

from bridge import registry
from bridge.registry import GROUP, AdapterRegistry


def test_only_what_comes_with_the_bridge(monkeypatch: pytest.MonkeyPatch):
    """All installed adapters are listed, without being imported; with `bundled` those of third parties are not."""
    found = EntryPoints(
        [
            EntryPoint("json-rpc", "bridge.adapters.jsonrpc:SPEC", GROUP),
            EntryPoint("carrier-pigeon", "pigeons:SPEC", GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: found.select(group=group))
    assert list(AdapterRegistry()) == ["carrier-pigeon", "json-rpc"]
    assert "carrier-pigeon" in AdapterRegistry()
    assert (list(AdapterRegistry(bundled=True)), len(AdapterRegistry(bundled=True))) == (["json-rpc"], 1)
    assert "carrier-pigeon" not in AdapterRegistry(bundled=True)
    assert AdapterRegistry(bundled=True)["json-rpc"].protocol == "json-rpc"


def test_what_comes_with_the_bridge_is_known(monkeypatch: pytest.MonkeyPatch):
    """Its types are those of its entry points, and to load one no entry points are read; nobody else replaces one."""
    own = {one.name: one for one in distribution("nemo-bridge").entry_points.select(group=GROUP)}
    assert own == registry._OWN

    def read(group: str) -> EntryPoints:
        raise AssertionError(f"{group} was read")

    monkeypatch.setattr(registry, "entry_points", read)
    adapters = AdapterRegistry()
    assert ("timer" in adapters, adapters["timer"].protocol) == (True, "timer")


def test_the_adapter_that_is_not_listed(monkeypatch: pytest.MonkeyPatch):
    """What other nodes of a fabric offer has an adapter, which nobody can choose and no other package replaces."""
    found = EntryPoints([EntryPoint("fabric", "pigeons:SPEC", GROUP)])
    monkeypatch.setattr(registry, "entry_points", lambda group: found.select(group=group))
    adapters = AdapterRegistry()
    assert ([*adapters], len(adapters), "fabric" in adapters) == ([], 0, False)
    assert (adapters["fabric"].protocol, adapters["fabric"].needs_endpoint) == ("fabric", False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_package:SPEC", "No module named 'no_such_package'"),
        ("bridge.registry:SPEC", "no attribute 'SPEC'"),
        ("bridge.registry:GROUP", "bridge.registry:GROUP is of type str, no AdapterSpec"),
        ("fails_at_import:SPEC", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, message: str):
    """Any fault of a third party's package is an ImportError with the cause."""
    (tmp_path / "fails_at_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    found = EntryPoints([EntryPoint("carrier-pigeon", value, GROUP)])
    monkeypatch.setattr(registry, "entry_points", lambda group: found.select(group=group))
    with pytest.raises(ImportError, match=message):
        AdapterRegistry()["carrier-pigeon"]
