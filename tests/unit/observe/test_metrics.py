"""Show the names of the metrics, and that their values are those of `bridge.status`."""

from copy import deepcopy
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from bridge.contract import examples
from bridge.observe.metrics import Metrics

ANSWER: dict[str, Any] = {"bridge": examples.BRIDGE, "backend_api": examples.INTEGRATION}


def samples(answer: dict[str, Any]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by name and labels, as Prometheus reads them."""
    body, content_type = Metrics(lambda: answer, lambda: 0.25).text("")
    assert content_type.startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(body.decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_the_sums_are_there():
    """Operations are counted by outcome, in base units, and the sums add up."""
    one = {"status": "connecting", "error": None}
    found = samples(ANSWER | {"backend_api": ANSWER["backend_api"] | {"dropped": 3, "subscriptions": {"jobs": one}}})
    api = ("integration", "backend_api")
    ended = sum(value for (name, _), value in found.items() if name == "nemo_bridge_operations_ended_total")
    in_flight = found["nemo_bridge_operations_in_flight", (api,)]
    queued = found["nemo_bridge_operations_queued", (api,)]
    assert found["nemo_bridge_operations_accepted_total", (api,)] == 97 == ended + in_flight + queued
    assert found["nemo_bridge_operations_ended_total", (api, ("outcome", "succeeded"))] == 90
    assert found["nemo_bridge_check_latency_seconds", (api,)] == pytest.approx(0.0032)
    assert found["nemo_bridge_reconnects_total", (api,)] == 1
    assert found["nemo_bridge_messages_dropped_total", (api,)] == 3
    assert found["nemo_bridge_subscriptions_unwell", (api,)] == 1
    assert found["nemo_bridge_bus_events_received_total", ()] == 120
    assert found["nemo_bridge_event_loop_lag_seconds", ()] == 0.25


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
    """Events make no new series; another integration makes as many as each of the others."""
    one = samples(ANSWER).keys()
    busy = deepcopy(ANSWER)
    busy["backend_api"] |= {"status": "failed", "error": {"kind": "auth", "message": "x", "retryable": False}}
    assert samples(busy).keys() == one
    two = samples(ANSWER | {"other": examples.INTEGRATION | {"integration": "other"}}).keys()
    mine = {key for key in one if any(name == "integration" for name, _ in key[1])}
    assert len(two) == len(one) + len(mine)


def test_open_metrics_where_it_is_asked_for():
    """Where OpenMetrics is asked for, the text is valid OpenMetrics, which is stricter."""
    body, content_type = Metrics(lambda: ANSWER, lambda: 0.0).text("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in open_families(body.decode())} >= {"nemo_bridge_operations_accepted"}
