"""Make the text of `/metrics` from the bridge's status, in Prometheus' formats.

All values are read when they are asked for; nothing is counted for them while events pass. The number of series is a
fixed number for each integration of the configuration: no label comes from a message.
"""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bridge.core.model import CircuitState, ConnectionStatus
from bridge.observe.summary import ReadStatus, Status, integrations

_BRIDGE_STATES: Final = ("starting", "ready", "degraded", "draining", "stopped")
_BUS: Final = {
    "received": "Events that were read",
    "published": "Events that were sent",
    "rejected": "Messages that were no good events",
    "missing": "Events of numbering sources that did not arrive",
    "dropped": "Own events that the bus did not take",
}
_OUTCOMES: Final = ("succeeded", "failed", "dead_lettered", "expired", "shed")


class Metrics:
    """Make the metrics of the process, for each scrape anew."""

    def __init__(self, read_status: ReadStatus, lag: Callable[[], float]) -> None:
        """Create a registry of its own; nothing is registered globally.

        Args:
            read_status: Returns the answer of `bridge.status`.
            lag: Returns the seconds by which the event loop was late at most, lately.
        """
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Bridge(read_status, lag))
        ProcessCollector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return the body and its content type, in the format that an `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Bridge(Collector):
    def __init__(self, read_status: ReadStatus, lag: Callable[[], float]) -> None:
        self._read_status = read_status
        self._lag = lag

    def collect(self) -> Iterator[Metric]:
        status = self._read_status()
        yield from _of_bridge(status)
        yield GaugeMetricFamily(
            "nemo_bridge_event_loop_lag_seconds", "How late the event loop was at worst, lately", self._lag()
        )
        yield from _of_integrations(status)


def _of_bridge(status: Status) -> Iterator[Metric]:
    one = status["bridge"]
    yield InfoMetricFamily("nemo_bridge", "The program", {"version": one["version"], "name": one["name"]})
    states = GaugeMetricFamily("nemo_bridge_status", "1 for the bridge's status", labels=["status"])
    for state in _BRIDGE_STATES:
        states.add_metric([state], state == one["status"])
    yield states
    for key, text in _BUS.items():
        yield CounterMetricFamily(f"nemo_bridge_bus_events_{key}", text, one["bus"][key])
    yield CounterMetricFamily("nemo_bridge_bus_gaps", "Times that numbered events were missing", one["bus"]["gaps"])
    outbox = one["outbox"]
    yield GaugeMetricFamily("nemo_bridge_outbox_pending", "Operations in the outbox", outbox["pending"])
    yield GaugeMetricFamily("nemo_bridge_outbox_bytes", "Their size", outbox["bytes"])
    yield GaugeMetricFamily("nemo_bridge_outbox_dead_letters", "Dead letters that are kept", outbox["dead_letters"])
    yield GaugeMetricFamily("nemo_bridge_outbox_oldest_seconds", "Age of the oldest", outbox["oldest_ms"] / 1000)


def _of_integrations(status: Status) -> Iterator[Metric]:
    label = ["integration"]
    accepted = CounterMetricFamily("nemo_bridge_operations_accepted", "Operations that were taken up", labels=label)
    ended = CounterMetricFamily(
        "nemo_bridge_operations_ended", "Operations by how they ended", labels=[*label, "outcome"]
    )
    in_flight = GaugeMetricFamily(
        "nemo_bridge_operations_in_flight", "Operations with an attempt running", labels=label
    )
    queued = GaugeMetricFamily("nemo_bridge_operations_queued", "Operations that wait", labels=label)
    messages = CounterMetricFamily("nemo_bridge_messages", "Messages from outside", labels=label)
    dropped = CounterMetricFamily(
        "nemo_bridge_messages_dropped", "Messages from outside that could not become an event", labels=label
    )
    unwell = GaugeMetricFamily(
        "nemo_bridge_subscriptions_unwell", "Subscriptions that are not live, of those named in health", labels=label
    )
    reconnects = CounterMetricFamily("nemo_bridge_reconnects", "Connections after the first", labels=label)
    latency = GaugeMetricFamily("nemo_bridge_check_latency_seconds", "What the last good check took", labels=label)
    states = GaugeMetricFamily(
        "nemo_bridge_integration_status", "1 for the integration's status", labels=[*label, "type", "status"]
    )
    since = GaugeMetricFamily(
        "nemo_bridge_integration_status_since_timestamp_seconds", "When the status came", labels=label
    )
    circuits = GaugeMetricFamily("nemo_bridge_circuit_state", "1 for the circuit's state", labels=[*label, "state"])
    for one in integrations(status):
        name, sums = [one["integration"]], one["accounting"]
        accepted.add_metric(name, sums["accepted"])
        for outcome in _OUTCOMES:
            ended.add_metric([*name, outcome], sums[outcome])
        in_flight.add_metric(name, sums["in_flight"])
        queued.add_metric(name, sums["queued"])
        messages.add_metric(name, one["messages"])
        dropped.add_metric(name, one["dropped"])
        unwell.add_metric(name, len(one["subscriptions"]))
        reconnects.add_metric(name, one["reconnects"])
        if one["latency_ms"] is not None:
            latency.add_metric(name, one["latency_ms"] / 1000)
        for state in ConnectionStatus:
            states.add_metric([*name, one["type"], state.value], state.value == one["status"])
        since.add_metric(name, one["since"] / 1000)
        for circuit in CircuitState:
            circuits.add_metric([*name, circuit.value], circuit.value == one["circuit"])
    yield from (accepted, ended, in_flight, queued, messages, dropped, unwell, reconnects)
    yield from (latency, states, since, circuits)
