"""`nemo-bridge plan OLD NEW`, and how a plan is shown."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli.exit_codes import ExitCode
from bridge.cli.main import app
from bridge.cli.plan import lines
from bridge.core.errors import ConfigError

OLD = """
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "https://shop.example.com/rpc"
  }
  auth {
    type  = "bearer"
    token = "old-token"
  }
  tls {
    ca = "ca.pem"
  }
}
integration "clock" {
  type = "timer"
  config {
    every = "1s"
  }
}
route "orders" {
  on          = ["order.placed"]
  where       = event.payload.total > 100
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
}
"""


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories with the same configuration."""
    places = []
    for name in ("old", "new"):
        place = tmp_path / name
        place.mkdir()
        (place / "ca.pem").write_text("a certificate")
        (place / "bridge.hcl").write_text(OLD)
        places.append(place)
    return places[0], places[1]


def _replace(place: Path, *pairs: tuple[str, str]) -> None:
    file = place / "bridge.hcl"
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def test_no_changes(two: tuple[Path, Path]):
    """A copy at another place is the same, with the files that it names."""
    result = CliRunner().invoke(app, ["plan", "--exit-code", *map(str, two)])
    assert (result.exit_code, result.output.splitlines()[1:]) == (0, ["no changes"])


def test_changes(two: tuple[Path, Path]):
    """Each is one line for a person; a secret is named and not shown; the exit code tells, where it is asked for."""
    _replace(
        two[1],
        ("old-token", "new-token"),
        ('integration "clock"', 'integration "watch"'),
        ("> 100", "> 200"),
        ('"orders.create"', '"orders.add"'),
    )
    (two[1] / "ca.pem").write_text("a renewed one")
    (two[1] / "more.hcl").write_text('log {\n  level = "debug"\n}\n')
    result = CliRunner().invoke(app, ["plan", *map(str, two)])
    assert (result.exit_code, result.output.splitlines()) == (
        0,
        [
            f"{two[0]} → {two[1]}",
            '+ integration "watch"',
            '- integration "clock"',
            '~ integration "shop"',
            "    auth.token: changed; the value is a secret",
            '    tls.ca: "ca.pem" → "ca.pem (its content has changed)"',
            '~ route "orders"',
            "    where: event.payload.total > 100 → event.payload.total > 200",
            '    method: "orders.create" → "orders.add"',
            "! log, at the next start",
            '    level: "info" → "debug"',
        ],
    )
    assert CliRunner().invoke(app, ["plan", "--exit-code", *map(str, two)]).exit_code == ExitCode.CHANGES


def test_json(two: tuple[Path, Path]):
    """It is the answer of `bridge.reload`."""
    _replace(two[1], ("> 100", "> 200"))
    result = CliRunner().invoke(app, ["plan", "--json", *map(str, two)])
    nothing = {"added": [], "removed": [], "changed": {}}
    assert json.loads(result.output) == {
        "added": [],
        "changed": [],
        "removed": [],
        "unchanged": ["clock", "shop"],
        "integrations": nothing,
        "routes": nothing
        | {"changed": {"orders": {"where": ["event.payload.total > 100", "event.payload.total > 200"]}}},
        "subscriptions": nothing,
        "fabrics": nothing,
        "needs_restart": [],
        "settings": {},
        "stranded": {},
    }


def test_a_fabric(two: tuple[Path, Path]):
    """It is shown as every other block, and what it uses is no block of its own."""
    cluster = 'integration "cluster" {\n  type = "nats"\n  endpoint {\n    url = "nats://127.0.0.1"\n  }\n}\n'
    fabric = 'fabric "%s" {\n  integration = "cluster"\n  node = "desk-7"\n  use = ["printer"]\n  replicas = %d\n}\n'
    for place, replicas in zip(two, (1, 3), strict=True):
        (place / "fabric.hcl").write_text(cluster + fabric % ("plant", replicas))
    assert CliRunner().invoke(app, ["plan", *map(str, two)]).output.splitlines()[1:] == [
        '~ fabric "plant"',
        "    replicas: 1 → 3",
    ]
    (two[1] / "fabric.hcl").write_text(cluster + fabric % ("office", 3))
    assert CliRunner().invoke(app, ["plan", *map(str, two)]).output.splitlines()[1:] == [
        '+ fabric "office"',
        '- fabric "plant"',
        '~ integration "printer": its subscriptions, its fabric, or files that it names',
    ]
    found = json.loads(CliRunner().invoke(app, ["plan", "--json", *map(str, two)]).output)
    assert found["fabrics"] == {"added": ["office"], "removed": ["plant"], "changed": {}}


def test_an_environment_that_is_not_set(two: tuple[Path, Path]):
    """Secrets are not needed: what has another name is told, and nothing else."""
    for place, name in zip(two, ("NO_SUCH_TOKEN", "NO_SUCH_OTHER"), strict=True):
        _replace(
            place, ('"old-token"', f"env.{name}"), ('url = "https://shop.example.com/rpc"', "url = env.NO_SUCH_URL")
        )
    result = CliRunner().invoke(app, ["plan", "--json", *map(str, two)])
    assert json.loads(result.output)["integrations"]["changed"] == {"shop": {"auth.token": ["***", "***"]}}


def test_a_configuration_with_faults(two: tuple[Path, Path]):
    """All faults of the new one are told, as `check` does."""
    _replace(two[1], ("json-rpc", "jsonrpc"), ('"request"', '"reqest"'))
    result = CliRunner().invoke(app, ["plan", *map(str, two)])
    assert isinstance(result.exception, ConfigError)
    assert len(result.exception.diagnostics) == 2


def test_what_the_lines_say_besides():
    """What is stranded, what changes by its files, values that are not set; nothing controls the terminal."""
    nothing = {"added": [], "removed": [], "changed": {}}
    plan = {
        "changed": ["shop"],
        "integrations": nothing,
        "routes": nothing
        | {"changed": {"r": {"key": [None, "event.id"], "qos": [1, 2], "topic": ["a\x1b", "event.id"]}}},
        "subscriptions": nothing,
        "fabrics": nothing,
        "needs_restart": [],
        "settings": {},
        "stranded": {"old": 1, "older": 2},
    }
    assert [line.plain for line in lines(plan)] == [
        '~ route "r"',
        "    key: (not set) → event.id",
        "    qos: 1 → 2",
        '    topic: "a\\u001b" → event.id',
        '~ integration "shop": its subscriptions, its fabric, or files that it names',
        '1 event waits in the outbox for "old", which does not exist then',
        '2 events wait in the outbox for "older", which does not exist then',
    ]
