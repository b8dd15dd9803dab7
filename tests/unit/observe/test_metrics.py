"""Show the names of the metrics, and that their values are those of the bridge."""

from copy import deepcopy
from typing import Any

import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from bridge.contract import examples
from bridge.core.payloads import Fleet
from bridge.observe.details import Details, IntegrationDetails
from bridge.observe.metrics import Metrics
from bridge.resilience.measurements import BUCKETS, Measurements
from tests.support.details import busy_details, details_of
from tests.support.guard.operations import operation

ANSWER: dict[str, Any] = {"bridge": examples.BRIDGE, "backend_api": examples.INTEGRATION}
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families(answer: dict[str, Any], details: Details | None = None, accept: str = "") -> list[Metric]:
    """Return every family, as Prometheus reads it."""
    known = details or details_of(name for name in answer if name != "bridge")
    body, content_type = Metrics(lambda: answer, lambda: known, lambda: 0.25).text(accept)
    if accept:
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        return [*open_families(body.decode())]
    assert content_type.startswith("text/plain; version=0.0.4")
    return [*text_string_to_metric_families(body.decode())]


def samples(answer: dict[str, Any], details: Details | None = None, accept: str = "") -> Samples:
    """Return every sample by name and labels."""
    found = families(answer, details, accept)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in found for one in family.samples}


def test_the_sums_are_there():
    """Operations are counted by outcome, in base units, and the sums add up."""
    found = samples(ANSWER | {"backend_api": ANSWER["backend_api"] | {"dropped": 3, "warnings": ["one", "two"]}})
    api = ("integration", "backend_api")
    ended = sum(value for (name, _), value in found.items() if name == "nemo_bridge_operations_ended_total")
    in_flight = found["nemo_bridge_operations_in_flight", (api,)]
    queued = found["nemo_bridge_operations_queued", (api,)]
    assert found["nemo_bridge_operations_accepted_total", (api,)] == 97 == ended + in_flight + queued
    assert found["nemo_bridge_operations_ended_total", (api, ("outcome", "succeeded"))] == 90
    assert found["nemo_bridge_check_latency_seconds", (api,)] == pytest.approx(0.0032)
    assert found["nemo_bridge_reconnects_total", (api,)] == 1
    assert found["nemo_bridge_messages_dropped_total", (api,)] == 3
    assert found["nemo_bridge_integration_warnings", (api,)] == 2
    assert found["nemo_bridge_bus_events_received_total", ()] == 120
    assert found["nemo_bridge_event_loop_lag_seconds", ()] == 0.25


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_what_was_measured(accept: str):
    """Attempts, failures, routes, the circuit, subscriptions and the outbox are those of the integration."""
    found = samples(ANSWER, busy_details(), accept)
    api = ("integration", "backend_api")
    assert found["nemo_bridge_attempts_total", (api,)] == 4
    assert found["nemo_bridge_retries_total", (api,)] == 2
    assert {labels: value for (name, labels), value in found.items() if name == "nemo_bridge_failures_total"} == {
        (api, ("kind", "unavailable")): 1,
        (api, ("kind", "circuit_open")): 1,
    }
    assert {labels: value for (name, labels), value in found.items() if "_route_" in name} == {
        (api, ("outcome", "succeeded"), ("route", "orders")): 1,
        (api, ("outcome", "failed"), ("route", "orders")): 1,
        (api, ("outcome", "succeeded"), ("route", "stock")): 0,
        (api, ("outcome", "failed"), ("route", "stock")): 0,
    }
    assert found["nemo_bridge_circuit_transitions_total", (api, ("state", "open"))] == 1
    assert found["nemo_bridge_circuit_transitions_total", (api, ("state", "closed"))] == 0
    assert found["nemo_bridge_subscription_messages_total", (api, ("subscription", "jobs"))] == 12
    assert found["nemo_bridge_subscriptions_unwell", (api,)] == 25
    assert found["nemo_bridge_subscriptions_unheard", (api,)] == 1
    assert found["nemo_bridge_integration_outbox_pending", (api,)] == 4
    assert found["nemo_bridge_integration_dead_letters", (api,)] == 5
    assert found["nemo_bridge_outbox_orphans", ()] == 6


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_durations_are_a_histogram(accept: str):
    """Each bucket has all that is not longer than its limit; the last one has all."""
    name = "nemo_bridge_operation_duration_seconds"
    (family,) = (one for one in families(ANSWER, busy_details(), accept) if one.name == name)
    assert family.type == "histogram"
    assert all(one.labels["operation"] == "request" for one in family.samples)
    buckets = {float(one.labels["le"]): one.value for one in family.samples if one.name == f"{name}_bucket"}
    assert [*buckets] == [*BUCKETS, float("inf")]
    assert {limit: buckets[limit] for limit in (0.0005, 0.25, 0.5, 60.0, float("inf"))} == {
        0.0005: 1,
        0.25: 1,
        0.5: 2,
        60.0: 2,
        float("inf"): 3,
    }
    sums = {one.name: one.value for one in family.samples}
    assert (sums[f"{name}_count"], sums[f"{name}_sum"]) == (3, pytest.approx(90.3004))


def test_routes_beyond_the_limit_are_one():
    """Routes that are counted together have one sum, under an empty name, and none of their own."""
    measured = Measurements()
    for number in range(1002):
        measured.succeeded(msgspec.structs.replace(operation(1), route=f"r{number}"), 0.1)
    routes = [f"r{number}" for number in range(1002)]
    found = samples(ANSWER, Details(0, {"backend_api": IntegrationDetails(measured, routes=routes)}))
    counted = {dict(labels)["route"]: value for (name, labels), value in found.items() if "_route_" in name and value}
    assert (len(counted), counted["r999"], counted[""]) == (1001, 1, 2)
    assert not any(dict(labels).get("route") == "r1000" for _, labels in found)


def test_the_state_of_the_outbox():
    """That it accepts nothing, or has lost what was stored, is a number that an alert can watch."""
    assert samples(ANSWER)["nemo_bridge_outbox_problem", ()] == 0
    assert samples(ANSWER)["nemo_bridge_outbox_loss", ()] == 0
    broken = deepcopy(ANSWER)
    broken["bridge"]["outbox"] |= {"problem": "no space left", "missing": "3 events", "oldest_ms": 1500}
    found = samples(broken)
    assert found["nemo_bridge_outbox_problem", ()] == 1
    assert found["nemo_bridge_outbox_loss", ()] == 1
    assert found["nemo_bridge_outbox_oldest_seconds", ()] == 1.5


def test_states_are_one_of_all():
    """Exactly one status of an integration is 1, and one state of its circuit."""
    found = samples(ANSWER)
    for name, label, wanted in (
        ("nemo_bridge_integration_status", "status", "connected"),
        ("nemo_bridge_circuit_state", "state", "closed"),
        ("nemo_bridge_status", "status", "ready"),
    ):
        chosen = [dict(labels)[label] for (one, labels), value in found.items() if one == name and value]
        assert chosen == [wanted]


def test_series_grow_with_the_configuration_only():
    """Another state makes no new series; another integration makes as many as each of the others."""
    one = samples(ANSWER).keys()
    failed = deepcopy(ANSWER)
    failed["backend_api"] |= {"status": "failed", "error": {"kind": "auth", "message": "x", "retryable": False}}
    assert samples(failed).keys() == one
    two = samples(ANSWER | {"other": examples.INTEGRATION | {"integration": "other"}}).keys()
    mine = {key for key in one if any(name == "integration" for name, _ in key[1])}
    assert len(two) == len(one) + len(mine)


def test_both_formats_say_the_same():
    """OpenMetrics, which is stricter, has the same samples and types as the older text; each has a help text."""
    old, new = families(ANSWER, busy_details()), families(ANSWER, busy_details(), OPEN_METRICS)
    ours = [(one.name, one.type) for one in new if one.name.startswith("nemo_bridge_")]
    assert ours == [(one.name, one.type) for one in old if one.name.startswith("nemo_bridge_")]
    assert all(one.documentation for one in new)
    assert {key: value for key, value in samples(ANSWER, busy_details()).items() if key[0].startswith("nemo_")} == {
        key: value for key, value in samples(ANSWER, busy_details(), OPEN_METRICS).items() if key[0].startswith("nemo_")
    }


def test_labels_are_escaped():
    """A name with quotes, a backslash and a line break is one label, and ends no line."""
    name = 'a"b\\c\nd'
    (found,) = (
        labels
        for (one, labels) in samples(ANSWER | {"bridge": examples.BRIDGE | {"name": name}})
        if one == "nemo_bridge_info"
    )
    assert dict(found)["name"] == name


def _fleet(**nodes: Any) -> Details:
    """Return the details of a bridge in the example's fabric, with more nodes."""
    answer = deepcopy(examples.RESULTS["bridge.fleet"])
    answer["fabrics"]["plant"]["nodes"] |= nodes
    return Details(0, details_of(["backend_api"]).integrations, msgspec.convert(answer, Fleet).fabrics)


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_fabrics(accept: str):
    """The status in a fabric, what it carried, its nodes by status, and leases: this bridge's, and those of nobody."""
    fleet = _fleet()
    fleet.fabrics["plant"] = msgspec.structs.replace(fleet.fabrics["plant"], vacant=["hourly", "weekly"])
    found = samples(ANSWER, fleet, accept)
    plant = ("fabric", "plant")
    assert found["nemo_bridge_fabric_status", (plant, ("status", "connected"))] == 1
    assert found["nemo_bridge_fabric_status", (plant, ("status", "failed"))] == 0
    assert found["nemo_bridge_fabric_events_total", (plant, ("kind", "imported"))] == 240
    assert found["nemo_bridge_fabric_nodes", (plant, ("status", "lost"))] == 1
    assert found["nemo_bridge_fabric_nodes", (plant, ("status", "connected"))] == 2
    assert found["nemo_bridge_fabric_leases", (plant,)] == 1
    assert found["nemo_bridge_fabric_vacant_leases", (plant,)] == 2
    assert found["nemo_bridge_fabric_warnings", (plant,)] == 0


def test_nodes_have_no_series():
    """However many nodes there are, the number of series is the same; without a fabric there is none."""
    node = examples.RESULTS["bridge.fleet"]["fabrics"]["plant"]["nodes"]["desk-8"]
    assert len(samples(ANSWER, _fleet())) == len(
        samples(ANSWER, _fleet(**{f"n{number}": node for number in range(50)}))
    )
    assert not [name for name, _ in samples(ANSWER) if "_fabric_" in name]
