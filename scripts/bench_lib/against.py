"""A Benthos-compatible stream processor on the same work, with its defaults and tuned (`--against`).

Version 4.27 with its ZeroMQ input and output, which have to be built into it, is what the configurations are written
for. It binds the bus itself, so that no broker stands between it and the load, and none of its work is left out: events
are two frames of ZeroMQ, type and msgpack, and go out as JSON; what comes in is parsed and leaves as such an event.
"""

import contextlib
import functools
import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench_lib import callers, processes, stream
from bench_lib.processes import Bridge, Place, Starting
from bench_lib.rows import Plan, Quantity, Row

#: The candidates; they are also the names of their topics.
DEFAULT: Final = "benthos"
TUNED: Final = "benthos_tuned"

Config = dict[str, Any]
#: Makes a configuration without what all have in common, from the place of the bus, a topic and whether it is tuned.
Way = Callable[[Place, str, bool], Config]

#: A larger heap before each garbage collection, as a variable of Go's runtime.
_TUNED: Final = {"GOGC": "400"}
#: The frames of an event are a batch of two, in which the type is not needed.
_BODY: Final = "root = if batch_index() % 2 == 0 { deleted() } else { content().parse_msgpack() }"
_PAYLOAD: Final = "root = if batch_index() % 2 == 0 { deleted() } else { content().parse_msgpack().payload }"
_CALL: Final = """
meta id = this.id
meta correlation_id = this.correlation_id
root = {"jsonrpc": "2.0", "id": this.id, "method": this.payload.method, "params": this.payload.params}
"""
_ANSWER: Final = f"""
root = ["response.{callers.TYPE}", {{
  "id": @id,
  "event_type": "response.{callers.TYPE}",
  "payload": {{"ok": this.exists("result"), "result": this.result}},
  "timestamp": timestamp_unix_milli(),
  "source": "benthos",
  "correlation_id": @correlation_id
}}]
"""
_EVENT: Final = """
root = ["data.{topic}", {{
  "id": count("events"),
  "event_type": "data.{topic}",
  "payload": {{"topic": "{topic}", "message": this, "headers": {{}}}},
  "timestamp": timestamp_unix_milli(),
  "source": "benthos",
  "correlation_id": null
}}]
"""
#: An array of type and event becomes the two frames.
_FRAMES: Final[list[Config]] = [
    {"unarchive": {"format": "json_array"}},
    {"mapping": "root = if batch_index() % 2 == 0 { this } else { this.format_msgpack() }"},
]


def bridges(plan: Plan, stack: contextlib.ExitStack, way: Way) -> dict[str, Bridge]:
    """Start both candidates for a way, by their names; none without `--against`."""
    if plan.against is None:
        return {}
    directory = stack.enter_context(processes.folder())
    return {
        name: stack.enter_context(bridge(plan.against, directory, name, way, tuned=name == TUNED))
        for name in (DEFAULT, TUNED)
    }


@contextlib.contextmanager
def bridge(program: Path, directory: Path, name: str, way: Way, *, tuned: bool = False) -> Iterator[Bridge]:
    """Run the program for a way; it says that it is ready.

    Raises:
        BenchError: It does not start, or not with this configuration.
    """
    with starting(program, directory, name, way, tuned=tuned) as one:
        yield one.until_ready(f"{program.name}, with the configuration that is written for it here,")


@contextlib.contextmanager
def starting(program: Path, directory: Path, name: str, way: Way, *, tuned: bool = False) -> Iterator[Starting]:
    """The program for a way, which has just been started."""
    place, port, file = processes.place_in(directory, name), processes.free_port(), directory / f"{name}.json"
    common: Config = {"http": {"address": f"127.0.0.1:{port}"}, "logger": {"level": "WARN"}}
    file.write_text(json.dumps(common | way(place, name, tuned)))
    began = time.perf_counter()
    with processes.process(
        "-c",
        str(file),
        name=program.name,
        program=str(program),
        environment=_TUNED if tuned else {},
        talks=False,
        gently=False,
    ) as child:
        yield Starting(Bridge(place, child.pid), child, began, functools.partial(_ready, port))


def _ready(port: int, wait: float) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == http.client.OK:
                return True
        except OSError:
            pass
    time.sleep(wait)
    return False


def outbound(protocol: str, port: int) -> Way:
    """Bus → server: the payload of each event as JSON."""
    return functools.partial(_outbound, protocol, port)


def _outbound(protocol: str, port: int, place: Place, topic: str, tuned: bool) -> Config:
    source = _subscriber(place, stream.TYPE)
    # MQTT confirms each message for itself, so that batches gain nothing there.
    batches = tuned and protocol != "mqtt"
    if batches:
        source = {"batched": {"child": source, "policy": {"count": 1000, "period": "5ms"}}}
    more = {"max_in_flight": 1024} if tuned and not batches else {}
    output: Config
    if protocol == "nats":
        output = {"nats": {"urls": [f"nats://127.0.0.1:{port}"], "subject": topic, **more}}
    elif protocol == "redis":
        output = {"redis_streams": {"url": f"redis://127.0.0.1:{port}", "stream": topic, "body_key": "data", **more}}
    else:
        output = {"mqtt": {"urls": [f"tcp://127.0.0.1:{port}"], "client_id": topic, "topic": topic, "qos": 1, **more}}
    return {"input": source, "pipeline": {"processors": [{"mapping": _PAYLOAD}]}, "output": output}


def inbound(protocol: str, port: int) -> Way:
    """Server → bus: each message, which is JSON, as an event."""
    return functools.partial(_inbound, protocol, port)


def _inbound(protocol: str, port: int, place: Place, topic: str, tuned: bool) -> Config:
    source: Config
    if protocol == "nats":
        source = {"nats": {"urls": [f"nats://127.0.0.1:{port}"], "subject": topic}}
    elif protocol == "redis":
        source = {
            "redis_streams": {
                "url": f"redis://127.0.0.1:{port}",
                "streams": [topic],
                "body_key": "data",
                "consumer_group": topic,
                "client_id": "one",
                **({"limit": 500} if tuned else {}),
            }
        }
    else:
        source = {"mqtt": {"urls": [f"tcp://127.0.0.1:{port}"], "client_id": topic, "topics": [topic], "qos": 1}}
    processors = [{"mapping": _EVENT.format(topic=topic)}, *_FRAMES]
    if tuned:
        source = {"batched": {"child": source, "policy": {"count": 100, "period": "2ms"}}}
        # The output makes one message of ZeroMQ of all that a batch holds.
        processors.append({"split": {"size": 2}})
    return {"input": source, "pipeline": {"processors": processors}, "output": _publisher(place)}


def idle(ports: Mapping[str, int]) -> Way:
    """All of these servers → bus in one process, which also reads the bus."""

    def way(place: Place, topic: str, tuned: bool) -> Config:
        inputs = [_inbound(protocol, port, place, topic, tuned)["input"] for protocol, port in ports.items()]
        inputs.append(_subscriber(place, stream.TYPE))
        return {"input": {"broker": {"inputs": inputs}}, "output": _publisher(place)}

    return way


def rpc(url: str) -> Way:
    """Bus → JSON-RPC over HTTP → bus."""
    return functools.partial(_rpc, url)


def _rpc(url: str, place: Place, _: str, tuned: bool) -> Config:
    call = {"http": {"url": url, "verb": "POST", "headers": {"Content-Type": "application/json"}}}
    pipeline: Config = {
        "processors": [{"mapping": _BODY}, {"mapping": _CALL}, call, {"mapping": _ANSWER}, *_FRAMES],
        **({"threads": 8} if tuned else {}),
    }
    return {"input": _subscriber(place, callers.TYPE), "pipeline": pipeline, "output": _publisher(place)}


def _subscriber(place: Place, event_type: str) -> Config:
    return {"zmq4": {"urls": [place.publish], "bind": True, "socket_type": "SUB", "sub_filters": [event_type]}}


def _publisher(place: Place) -> Config:
    return {"zmq4": {"urls": [place.subscribe], "bind": True, "socket_type": "PUB"}}


def compare(row: Row, *, rate: float | None = None, cpu: float | None = None) -> None:
    """Put the ratios of the sidecar to both candidates into a row's figures, and judge what is asked.

    Args:
        row: It has been measured.
        rate: Asked of the rate: at least so many times the tuned one's.
        cpu: Asked of the processor time of a message: at most this part of what the one with defaults takes.
    """
    quantities: tuple[Quantity, ...] = ("rate", "p99", "cpu_us")
    for name in (DEFAULT, TUNED):
        for quantity in quantities:
            figure = row.ratio("sidecar", name, quantity)
            if figure is not None:
                row.figures[f"{quantity}_over_{name}"] = round(figure.median, 3)
    if rate is not None:
        row.ask("rate ÷ tuned", row.ratio("sidecar", TUNED, "rate"), "≥", rate)
    if cpu is not None:
        row.ask("CPU ÷ Benthos", row.ratio("sidecar", DEFAULT, "cpu_us"), "≤", cpu)
