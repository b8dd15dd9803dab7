"""Show that no value of any key ends the loading otherwise than with diagnostics.

The table is made from the models: each key of each block, and of each adapter's `config`, gets each odd value.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from bridge.cli.check import check_adapters
from bridge.config import load
from bridge.config.models import AUTH_MODELS, BridgeSettings, BusSettings, CurveSettings, LogSettings
from bridge.core.endpoint import Endpoint, Tls
from bridge.core.errors import ConfigError
from bridge.core.settings import HealthSettings, OutboxSettings, ResilienceSettings
from bridge.registry import AdapterRegistry

ODD = [
    r'"a\u0000b"',
    '"~nobody-of-this-name/x"',
    f'"{"x" * 5000}"',
    '"/dev/zero"',
    r'"\u202e\u0007"',
    '"http://[/%00"',
    "18446744073709551615",
    "{ a = { b = [[1]] } }",
]

ADAPTERS = AdapterRegistry()


def _integration(kind: str, inner: str) -> str:
    endpoint = '  endpoint {\n    address = "h"\n  }\n' if ADAPTERS[kind].needs_endpoint else ""
    return f'integration "a" {{\n  type = "{kind}"\n{endpoint}  {inner}\n}}\n'


def _each(outer: str, model: type[BaseModel]) -> Iterator[str]:
    for name in model.model_fields:
        yield outer % f"{name} = %s"


def _places() -> Iterator[str]:
    """Yield a configuration for each key, with `%s` in place of its value."""
    yield from _each("bridge {\n  %s\n}\n", BridgeSettings)
    yield from _each("bridge {\n  outbox {\n    %s\n  }\n}\n", OutboxSettings)
    yield from _each("log {\n  %s\n}\n", LogSettings)
    yield from _each("bus {\n  %s\n}\n", BusSettings)
    yield from _each("bus {\n  curve {\n    %s\n  }\n}\n", CurveSettings)
    for kind in ADAPTERS:
        spec = ADAPTERS[kind]
        yield from _each(_integration(kind, "config {\n    %s\n  }"), spec.config)
        for auth in sorted(spec.auth - {"none"}):
            block = f'auth {{\n    type = "{auth}"\n    %s\n  }}'
            yield from _each(_integration(kind, block), AUTH_MODELS[auth])
    for block, model in (("tls", Tls), ("resilience", ResilienceSettings), ("health", HealthSettings)):
        yield from _each(_integration("http", f"{block} {{\n    %s\n  }}"), model)
    head = 'integration "a" {\n  type = "redis"\n  endpoint {\n    %s\n  }\n}\n'
    yield from _each(head, Endpoint)
    for key in ("integration", "topic", "queue", "emit", "group", "prefetch", "visibility"):
        yield _integration("nats", "") + f'subscription "s" {{\n  integration = "a"\n  {key} = %s\n}}\n'
    for key in ("on", "where", "method", "params", "topic", "message", "qos", "queue", "emit", "key", "operation"):
        yield _integration("mqtt", "") + f'route "r" {{\n  integration = "a"\n  {key} = %s\n}}\n'


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_an_odd_value_is_at_most_a_diagnostic(tmp_path: Path, value: str) -> None:
    """Loading, and making the adapters, ends well or with diagnostics, whatever value a key has."""
    file = tmp_path / "bridge.hcl"
    places = list(_places())
    assert len(places) > 150
    for place in places:
        file.write_text(place % value)
        with contextlib.suppress(ConfigError):
            check_adapters(load([file], adapters=ADAPTERS, environ={}))
