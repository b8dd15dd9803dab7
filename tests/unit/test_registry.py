"""Adapters by entry point."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from bridge import registry
from bridge.registry import GROUP, AdapterRegistry


def test_only_what_comes_with_the_bridge(monkeypatch: pytest.MonkeyPatch):
    """All installed adapters are known; with `bundled` those of third parties are not."""
    found = EntryPoints(
        [
            EntryPoint("json-rpc", "bridge.adapters.jsonrpc:SPEC", GROUP),
            EntryPoint("carrier-pigeon", "pigeons:SPEC", GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: found.select(group=group))
    assert AdapterRegistry().names() == ["carrier-pigeon", "json-rpc"]
    assert AdapterRegistry(bundled=True).names() == ["json-rpc"]
    assert AdapterRegistry(bundled=True).get("json-rpc").protocol == "json-rpc"
