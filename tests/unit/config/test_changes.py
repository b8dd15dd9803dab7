"""The plan of a reload: what changes from one configuration to another, key by key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Configuration, load
from bridge.config.changes import Snapshot, plan_of, shown_values, summary, without_values
from bridge.connection import named_files
from bridge.core.payloads import Reloaded
from tests.support.bus.curve import KeyRing

Load = Callable[..., Configuration]

TEXT = """
log {
  level = "info"
}
variable "limit" {
  default = 100
}
variable "pin" {
  default   = "pin-1"
  sensitive = true
}
integration "shop" {
  type = "mqtt"
  endpoint {
    address = "broker"
    port    = 8883
  }
  auth {
    type     = "basic"
    username = "somebody"
    password = env.PASSWORD
  }
  config {
    client_id  = "nemo-${var.pin}"
    keep_alive = "60s"
    will {
      topic   = "gone"
      message = "bye"
    }
  }
  resilience {
    timeout = "2s"
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
  where       = event.payload.total > var.limit
  integration = "shop"
  operation   = "publish"
  topic       = "orders/${var.limit}/${event.payload.id}"
  message     = { id = event.payload.id, limit = var.limit, pin = var.pin, "a b" = [event.id, 1] }
}
subscription "ticks" {
  integration = "shop"
  topic       = "ticks/#"
  ack         = "consumer"
}
"""
ENVIRON = {"PASSWORD": "hunter2"}


def _plan(load_text: Load, old: str, new: str = "", **environ: str) -> Reloaded:
    """Return the plan from TEXT to TEXT with one piece replaced."""
    assert old in TEXT
    before = Snapshot.of(load_text(TEXT, ENVIRON))
    return plan_of(before, Snapshot.of(load_text(TEXT.replace(old, new or old), ENVIRON | environ)))


_MESSAGE = '{ id = event.payload.id, limit = 100, pin = var.pin, "a b" = [event.id, 1] }'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"2s"', '"5s"', {"integrations": {"shop": {"resilience.timeout": ["2s", "5s"]}}}),
        ("8883", "1883", {"integrations": {"shop": {"endpoint.port": [8883, 1883]}}}),
        ("    port    = 8883\n", " ", {"integrations": {"shop": {"endpoint.port": [8883, None]}}}),
        ('"60s"', '"2m"', {"integrations": {"shop": {"config.keep_alive": ["60s", "2m"]}}}),
        ('"bye"', '"oh"', {"integrations": {"shop": {"config.will.message": ["bye", "oh"]}}}),
        ('"somebody"', '"else"', {"integrations": {"shop": {"auth.username": ["***", "***"]}}}),
        (
            '"pin-1"',
            '"pin-2"',
            {
                "integrations": {"shop": {"config.client_id": ["***", "***"]}},
                "routes": {"orders": {"message": [_MESSAGE, _MESSAGE]}},
            },
        ),
        ('"order.placed"', '"order.*"', {"routes": {"orders": {"on": [["order.placed"], ["order.*"]]}}}),
        (
            "total >",
            "total >=",
            {"routes": {"orders": {"where": ["event.payload.total > 100", "event.payload.total >= 100"]}}},
        ),
        (
            "event.id, 1]",
            "event.id, 1.0]",
            {"routes": {"orders": {"message": [_MESSAGE, _MESSAGE.replace("1]", "1.0]")]}}},
        ),
        ("ticks/#", "tocks/#", {"subscriptions": {"ticks": {"topic": ["ticks/#", "tocks/#"]}}}),
        (
            '"consumer"',
            '"consumer"\n  visibility = "2m"',
            {"subscriptions": {"ticks": {"visibility": ["30s", "2m"]}}},
        ),
    ],
)
def test_a_changed_key(load_text: Load, old: str, new: str, expected: dict[str, Any]):
    """It is named with the values before and after, as a file has them, and nothing else is."""
    plan = _plan(load_text, old, new)
    kinds = {kind: getattr(plan, kind).changed for kind in ("integrations", "routes", "subscriptions")}
    assert kinds == {"integrations": {}, "routes": {}, "subscriptions": {}} | expected
    assert plan.changed == ([] if list(expected) == ["routes"] else ["shop"])
    assert sorted([*plan.changed, *plan.unchanged]) == ["clock", "shop"]
    assert (plan.needs_restart, plan.settings) == ([], {})


def test_the_value_of_a_variable(load_text: Load):
    """An expression is shown with the values of its variables, so that another value shows; secret ones never do."""
    changed = _plan(load_text, "default = 100", "default = 200").routes.changed["orders"]
    assert changed == {
        "where": ["event.payload.total > 100", "event.payload.total > 200"],
        "topic": ['"orders/100/${event.payload.id}"', '"orders/200/${event.payload.id}"'],
        "message": [
            '{ id = event.payload.id, limit = 100, pin = var.pin, "a b" = [event.id, 1] }',
            '{ id = event.payload.id, limit = 200, pin = var.pin, "a b" = [event.id, 1] }',
        ],
    }
    secret = _plan(load_text, '"pin-1"', '"pin-2"').routes.changed["orders"]
    assert list(secret) == ["message"]
    assert secret["message"][0] == secret["message"][1]


def test_a_secret_that_changes(load_text: Load):
    """It is named, and neither value is anywhere."""
    plan = _plan(load_text, "timer", PASSWORD="swordfish")
    assert plan.integrations.changed == {"shop": {"auth.password": ["***", "***"]}}
    before = Snapshot.of(load_text(TEXT, ENVIRON))
    for text in (msgspec.json.encode(plan).decode(), repr(plan), str(summary(plan)), repr(before)):
        assert not [secret for secret in ("hunter2", "swordfish", "somebody", "pin-1") if secret in text]


def test_text_of_several_lines(load_text: Load):
    """A change in it is found and shown."""
    heredoc = "<<EOT\nhello ${event.id}\nEOT"
    one = TEXT.replace('"orders/${var.limit}/${event.payload.id}"', heredoc)
    other = one.replace("hello", "bye")
    plan = plan_of(Snapshot.of(load_text(one, ENVIRON)), Snapshot.of(load_text(other, ENVIRON)))
    assert plan.routes.changed == {"orders": {"topic": ['"hello ${event.id}\\n"', '"bye ${event.id}\\n"']}}


def test_added_and_removed(load_text: Load):
    """Names are sorted; another type of an integration is a change of it."""
    new = TEXT.replace('"clock"', '"watch"').replace('route "orders"', 'route "sales"')
    new = new.replace('subscription "ticks"', 'subscription "tocks"')
    plan = plan_of(
        Snapshot.of(load_text(TEXT, ENVIRON)), Snapshot.of(load_text(new, ENVIRON)), {"clock": 3, "ghost": 0}
    )
    assert (plan.added, plan.removed) == (["watch"], ["clock"])
    assert (plan.integrations.added, plan.integrations.removed) == (["watch"], ["clock"])
    assert (plan.routes.added, plan.routes.removed) == (["sales"], ["orders"])
    assert (plan.subscriptions.added, plan.subscriptions.removed) == (["tocks"], ["ticks"])
    assert plan.changed == ["shop"]  # its subscriptions are others
    assert plan.stranded == {"clock": 3}
    assert summary(plan) == {
        "integrations": ["+ watch", "- clock"],
        "routes": ["+ sales", "- orders"],
        "subscriptions": ["+ tocks", "- ticks"],
        "stranded": ["clock: 3"],
    }


def test_what_needs_a_restart(load_text: Load):
    """The blocks are named, and their keys."""
    plan = _plan(load_text, '"info"', '"debug"')
    assert plan.needs_restart == ["log"]
    assert plan.settings == {"log": {"level": ["info", "debug"]}}
    assert summary(plan) == {"needs_restart": ["log: level"]}


def test_a_file_with_other_content(load_text: Load, tmp_path: Path):
    """A renewed certificate is a change of the key that names it."""
    (tmp_path / "ca.pem").write_text("a")
    configuration = load_text(
        TEXT.replace("  config {\n    client", '  tls {\n    ca = "ca.pem"\n  }\n  config {\n    client'), ENVIRON
    )
    path = str(tmp_path / "ca.pem")
    old, new = (Snapshot.of(configuration, {"shop": {path: version}}) for version in (1, 2))
    assert plan_of(old, new).integrations.changed == {"shop": {"tls.ca": [path, f"{path} (its content has changed)"]}}
    old, new = (Snapshot.of(configuration, {"shop": {path: 1}}, base) for base in (tmp_path, tmp_path.parent))
    assert plan_of(old, new).integrations.changed == {"shop": {"tls.ca": ["ca.pem", f"{tmp_path.name}/ca.pem"]}}


def test_a_number_that_is_not_set_here(load_text: Load, tmp_path: Path, adapters: Any):
    """A value of the running bridge's environment is masked on both sides where it has none here, and no change."""
    text = TEXT.replace("= 8883", "= env.PORT").replace('"2s"', "env.LIMIT").replace('"bye"', "env.BYE")
    running = load_text(text, ENVIRON | {"PORT": "8883", "LIMIT": "2s", "BYE": "bye"})
    here = load([tmp_path / "bridge.hcl"], adapters=adapters, environ={}, with_placeholders=True)
    values = Snapshot.of(here).integrations["shop"]
    assert [values[key].shown for key in ("endpoint.port", "resilience.timeout", "endpoint.address")] == [
        "***",
        "***",
        "broker",
    ]
    plan = plan_of(Snapshot.of(running).as_shown(), Snapshot.of(here).as_shown())
    assert plan.integrations.changed == {}


def test_a_renewed_file_of_the_bridge_itself(load_text: Load, tmp_path: Path):
    """It waits for a restart, as all of the bridge's own blocks do."""
    KeyRing(tmp_path)
    curve = 'curve {\n    secret_key = "bridge.key_secret"\n    server_key = "bridge.key"\n  }'
    text = f'bus {{\n  mode = "connect"\n  {curve}\n}}\n'
    configuration = load_text(text + TEXT, ENVIRON)
    path = str(tmp_path / "bridge.key_secret")
    assert [file for file, _ in named_files(configuration.bus)] == [str(tmp_path / "bridge.key"), path]
    plan = plan_of(*(Snapshot.of(configuration, own={path: version}) for version in (1, 2)))
    assert plan.needs_restart == ["bus"]
    assert plan.settings == {"bus": {"curve.secret_key": [path, f"{path} (its content has changed)"]}}


def test_a_long_value_is_cut(load_text: Load):
    """So a plan fits into an answer; where it does not, the names of the keys remain."""
    plan = _plan(load_text, '"gone"', f'"{"x" * 5000}"')
    before, after = plan.integrations.changed["shop"]["config.will.topic"]
    assert (before, len(after) < 600, after[-17:]) == ("gone", True, "(5000 characters)")
    assert without_values(plan).integrations.changed == {"shop": {"config.will.topic": ["…", "…"]}}
    assert without_values(plan).changed == plan.changed


def test_what_may_be_shown_is_enough_to_compare(load_text: Load):
    """Over the wire, all but secrets and contents of files is compared."""
    old = Snapshot.of(load_text(TEXT, ENVIRON))
    kinds = ("integrations", "routes", "subscriptions", "fabrics", "settings")
    wire = {kind: json.loads(json.dumps(shown_values(getattr(old, kind)))) for kind in kinds}
    known = Snapshot.from_shown(**wire)
    assert plan_of(known, old.as_shown()) == plan_of(old, old)
    new = Snapshot.of(load_text(TEXT.replace('"2s"', '"5s"'), {"PASSWORD": "other"}))
    assert plan_of(known, new.as_shown()).integrations.changed == {"shop": {"resilience.timeout": ["2s", "5s"]}}


_VALUES = (
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from([0.0, 1.0, "a", "***"])
    | st.lists(st.integers(0, 1))
)
_KEYS = st.dictionaries(st.sampled_from(["a", "b.c", "d"]), _VALUES.filter(lambda value: value is not None))
_BLOCKS = st.dictionaries(st.sampled_from(["x", "y", "z"]), _KEYS)


def _snapshot(blocks: dict[str, dict[str, Any]]) -> Snapshot:
    return Snapshot.from_shown(integrations={}, routes=blocks, subscriptions={}, fabrics={}, settings={})


@given(_BLOCKS, _BLOCKS)
def test_applying_a_plan(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]):
    """What a plan says, done to the old values, gives exactly the new ones; nothing changes from one to itself."""
    changes = plan_of(_snapshot(old), _snapshot(new)).routes
    done = {name: dict(keys) for name, keys in old.items() if name not in changes.removed}
    done |= {name: new[name] for name in changes.added}
    for name, keys in changes.changed.items():
        for key, (before, after) in keys.items():
            assert done[name].get(key) == before
            done[name][key] = after
            if after is None:
                del done[name][key]
    assert json.dumps(done, sort_keys=True) == json.dumps(new, sort_keys=True)
    back = plan_of(_snapshot(new), _snapshot(old)).routes
    assert (back.added, back.removed, back.changed.keys()) == (changes.removed, changes.added, changes.changed.keys())
    assert plan_of(_snapshot(new), _snapshot(new)).routes.changed == {}
