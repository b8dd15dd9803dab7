"""The alert rules and the dashboard under compose/ read what `/metrics` has, and each rule fires when it should."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from bridge.config import BridgeSettings
from bridge.contract import examples
from bridge.observe.metrics import Metrics
from tests.support.details import busy_details

COMPOSE = Path(__file__).parents[3] / "compose"
PROMETHEUS = COMPOSE / "prometheus"
#: What Prometheus adds: series of its own, and the labels of each scrape.
OF_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity", "job", "instance"}}
OF_A_SCRAPE = {"job", "instance"}
#: Words of PromQL that are no names of metrics.
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "bool", "inf", "nan"}
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
SELECTOR = re.compile(r"\b([a-zA-Z_:]\w*)\s*(?:\{([^}]*)\})?(?!\w)")

Series = Mapping[str, Mapping[str, set[str]]]
"""Name of a series → label → its values."""


def read(path: Path) -> Any:
    """Return what a file of YAML says."""
    return YAML(typ="safe").load(path)


@cache
def series() -> Series:
    """Return the series of `/metrics`, of a bridge with an integration at which all has happened."""
    answer = {"bridge": examples.BRIDGE, "backend_api": examples.INTEGRATION}
    body, _ = Metrics(lambda: answer, busy_details, lambda: 0.25).text("")
    found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = found[sample.name]
            for label, value in sample.labels.items():
                labels[label].add(value)
    return found


def rules() -> list[dict[str, Any]]:
    """Return all alert rules."""
    return [rule for group in read(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((COMPOSE / "grafana" / "nemo-bridge.json").read_text("utf-8"))
    return found


def unknown(expression: str, texts: str = "") -> Iterator[str]:
    """Yield each metric, label and value in an expression that does not exist.

    Args:
        expression: An expression of PromQL; `$…` are variables of Grafana.
        texts: Templates that show labels of its result.
    """
    bare = re.sub(r"\[[^\]]*\]", "", expression)
    lists = re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", bare)
    bare = re.sub(r"\b(by|without)\s*\([^)]*\)", "", bare)
    labels = set(OF_A_SCRAPE)
    for found in SELECTOR.finditer(bare):
        name, matchers = found[1], found[2] or ""
        if inside_braces(bare, found.start()) or name in WORDS or bare[found.end() :].lstrip().startswith("("):
            continue
        known = OF_PROMETHEUS.get(name) or series().get(name)
        if known is None:
            yield f"metric {name}"
            continue
        labels |= set(known)
        for label, operator, value in MATCHER.findall(matchers):
            if label not in known and label not in OF_A_SCRAPE:
                yield f"label {label} of {name}"
            elif isinstance(known, Mapping) and label in known and not value.startswith("$"):
                values = value.split("|") if "~" in operator else [value]
                yield from (f"{label}={one} of {name}" for one in values if one not in known[label])
    shown = re.findall(r"\$labels\.(\w+)", texts) + re.findall(r"\{\{(\w+)\}\}", texts)
    for label in {*shown, *(one.strip() for text in lists for one in text.split(","))} - labels:
        yield f"label {label} of the result"


def inside_braces(text: str, position: int) -> bool:
    """Return whether a position is between the braces of a selector."""
    return text.rfind("{", 0, position) > text.rfind("}", 0, position)


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ('sum by (integration) (rate(nemo_bridge_retries_total{integration=~"$integration"}[5m])) > 0', []),
        ("nemo_bridge_no_such_metric > 0", ["metric nemo_bridge_no_such_metric"]),
        ('nemo_bridge_retries_total{kind="auth"}', ["label kind of nemo_bridge_retries_total"]),
        ('nemo_bridge_circuit_state{state=~"open|closd"}', ["state=closd of nemo_bridge_circuit_state"]),
        ("sum by (route) (nemo_bridge_retries_total)", ["label route of the result"]),
    ],
)
def test_what_does_not_exist_is_found(expression: str, wrong: list[str]):
    """The check below finds a wrong metric, label, value and grouping, and nothing in a good expression."""
    assert [*unknown(expression)] == wrong


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alerts_read_what_there_is(rule: dict[str, Any]):
    """Each metric, label and value of a rule is in `/metrics`, also those that its texts show."""
    assert not [*unknown(rule["expr"], " ".join(rule["annotations"].values()))]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alerts_say_what_to_do(rule: dict[str, Any]):
    """Each alert has a severity, says what is so, where, and what to look at first; it is documented."""
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert "$labels." in rule["annotations"]["description"]
    page = (COMPOSE.parent / "docs" / "operation.md").read_text("utf-8")
    assert f"| `{rule['alert']}` | {rule['labels']['severity']} |" in page


def test_the_dashboard_reads_what_there_is():
    """Each metric, label and value of the dashboard is in `/metrics`; its panels do not overlap."""
    found = dashboard()
    targets = [target for panel in found["panels"] for target in panel.get("targets", ())]
    assert len(targets) > 30
    assert not [wrong for one in targets for wrong in unknown(one["expr"], one["legendFormat"])]
    for variable in found["templating"]["list"]:
        expression, label = variable["definition"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        assert variable["query"]["query"] == variable["definition"]
        assert not [*unknown(expression, f"{{{{{label}}}}}")]
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        taken |= cells


def test_the_parts_find_each_other():
    """Prometheus reads the status address, its rules are mounted, and Grafana finds Prometheus and the dashboard."""
    settings = read(PROMETHEUS / "prometheus.yml")
    (job,) = settings["scrape_configs"]
    assert job["static_configs"] == [{"targets": [BridgeSettings().status]}]
    assert all(job["job_name"] in rule["expr"] for rule in rules() if "job=" in rule["expr"])
    mounted = {
        volume.split(":")[1]: COMPOSE / volume.split(":")[0]
        for service in read(COMPOSE / "compose.yaml")["services"].values()
        for volume in service.get("volumes", ())
    }
    for name in settings["rule_files"]:
        assert mounted[f"/etc/prometheus/{name}"] == PROMETHEUS / name
    (source,) = read(mounted["/etc/grafana/provisioning/datasources/nemo-bridge.yml"])["datasources"]
    assert source["url"] == "http://sidecar:9090"
    assert source["jsonData"]["timeInterval"] == settings["global"]["scrape_interval"]
    (provider,) = read(mounted["/etc/grafana/provisioning/dashboards/nemo-bridge.yml"])["providers"]
    assert json.loads(mounted[f"{provider['options']['path']}/nemo-bridge.json"].read_text("utf-8")) == dashboard()
    used = {one["datasource"]["uid"] for panel in dashboard()["panels"] for one in panel.get("targets", ())}
    assert used == {source["uid"]}


def test_each_alert_has_a_test():
    """For each rule alerts_test.yml says a moment at which it fires."""
    tests = read(PROMETHEUS / "alerts_test.yml")["tests"]
    fired = {
        name
        for test in tests
        for moment in test.get("promql_expr_test", ())
        for sample in moment["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert fired == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize(
    "arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")], ids=["check", "test"]
)
def test_promtool_agrees(arguments: tuple[str, ...]):
    """Prometheus' own tool takes configuration and rules, and its tests of the rules succeed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
