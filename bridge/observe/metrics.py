"""Make the text of `/metrics` from the bridge's status and its measurements, in Prometheus' formats.

All values are read when they are asked for; nothing is counted for them while events pass. Labels come from the
configuration and from closed lists (statuses, operations, kinds of errors), never from a message: whatever the bus and
the remotes send, the number of series stays the same or ends at a known limit.

The text of the bridge's own metrics is written here: with 1,000 integrations that takes a tenth of the time that the
library takes, and the event loop stands still meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final, Literal, get_args

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from bridge.core.model import CircuitState, ConnectionStatus
from bridge.core.payloads import BridgeStatus, FabricStatus, FabricView, NodeStatus
from bridge.observe.details import IntegrationDetails, ReadDetails
from bridge.observe.summary import ReadStatus, Status
from bridge.resilience.measurements import BUCKETS

_BUS: Final = {
    "received": "Events that were read",
    "published": "Events that were sent",
    "rejected": "Messages that were no good events",
    "missing": "Events of numbering sources that did not arrive",
    "dropped": "Own events that the bus did not take",
}
_OUTCOMES: Final = ("succeeded", "failed", "dead_lettered", "expired", "shed")
#: The label `le` of each of a histogram's buckets.
_LIMITS: Final = (*(f'le="{limit}"' for limit in BUCKETS), 'le="+Inf"')
_OPEN_METRICS: Final = "application/openmetrics-text"
_END: Final = b"# EOF\n"

Sample = tuple[str, float]
"""A sample's labels, as they are in the text, and its value."""


class Metrics:
    """Make the metrics of the process, for each scrape anew."""

    def __init__(self, read_status: ReadStatus, read_details: ReadDetails, lag: Callable[[], float]) -> None:
        """Create a registry of its own; nothing is registered globally.

        Args:
            read_status: Returns the answer of `bridge.status`.
            read_details: Returns what `bridge.status` does not have.
            lag: Returns the seconds by which the event loop was late at most, lately.
        """
        self._read_status = read_status
        self._read_details = read_details
        self._lag = lag
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return the body and its content type, in the format that an `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        process = encode(self._process)
        text = _Text(open_metrics=content_type.startswith(_OPEN_METRICS))
        status, details = self._read_status(), self._read_details()
        _write_bridge(text, status, details.orphans)
        text.gauge("event_loop_lag_seconds", "How late the event loop was at worst, lately", [("", self._lag())])
        _write_integrations(
            text, [_Row(one, details.integrations[name]) for name, one in status.items() if name != "bridge"]
        )
        _write_fabrics(text, details.fabrics)
        if process.endswith(_END):
            return b"".join([process.removesuffix(_END), text.encoded(), _END]), content_type
        return process + text.encoded(), content_type


class _Text:
    """The text of metrics, in the format of Prometheus or of OpenMetrics; they differ in the names of counters.

    All names begin with `nemo_bridge_`.
    """

    def __init__(self, *, open_metrics: bool) -> None:
        self._open_metrics = open_metrics
        self._lines: list[str] = []

    def counter(self, name: str, text: str, samples: Iterable[Sample]) -> None:
        """Write a sum that rises; `_total` is added to its name."""
        self._head(name if self._open_metrics else f"{name}_total", "counter", text)
        self._lines += [_line(f"{name}_total", labels, value) for labels, value in samples]

    def gauge(self, name: str, text: str, samples: Iterable[Sample]) -> None:
        """Write a value that rises and falls."""
        self._head(name, "gauge", text)
        self._lines += [_line(name, labels, value) for labels, value in samples]

    def histogram(self, name: str, text: str, samples: Iterable[tuple[str, list[int], float]]) -> None:
        """Write histograms: of each its labels, how many are in each bucket of `BUCKETS` and beyond, and their sum."""
        self._head(name, "histogram", text)
        for labels, counts, total in samples:
            sums = [*accumulate(counts)]
            self._lines += [
                f"nemo_bridge_{name}_bucket{{{labels},{limit}}} {count}"
                for limit, count in zip(_LIMITS, sums, strict=True)
            ]
            self._lines += [_line(f"{name}_count", labels, sums[-1]), _line(f"{name}_sum", labels, total)]

    def _head(self, name: str, kind: Literal["counter", "gauge", "histogram"], text: str) -> None:
        self._lines += [f"# HELP nemo_bridge_{name} {text}", f"# TYPE nemo_bridge_{name} {kind}"]

    def encoded(self) -> bytes:
        """Return all that was written."""
        return "\n".join([*self._lines, ""]).encode()


def _line(name: str, labels: str, value: float) -> str:
    return f"nemo_bridge_{name}{{{labels}}} {value}" if labels else f"nemo_bridge_{name} {value}"


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{name}="{escaped}"'


def _one_of(label: str, values: Iterable[str], chosen: str, before: str = "") -> Iterator[Sample]:
    """Yield 1 for the value that holds and 0 for all others."""
    for value in values:
        yield f'{before}{label}="{value}"', int(value == chosen)


def _write_bridge(text: _Text, status: Status, orphans: int) -> None:
    one = status["bridge"]
    labels = f"{_label('version', one['version'])},{_label('name', one['name'])}"
    text.gauge("info", "The program", [(labels, 1)])
    text.gauge("status", "1 for the bridge's status", _one_of("status", get_args(BridgeStatus), one["status"]))
    for key, meaning in _BUS.items():
        text.counter(f"bus_events_{key}", meaning, [("", one["bus"][key])])
    text.counter("bus_gaps", "Times that numbered events were missing", [("", one["bus"]["gaps"])])
    outbox = one["outbox"]
    for name, meaning, value in (
        ("outbox_pending", "Operations in the outbox", outbox["pending"]),
        ("outbox_bytes", "Their size", outbox["bytes"]),
        ("outbox_dead_letters", "Dead letters that are kept", outbox["dead_letters"]),
        ("outbox_oldest_seconds", "Age of the oldest", outbox["oldest_ms"] / 1000),
        ("outbox_orphans", "Operations in the outbox for integrations that do not exist", orphans),
        ("outbox_problem", "1 while the outbox accepts nothing", int(outbox["problem"] is not None)),
        ("outbox_loss", "1 where what an earlier run had stored is missing", int(outbox["missing"] is not None)),
    ):
        text.gauge(name, meaning, [("", value)])


class _Row:
    """An integration: its label as text, its health and its details."""

    __slots__ = ("details", "health", "label")

    def __init__(self, health: Mapping[str, Any], details: IntegrationDetails) -> None:
        self.label = _label("integration", health["integration"])
        self.health = health
        self.details = details

    def states(self, key: str, values: Iterable[str], more: str = "") -> Iterator[Sample]:
        """Yield 1 for the state that holds, and 0 for each other."""
        return _one_of(key, values, self.health["circuit" if key == "state" else key], f"{self.label},{more}")

    def routes(self) -> Iterator[Sample]:
        """Yield the sums of the configured routes, and of those that are counted together, under an empty name."""
        sums = self.details.measured.routes
        for name in self.details.routes if "" not in sums else [*self.details.routes, ""]:
            labels = f"{self.label},{_label('route', name)}"
            if (one := sums.get(name)) is not None:
                yield f'{labels},outcome="succeeded"', one.succeeded
                yield f'{labels},outcome="failed"', one.failed
            elif "" not in sums:
                yield f'{labels},outcome="succeeded"', 0
                yield f'{labels},outcome="failed"', 0


def _write_integrations(text: _Text, rows: list[_Row]) -> None:
    _write_operations(text, rows)
    _write_attempts(text, rows)
    _write_messages(text, rows)
    _write_states(text, rows)


def _write_operations(text: _Text, rows: list[_Row]) -> None:
    sums = [(row.label, row.health["accounting"]) for row in rows]
    text.counter(
        "operations_accepted", "Operations that were taken up", [(label, one["accepted"]) for label, one in sums]
    )
    text.counter(
        "operations_ended",
        "Operations by how they ended",
        [(f'{label},outcome="{outcome}"', one[outcome]) for label, one in sums for outcome in _OUTCOMES],
    )
    text.gauge(
        "operations_in_flight",
        "Operations with an attempt running",
        [(label, one["in_flight"]) for label, one in sums],
    )
    text.gauge("operations_queued", "Operations that wait", [(label, one["queued"]) for label, one in sums])
    text.gauge(
        "integration_outbox_pending",
        "Operations that wait or run, of those in the outbox",
        [(row.label, row.details.pending) for row in rows],
    )
    text.gauge(
        "integration_dead_letters",
        "Dead letters that are kept",
        [(row.label, row.details.dead_letters) for row in rows],
    )
    text.counter(
        "route_operations",
        "Operations of a route, by how they ended; one of the outbox may fail more than once",
        [sample for row in rows for sample in row.routes()],
    )


def _write_attempts(text: _Text, rows: list[_Row]) -> None:
    measured = [(row.label, row.details.measured) for row in rows]
    text.counter("attempts", "Attempts that were begun", [(label, one.attempts) for label, one in measured])
    text.counter(
        "retries",
        "Attempts that were not the first one of their operation",
        [(label, one.retries) for label, one in measured],
    )
    text.counter(
        "failures",
        "Operations that ended with an error, by its kind; one of the outbox may do so more than once",
        [(f'{label},kind="{kind}"', count) for label, one in measured for kind, count in one.failures.items()],
    )
    text.histogram(
        "operation_duration_seconds",
        "Time from acceptance to the end, of operations that had an attempt",
        [
            (f'{label},operation="{name}"', durations.counts, durations.total)
            for label, one in measured
            for name, durations in one.durations.items()
        ],
    )
    text.counter(
        "circuit_transitions",
        "Times that the circuit came to a state",
        [(f'{label},state="{state}"', count) for label, one in measured for state, count in one.transitions.items()],
    )


def _write_messages(text: _Text, rows: list[_Row]) -> None:
    text.counter("messages", "Messages from outside", [(row.label, row.health["messages"]) for row in rows])
    text.counter(
        "messages_dropped",
        "Messages from outside that could not become an event",
        [(row.label, row.health["dropped"]) for row in rows],
    )
    text.counter(
        "subscription_messages",
        "Messages from the topic of a configured subscription",
        [
            (f"{row.label},{_label('subscription', name)}", count)
            for row in rows
            for name, count in row.details.subscriptions
        ],
    )
    text.gauge(
        "subscriptions_unwell", "Subscriptions that are not live", [(row.label, row.details.unwell) for row in rows]
    )
    text.gauge(
        "subscriptions_unheard",
        "Types of events that nobody on the bus listens to, so that messages wait; at most 21",
        [(row.label, row.details.unheard) for row in rows],
    )
    text.counter("reconnects", "Connections after the first", [(row.label, row.health["reconnects"]) for row in rows])


def _write_states(text: _Text, rows: list[_Row]) -> None:
    text.gauge(
        "check_latency_seconds",
        "What the last good check took",
        [(row.label, row.health["latency_ms"] / 1000) for row in rows if row.health["latency_ms"] is not None],
    )
    statuses = [status.value for status in ConnectionStatus]
    text.gauge(
        "integration_status",
        "1 for the integration's status",
        [sample for row in rows for sample in row.states("status", statuses, f"{_label('type', row.health['type'])},")],
    )
    text.gauge(
        "integration_status_since_timestamp_seconds",
        "When the status came",
        [(row.label, row.health["since"] / 1000) for row in rows],
    )
    circuits = [state.value for state in CircuitState]
    text.gauge(
        "circuit_state",
        "1 for the circuit's state",
        [sample for row in rows for sample in row.states("state", circuits)],
    )
    text.gauge(
        "integration_warnings",
        "What a person should know although the integration works",
        [(row.label, len(row.health["warnings"])) for row in rows],
    )


def _write_fabrics(text: _Text, fabrics: Mapping[str, FabricView]) -> None:
    """Write what is known of the fabrics; nothing where there are none. A node has no series of its own."""
    if not fabrics:
        return
    rows = [(_label("fabric", name), one) for name, one in fabrics.items()]
    text.gauge(
        "fabric_status",
        "1 for the status of this bridge in the fabric",
        [
            sample
            for label, one in rows
            for sample in _one_of("status", get_args(FabricStatus), one.health.status, f"{label},")
        ],
    )
    text.counter(
        "fabric_events",
        "What the fabric has carried, by kind",
        [
            (f'{label},kind="{kind}"', count)
            for label, one in rows
            for kind, count in msgspec.structs.asdict(one.health.counts).items()
        ],
    )
    text.gauge(
        "fabric_nodes",
        "Nodes of the fabric by their status, this bridge among them",
        [
            (f'{label},status="{status}"', sum(node.status == status for node in one.nodes.values()))
            for label, one in rows
            for status in get_args(NodeStatus)
        ],
    )
    text.gauge(
        "fabric_leases",
        "Subscriptions for which this bridge is the one that emits",
        [(label, len(own.leases) if (own := one.nodes.get(one.health.node)) is not None else 0) for label, one in rows],
    )
    text.gauge(
        "fabric_vacant_leases",
        "Subscriptions for which no node has emitted for 15 seconds, as far as this bridge knows",
        [(label, len(one.vacant)) for label, one in rows],
    )
    text.gauge(
        "fabric_warnings",
        "What a person should know although the fabric works",
        [(label, len(one.health.warnings)) for label, one in rows],
    )
