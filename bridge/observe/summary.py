"""Summarise the answer of `bridge.status` for metrics, probes, `nemo-bridge status` and service manager."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from bridge.core.payloads import FabricView
from bridge.core.printable import printable

Status = Mapping[str, Any]
"""The result of `bridge.status` (bus contract): `bridge`, and one entry for each integration."""
ReadStatus = Callable[[], Status]
"""Returns the answer of `bridge.status` at this moment."""

#: The sums that make up `accepted`.
PARTS: Final = ("succeeded", "failed", "dead_lettered", "expired", "shed", "in_flight", "queued")
#: A bridge with one of these statuses accepts events and answers them.
READY: Final = ("ready", "degraded")
#: Statuses of integrations, the most urgent first.
URGENCY: Final = ("failed", "disconnected", "degraded", "paused", "stopped", "connecting", "connected")
#: Statuses of the nodes of a fabric, the most urgent first.
NODE_URGENCY: Final = ("lost", "draining", "connected", "stopped")


def integrations(status: Status) -> list[Mapping[str, Any]]:
    """Return the integrations, the most urgent first."""
    found = [one for name, one in status.items() if name != "bridge"]
    return sorted(found, key=lambda one: (URGENCY.index(one["status"]), one["integration"]))


def balanced(sums: Mapping[str, int]) -> bool:
    """Return whether `accepted` is the sum of its parts."""
    return sums["accepted"] == sum(sums[name] for name in PARTS)


def unwell(integration: Mapping[str, Any]) -> Iterator[str]:
    """Return one line for each subscription of an integration that is not live."""
    for name, one in integration["subscriptions"].items():
        why = "" if one["error"] is None else f": {one['error']['kind']}: {one['error']['message']}"
        yield f"subscription {name}: {one['status']}{why}"


def is_ready(status: Status) -> bool:
    """Return whether the bridge accepts events and answers them, whatever its remotes do."""
    return status["bridge"]["status"] in READY


def is_well(status: Status) -> bool:
    """Return whether the bridge is ready, every integration is connected, and all sums are right."""
    return status["bridge"]["status"] == "ready" and all(
        one["status"] == "connected" and balanced(one["accounting"]) for one in integrations(status)
    )


def is_fabric_well(view: FabricView) -> bool:
    """Return whether a fabric is connected, no node is lost, and somebody offers each integration that is used."""
    lost = any(node.status == "lost" for node in view.nodes.values())
    return view.health.status == "connected" and not lost and all(view.uses.values())


def headline(status: Status) -> str:
    """Return one line, as in `ready; 3 of 4 integrations connected; events: disconnected`."""
    states = status["bridge"]["integrations"]
    others = [f"{name}: {state}" for name, state in sorted(states.items()) if state != "connected"]
    counted = f"{len(states) - len(others)} of {len(states)} integrations connected"
    return "; ".join([status["bridge"]["status"], counted, *others])


def reasons(status: Status) -> Iterator[str]:
    """Return one line for each integration, with its status and error; before them the outbox' problem, if any.

    Probes are often read on a terminal: what a remote has written is escaped.
    """
    problem = status["bridge"]["outbox"]["problem"]
    if problem is not None:
        yield printable(f"outbox: {' '.join(problem.split())}")
    for one in integrations(status):
        line = f"{one['integration']}: {one['status']}"
        if one["circuit"] != "closed":
            line += f", circuit {one['circuit'].replace('_', '-')}"
        if one["error"] is not None:
            line += f", {one['error']['kind']}: {' '.join(one['error']['message'].split())}"
        yield printable(line)


def span(milliseconds: float) -> str:
    """Return a time in two units at most, for a person: `3 d 4 h`."""
    seconds = int(milliseconds / 1000)
    for size, unit, rest, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // rest} {smaller}"
    return f"{max(0, seconds)} s"
