"""Show how `fabric` blocks and `singleton` are read and checked, with the adapters that come with the bridge."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import jsonschema
import msgspec
import pytest

from bridge.config import Configuration, FabricSettings, load, masked, show
from bridge.config.changes import Snapshot, plan_of, shown_values, summary, without_values
from bridge.config.schema import schema
from bridge.core.diagnostic import Diagnostic
from bridge.core.errors import ConfigError
from bridge.registry import AdapterRegistry

HOST = "desk-7.example.com"
GROUND = """
integration "cluster" {
  type = "nats"
  endpoint {
    url = "nats://127.0.0.1:4222"
  }
}
integration "erp" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:8080/rpc"
  }
}
integration "clock" {
  type = "timer"
  config {
    every = "10s"
    schedule "start" {
      every       = "1h"
      immediately = true
    }
  }
}
integration "page" {
  type = "http"
  endpoint {
    url = "http://127.0.0.1:8080"
  }
  config {
    poll   = "10s"
    events = "/events"
  }
}
integration "fixed" {
  type = "static"
  config {
    values = { a = 1 }
  }
}
integration "files" {
  type = "file"
  config {
    root = "."
  }
}
"""
#: The line behind GROUND, on which the first block of a test begins.
FIRST = GROUND.count("\n") + 1
FABRIC = """fabric "plant" {
  integration = "cluster"
  export      = ["order.**"]
  import      = "order.**"
  offer       = "erp"
  use         = ["printer", "scales"]
}
"""
ROUTE = """route "print" {
  on          = ["order.paid"]
  integration = "printer"
  operation   = "request"
  method      = "print"
}
"""

Read = Callable[..., Configuration]
Complain = Callable[..., list[str]]


def fabric(*lines: str, name: str = "plant") -> str:
    """Write a fabric; `lines` begin on its third line."""
    inside = "".join(f"  {line}\n" for line in lines)
    return f'fabric "{name}" {{\n  integration = "cluster"\n{inside}}}\n'


def singleton(integration: str, topic: str, *, of: str = "plant") -> str:
    """Write a subscription whose fourth line has `singleton`."""
    return (
        f'subscription "s" {{\n  integration = "{integration}"\n  topic       = "{topic}"\n  singleton   = "{of}"\n}}\n'
    )


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that loads a text behind GROUND, or the whole text where `ground` is given."""

    def loaded(
        text: str, environ: dict[str, str] | None = None, *, ground: str = GROUND, host: str = HOST
    ) -> Configuration:
        file = tmp_path / "bridge.hcl"
        file.write_text(ground + text, encoding="utf-8")
        return load([file], adapters=AdapterRegistry(), environ=environ or {}, host=host)

    return loaded


@pytest.fixture
def faults(read: Read) -> Callable[..., tuple[Diagnostic, ...]]:
    """Return a function that gives the errors of a text; it fails if there are none."""

    def found(text: str, environ: dict[str, str] | None = None, **options: str) -> tuple[Diagnostic, ...]:
        with pytest.raises(ConfigError) as caught:
            read(text, environ, **options)
        return tuple(one for one in caught.value.diagnostics if one.severity == "error")

    return found


@pytest.fixture
def complaints(faults: Callable[..., tuple[Diagnostic, ...]], tmp_path: Path) -> Complain:
    """Return a function that gives the errors of a text as `line: …`, counted from the one behind GROUND."""

    def found(text: str, environ: dict[str, str] | None = None, **options: str) -> list[str]:
        lines = []
        for one in faults(text, environ, **options):
            rest = str(one).removeprefix(f"{tmp_path}/bridge.hcl:{one.location.line}: ")
            lines.append(f"{one.location.line - FIRST + 1}: {rest}")
        return lines

    return found


def test_a_fabric(read: Read):
    """A block becomes settings: one pattern or label may be written without a list, all else has its default."""
    (found,) = read(FABRIC).fabrics.values()
    assert msgspec.structs.replace(found, location=FabricSettings("", "", "").location) == FabricSettings(
        name="plant",
        integration="cluster",
        node="desk-7-example-com",
        exports=("order.**",),
        imports=("order.**",),
        offers=("erp",),
        uses=("printer", "scales"),
        delivery="at_most_once",
        max_age=86400.0,
        max_bytes=None,
        replicas=1,
        receipts=False,
    )
    assert found.location.line == FIRST
    assert not found.durable


def test_a_fabric_with_a_stream(read: Read):
    """With `at_least_once`, age and bytes of the stream and receipts can be set; `replicas` always, for the bucket."""
    text = fabric('delivery = "at_least_once"', 'max_age = "2h"', 'max_bytes = "10MiB"', "receipts = true")
    (found,) = read(text).fabrics.values()
    assert (found.durable, found.max_age, found.max_bytes, found.receipts) == (True, 7200.0, 10 << 20, True)
    assert read(fabric("replicas = 3")).fabrics["plant"].replicas == 3


def test_without_fabrics_there_are_none(read: Read):
    """A configuration without a fabric has none, and no integration of others."""
    found = read("")
    assert found.fabrics == {}
    assert not any(one.is_used for one in found.integrations.values())


@pytest.mark.parametrize(
    ("host", "bridge", "node"),
    [
        ("desk-7", "", "desk-7"),
        ("desk-7", 'name = "bridge"', "desk-7"),
        ("desk-7", 'name = "till_2"', "desk-7-till_2"),
        ("Büro 7.lan", "", "B-ro-7-lan"),
    ],
)
def test_the_default_node(read: Read, host: str, bridge: str, node: str):
    """It is the host's name, with the bridge's behind it unless that is the default; other signs become `-`."""
    text = f"bridge {{\n  {bridge}\n}}\n{fabric()}"
    assert read(text, host=host).fabrics["plant"].node == node


def test_the_host_is_that_of_the_system(read: Read, tmp_path: Path):
    """Where nothing else is said, the host's name is what the system says."""
    read(fabric())
    found = load([tmp_path / "bridge.hcl"], adapters=AdapterRegistry(), environ={}).fabrics["plant"]
    assert found.node == re.sub("[^A-Za-z0-9_-]", "-", socket.gethostname())


def test_no_default_node(complaints: Complain):
    """Where no name can be made, `node` is asked for, and what it would have been is said."""
    (without,) = complaints(fabric(), host="")
    assert without == (
        '1: fabric "plant": needs `node`, the name of this bridge in the fabric, 100 characters at most: '
        "the host has none"
    )
    (long,) = complaints(f'bridge {{\n  name = "{"b" * 90}"\n}}\n{fabric()}', host="desk-7-of-room-12")
    assert f"it would be made of the host's name and the bridge's, and be `desk-7-of-room-12-{'b' * 90}`" in long


def test_a_node_that_would_pass_for_a_bridge(complaints: Complain):
    """`bridge` is refused as a node's name, as the bridges' own events have sources that begin with it."""
    (default,) = complaints(fabric(), host="bridge")
    assert default.startswith('1: fabric "plant" > node: a node cannot be called `bridge`')


@pytest.mark.parametrize("node", ["", '  node = "till"\n'])
def test_two_fabrics_of_one_node(read: Read, complaints: Complain, node: str):
    """Two fabrics of one bridge need different nodes, as written or by default; the second one is complained of."""
    block = 'fabric "{}" {{\n  integration = "cluster"\n{}}}\n'
    (found,) = complaints(block.format("plant", node) + block.format("office", node))
    name, line = ("till", 7) if node else ("desk-7-example-com", 4)
    assert found.startswith(f'{line}: fabric "office" > node: `{name}` is the node of another fabric, too; give each')
    assert read(block.format("plant", node) + block.format("office", '  node = "other"\n')).fabrics.keys() == {
        "plant",
        "office",
    }


def test_what_a_fabric_uses_is_an_integration(read: Read):
    """Each label under `use` is an integration without endpoint, retries and breaker, which a route can name."""
    found = read(FABRIC + ROUTE)
    assert [name for name, one in found.integrations.items() if one.is_used] == ["printer", "scales"]
    printer = found.integrations["printer"]
    assert (printer.id, printer.type, printer.endpoint, printer.warnings) == ("printer", "fabric", None, ())
    assert printer.config.model_dump() == {"fabric": "plant", "integration": "printer"}
    assert printer.spec.operations == {"request", "publish", "enqueue"}
    assert printer.resilience.retry.max_attempts == 1
    assert printer.resilience.circuit_breaker.failure_threshold >= 1_000_000_000
    assert (printer.resilience.timeout, printer.health.interval) == (86400.0, 1.0)
    assert printer.location.line == FIRST + 5
    assert [route.integration for route in found.routes] == ["printer"]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (['node = "desk 7"'], "3: node: may hold letters, digits, `_` and `-` only"),
        ([f'node = "{"d" * 101}"'], "3: node: String should have at most 100 characters"),
        (['export = ["order/#"]'], "3: export: `order/#` is no pattern of event types; write `order.**`"),
        (['import = ["a.*", "order.>"]'], "3: import: `order.>` is no pattern of event types; write `order.**`"),
        (['export = ["order*"]'], "3: export: 'order*': `*` and `**` stand for whole segments, not for a part as in"),
        (['offer = ["erpp"]'], "3: offer: there is no integration `erpp` (did you mean `erp`?)"),
        (['offer = ["erp", "erp"]'], "3: offer: `erp` is named twice"),
        (['offer = ["clock"]'], "3: offer: `clock` is `timer`, which has no "),
        (
            ['offer = ["printer"]', 'use = ["printer"]'],
            "3: offer: `printer` is offered by other nodes; a bridge offers what it has an `integration` block for",
        ),
        (
            ['use = ["erp"]'],
            "3: use: `erp` is an integration of this bridge, which needs no other one for it; leave it out, or give",
        ),
        (['use = ["a", "a"]'], "3: use: `a` is named twice; a command goes to the nodes of one fabric"),
        (['use = ["a.b"]'], "3: use: a label has letters, digits, `_` and `-` only, 200 at most"),
        ([f'use = "{"a" * 201}"'], "3: use: a label has letters, digits, `_` and `-` only, 200 at most"),
        (['use = ["bridge"]'], "3: use: the label `bridge` is reserved"),
        (['use = ["node"]'], "3: use: the label `node` is reserved"),
        (["replicas = 0"], "3: replicas: "),
        (["replicas = 6"], "3: replicas: "),
        (['max_age = "10ms"', 'delivery = "at_least_once"'], "3: max_age: "),
        (['delivery = "exactly_once"'], "3: delivery: must be `at_most_once` or `at_least_once`"),
        (['max_age = "1h"'], '3: max_age: belongs to `delivery = "at_least_once"`: without a stream nothing is kept'),
        (['max_bytes = "1MiB"'], '3: max_bytes: belongs to `delivery = "at_least_once"`: without a stream'),
        (["receipts = true"], '3: receipts: belongs to `delivery = "at_least_once"`: without a stream'),
        (["exports = []"], "3: exports: unknown key (did you mean `export`?)"),
        (["imports = []"], "3: imports: unknown key (did you mean `import`?)"),
        (['name = "x"'], '3: name: unknown key; the label is the name: `fabric "…" {`'),
        (["topic = 1"], "3: topic: unknown key; `topic` belongs in `route` or `subscription`"),
        (["export {}"], "3: export: is no block; write `export = …`"),
        (["use = 5"], "3: use: must be a list"),
        (["use = [5]"], "3: use > 0: must be a string"),
    ],
)
def test_a_complaint_names_its_place(complaints: Complain, lines: list[str], complaint: str):
    """Each fault of a fabric is said once, with line and key, and what would be right."""
    (found,) = complaints(fabric(*lines))
    assert found.replace('fabric "plant" > ', "").startswith(complaint)


def test_the_place_of_an_item(faults: Callable[..., tuple[Diagnostic, ...]]):
    """A complaint about one label of a list points to it, and one about a label that is taken to the other, too."""
    text = fabric('use = ["printer", "erp"]')
    (found,) = faults(text)
    line = text.splitlines()[found.location.line - FIRST]
    assert line[found.location.column - 1 : found.location.end_column - 1] == '"erp"'
    (related,) = found.related
    assert (related.location.line, related.label) == (8, "the integration of this bridge")


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("a.b", "a label has letters, digits, `_` and `-` only"),
        ("f" * 101, "the label of a fabric has 100 characters at most"),
    ],
)
def test_the_label_of_a_fabric(complaints: Complain, label: str, why: str):
    """It is a part of subjects and event types."""
    assert complaints(fabric(name=label)) == [f'1: fabric "{label}": {why}']


@pytest.mark.parametrize(
    ("carrier", "why"),
    [
        ("clusterr", "there is no integration `clusterr` (did you mean `cluster`?)"),
        ("erp", "`erp` is `json-rpc`, which cannot carry a fabric; write `cluster`"),
        ("printer", "`printer` is offered by other nodes, which cannot carry a fabric; write `cluster`"),
    ],
)
def test_what_cannot_carry_a_fabric(complaints: Complain, carrier: str, why: str):
    """Only an integration of this bridge whose protocol can; the complaint names those that can."""
    text = fabric('use = ["printer"]').replace('"cluster"', f'"{carrier}"')
    assert complaints(text) == [f'2: fabric "plant" > integration: {why}']


def test_nothing_can_carry_a_fabric(complaints: Complain):
    """Without such an integration, the protocol that a fabric needs is named."""
    ground = 'integration "erp" {\n  type = "json-rpc"\n  endpoint {\n    url = "http://localhost"\n  }\n}\n'
    (found,) = complaints(fabric().replace('"cluster"', '"erp"'), ground=ground)
    assert found.endswith("a fabric needs NATS with JetStream, an integration of the type `nats`")


def test_two_fabrics(read: Read, complaints: Complain):
    """Two labels may share an integration; one label is one fabric, and an integration is used over one of them."""
    assert [*read(fabric() + fabric('node = "o"', name="office")).fabrics] == ["plant", "office"]
    (twice,) = complaints(fabric() + fabric())
    assert twice.startswith('4: fabric "plant": given twice; the first is at ')
    used = fabric('use = ["printer"]')
    (both,) = complaints(used + fabric('use = ["printer"]', 'node = "o"', name="office"))
    assert both == '7: fabric "office" > use: `printer` is named twice; a command goes to the nodes of one fabric'


def test_labels_that_topics_of_a_fabric_have(read: Read, complaints: Complain):
    """`fabric` and `node` are labels of integrations only where there is no fabric."""
    clock = 'integration "node" {\n  type = "timer"\n  config {\n    every = "10s"\n  }\n}\n'
    assert "node" in read(clock).integrations
    (found,) = complaints(clock + fabric())
    assert found == (
        '1: integration "node": the label `node` is reserved where there is a fabric, because `health.node.<node>` is '
        "a topic of it"
    )


def test_the_type_fabric_is_none_to_choose(complaints: Complain):
    """A person writes `use`, and no list of types has it."""
    (found,) = complaints('integration "printer" {\n  type = "fabric"\n}\n')
    assert found == (
        '2: integration "printer" > type: integrations of the type `fabric` are those of other nodes of a fabric; write'
        ' the label under `use` of a `fabric "name" { … }` block, and no `integration` block for it'
    )
    (other,) = complaints('integration "printer" {\n  type = "fabrik"\n}\n')
    assert "fabric" not in other
    assert "fabric" not in [*AdapterRegistry()]
    assert AdapterRegistry()["fabric"].protocol == "fabric"


def test_what_a_used_integration_lacks(complaints: Complain):
    """A route or subscription is told which operations others can be asked for."""
    publish = ROUTE.replace('"request"', '"dequeue"')
    assert complaints(FABRIC + publish)[0].startswith('11: route "print" > operation: must be ')
    (found,) = complaints(FABRIC + 'subscription "s" {\n  integration = "printer"\n  topic = "*"\n}\n')
    assert found == (
        '10: subscription "s" > topic: `printer` is offered by other nodes of a fabric, which has no `subscribe`; it '
        "has `enqueue`, `publish`, `request`"
    )


def test_one_fault_is_one_complaint(complaints: Complain):
    """What depends on a faulty fabric gets no complaint: its routes, and a subscription that it has one node emit."""
    text = FABRIC.replace('"order.**"]', "5]") + ROUTE + singleton("clock", "default")
    assert complaints(text) == ['3: fabric "plant" > export > 0: must be a string']
    broken = FABRIC.replace("]\n  import", "\n  import") + ROUTE + singleton("clock", "default")
    assert [one.partition(":")[0] for one in complaints(broken)] == ["3"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            ['export = ["health.**"]'],
            "export: what begins with `health.` is about one bridge, and is never exported nor",
        ),
        (['import = "receipt"'], "import: what begins with `receipt.` is about one bridge, and is never exported nor"),
        (['export = ["integration.erp.*"]'], "export: what begins with `integration.` is about one bridge"),
        (['export = ["system.shutdown"]'], "export: this event stops the bridge, and is never exported nor imported"),
    ],
)
def test_a_pattern_of_what_is_never_shared(read: Read, lines: list[str], why: str):
    """It is a warning with file, line and key."""
    (warning,) = read(fabric(*lines)).warnings
    assert (warning.code, warning.location.line) == ("NB064", FIRST + 2)
    assert f'fabric "plant" > {why}' in str(warning)


@pytest.mark.parametrize("pattern", ["**", "*.created", "system.*", "healthy.**", "order.health.x", "message.**"])
def test_a_pattern_of_what_may_be_shared(read: Read, pattern: str):
    """A pattern that also matches other events is right."""
    assert read(fabric(f'export = ["{pattern}"]', f'import = ["{pattern}"]')).warnings == ()


def test_what_is_exported_and_imported_again_is_no_loop(read: Read):
    """Nothing that was imported is exported into the same fabric again, so the same patterns give no warning."""
    route = ROUTE.replace('"print"\n}', '"print"\n  emit        = "order.printed"\n}')
    assert (
        read(fabric('export = ["order.printed"]', 'import = ["order.paid"]', 'use = ["printer"]') + route).warnings
        == ()
    )


@pytest.mark.parametrize(
    ("integration", "topic"), [("clock", "default"), ("page", "poll"), ("files", "in/*.csv"), ("files", "tail:a.log")]
)
def test_a_subscription_that_one_node_emits(read: Read, integration: str, topic: str):
    """A timer, the poll of an HTTP integration, and files can be left to one node."""
    (found,) = read(fabric() + singleton(integration, topic)).subscriptions
    assert found.singleton == "plant"


@pytest.mark.parametrize(
    ("integration", "topic", "why"),
    [
        ("clock", "*", "each needs a subscription of its own; there are the topics default, start"),
        ("clock", "start", "the schedule 'start' has `immediately`, a tick that each node has at another time"),
        (
            "page",
            "events",
            'the server sends its events once to each that listens; only the topic "poll" can be `singl',
        ),
        ("fixed", "*", "each bridge emits its values once, when it begins"),
        ("cluster", "a.>", "the remote sends messages to each subscriber; nodes share them by `group` where the"),
    ],
)
def test_what_one_node_cannot_emit_for_all(complaints: Complain, integration: str, topic: str, why: str):
    """The reason is said, and what to do instead."""
    (found,) = complaints(fabric() + singleton(integration, topic))
    assert found.startswith('7: subscription "s" > singleton: this `topic` of ')
    assert f"cannot be emitted by one node for all: {why}" in found


def test_a_queue_is_shared_already(complaints: Complain):
    """Each message of a queue goes to one reader, so that no lease is needed."""
    (found,) = complaints(fabric() + singleton("cluster", "ORDERS/worker").replace("topic      ", "queue"))
    assert "this `queue` of `nats` cannot be emitted by one node for all: a queue gives each message to one" in found


def test_a_singleton_of_no_fabric(complaints: Complain):
    """A near label is suggested; without any fabric, how to write one."""
    assert complaints(fabric() + singleton("clock", "default", of="plants")) == [
        '7: subscription "s" > singleton: there is no fabric `plants` (did you mean `plant`?)'
    ]
    assert complaints(singleton("clock", "default")) == [
        '4: subscription "s" > singleton: there is no fabric `plant`; write `fabric "name" { … }`'
    ]


def test_the_label_of_a_singleton(read: Read, complaints: Complain):
    """It is a key at the broker, so it is not longer than the label of an integration."""
    text = fabric() + singleton("clock", "default")
    assert read(text.replace('"s"', f'"{"s" * 200}"')).subscriptions
    (found,) = complaints(text.replace('"s"', f'"{"s" * 201}"'))
    assert "> singleton: with it, the label of the subscription has 200 characters at most" in found


def test_two_subscriptions_of_one_source(complaints: Complain):
    """One that all nodes emit and one that a single node emits cannot share a source: the ticks differ."""
    other = 'subscription "t" {\n  integration = "clock"\n  topic = "default"\n  emit = "tick"\n}\n'
    (found,) = complaints(fabric() + singleton("clock", "default") + other)
    assert "with another `singleton`" in found


def test_what_a_fabric_reports_sets_off_a_route(read: Read):
    """Patterns of the reports of a fabric and its nodes are known, and so are those of what is imported."""
    fabrics = fabric('import = ["message.**"]', 'use = ["printer"]')

    def warned(on: str, text: str = fabrics) -> list[str]:
        route = ROUTE.replace("order.paid", on).replace('"printer"', '"erp"')
        return [one.message for one in read(text + route).warnings if one.block.endswith(" > on")]

    for on in (
        *("health.fabric.plant", "health.fabric.*", "health.node.desk-9", "health.node.*", "health.node.**"),
        *("resilience.fabric.plant.lease", "resilience.fabric.*.missed", "resilience.fabric.**"),
        *("health.printer", "resilience.printer.failed", "message.other", "resilience.*.*.lease", "health.*.*"),
    ):
        assert warned(on) == [], on
    assert warned("health.fabric.plan") == [
        "there is no fabric `plan`, so this bridge emits nothing that matches `health.fabric.plan`"
    ]
    assert warned("resilience.fabric.plant.leases") == [
        "the bridge emits nothing that matches `resilience.fabric.plant.leases`"
    ]
    assert warned("health.node") == ["the bridge emits nothing that matches `health.node`"]
    assert warned("health.node.*", "") == [
        "there is no fabric, so this bridge emits nothing that matches `health.node.*`"
    ]
    assert warned("message.other", fabric('import = ["order.**"]')) != []


# --- shown, compared, described


def test_a_fabric_as_it_is_shown(read: Read):
    """A person sees a fabric as a file has it, and what it uses under no block of its own; the text can be read."""
    text = FABRIC + 'subscription "s" {\n  integration = "clock"\n  topic = "default"\n  singleton = "plant"\n}\n'
    found = read(text)
    assert masked(found)["fabric"]["plant"] == {
        "integration": "cluster",
        "node": "desk-7-example-com",
        "export": ["order.**"],
        "import": ["order.**"],
        "offer": ["erp"],
        "use": ["printer", "scales"],
        "delivery": "at_most_once",
        "max_age": "24h",
        "replicas": 1,
        "receipts": False,
    }
    assert [*masked(found)["integration"]] == ["cluster", "erp", "clock", "page", "fixed", "files"]
    assert '  import = ["order.**"]\n' in show(found)
    assert '  singleton = "plant"\n' in show(found)


def test_a_shown_fabric_with_a_stream(read: Read):
    """Sizes and durations have their units."""
    shown = masked(read(fabric('delivery = "at_least_once"', "max_bytes = 10485760", "max_age = 90")))["fabric"][
        "plant"
    ]
    assert (shown["max_bytes"], shown["max_age"]) == ("10MiB", "90s")


def test_values_from_the_environment(read: Read, complaints: Complain):
    """They are masked where the configuration is shown, and hidden in complaints; a node's name may be logged."""
    environ = {"NODE": "desk-secret", "PATTERN": "hidden/#", "OTHER": "hidden", "OWN": "erp"}
    found = read(fabric("node = env.NODE"), environ)
    assert masked(found)["fabric"]["plant"]["node"] == "***"
    assert found.fabrics["plant"].node == "desk-secret"
    assert "desk-secret" not in found.secrets
    for line, complaint in (
        ("export = [env.PATTERN]", "export: one of them is not a pattern of event types"),
        ("offer = [env.OTHER]", "offer: there is no such integration; there are "),
        ("offer = [env.OWN, env.OWN]", "offer: one of them cannot be offered"),
        ("use = [env.OWN]", "use: one of them cannot be used"),
        ("node = env.PATTERN", "node: may hold letters, digits, `_` and `-` only"),
    ):
        (said,) = complaints(fabric(line), environ)
        assert said.removeprefix('3: fabric "plant" > ').startswith(complaint)
        assert "hidden" not in said


def test_the_plan_of_a_reload(read: Read):
    """A fabric that is added, changed or removed is in the plan, and so are the integrations that it uses."""
    old, new = read(FABRIC), read(FABRIC.replace('"scales"', '"oven"') + fabric('node = "o"', name="office"))
    plan = plan_of(Snapshot.of(old), Snapshot.of(new), {"scales": 3, "printer": 1})
    assert (plan.added, plan.removed, plan.changed) == (["oven"], ["scales"], [])
    assert "printer" in plan.unchanged
    assert (plan.integrations.added, plan.integrations.removed) == ([], [])
    assert (plan.fabrics.added, plan.fabrics.removed) == (["office"], [])
    assert plan.fabrics.changed == {"plant": {"use": [["printer", "scales"], ["printer", "oven"]]}}
    assert plan.stranded == {"scales": 3}
    assert summary(plan) == {"fabrics": ["+ office", "~ plant: use"], "stranded": ["scales: 3"]}
    assert without_values(plan).fabrics.changed == {"plant": {"use": ["…", "…"]}}
    assert plan_of(Snapshot.of(new), Snapshot.of(read(""))).fabrics.removed == ["office", "plant"]


def test_an_integration_that_moves_to_another_fabric(read: Read):
    """What is used over another fabric than before, or is the bridge's own then, is changed."""
    own = 'integration "printer" {\n  type = "static"\n  config {\n    values = { a = 1 }\n  }\n}\n'
    one = Snapshot.of(read(fabric('use = ["printer"]') + fabric('node = "o"', name="office")))
    other = Snapshot.of(read(fabric() + fabric('node = "o"', 'use = ["printer"]', name="office")))
    third = Snapshot.of(read(fabric() + own))
    assert plan_of(one, other).changed == ["printer"]
    assert plan_of(other, third).changed == ["printer"]
    assert plan_of(third, other).changed == ["printer"]


def test_the_plan_over_the_wire(read: Read):
    """What `bridge.configuration` says of fabrics is enough to compare it with files."""
    old, new = Snapshot.of(read(FABRIC)), Snapshot.of(read(FABRIC.replace("scales", "oven")))
    kinds = ("integrations", "routes", "subscriptions", "fabrics", "settings")
    known = Snapshot.from_shown(**{kind: json.loads(json.dumps(shown_values(getattr(old, kind)))) for kind in kinds})
    assert plan_of(known, old.as_shown()) == plan_of(old, old)
    assert plan_of(known, new.as_shown()) == plan_of(old, new)


def test_the_schema_of_a_fabric():
    """It has the keys of a file, with their limits; no integration has the type `fabric`."""
    adapters = AdapterRegistry()
    described = schema({name: adapters[name] for name in ("nats", "timer")})
    block = {"integration": "cluster", "export": ["a.**"], "import": ["a.**"], "use": ["printer"], "replicas": 3}
    jsonschema.validate({"fabric": {"plant": block}}, described)
    for wrong in ({"replicas": 6}, {"exports": []}, {"node": "a b"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"fabric": {"plant": block | wrong}}, described)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"integration": {"printer": {"type": "fabric"}}}, described)
