"""Payloads of fabrics: their health, their nodes, their leases, and what `bridge.fleet` returns."""

from typing import Literal

from bridge.core.errors import ErrorObject
from bridge.core.model import ConnectionStatus, UInt
from bridge.core.payloads.base import Milliseconds, Payload

NodeStatus = Literal["connected", "draining", "stopped", "lost"]
Delivery = Literal["at_most_once", "at_least_once"]
FabricStatus = Literal["connecting", "connected", "degraded", "disconnected", "failed", "stopped"]


class FabricCounts(Payload, frozen=True):
    """What a node of a fabric has sent and received since its start.

    Attributes:
        exported: Events of this bus that the broker has taken.
        imported: Events of other nodes that were put on this bus.
        duplicates: Events that came again and were not put on the bus a second time.
        garbage: Messages on the fabric's subjects and keys that no bridge has written.
        missed: Events, at most, that were removed from the stream before this node had them.
        served: Commands of other nodes that this one has executed.
    """

    exported: UInt
    imported: UInt
    duplicates: UInt
    garbage: UInt
    missed: UInt
    served: UInt


class FabricHealth(Payload, frozen=True):
    """State of this bridge in a fabric.

    Attributes:
        fabric: The fabric's label.
        integration: The integration that carries it.
        node: The name of this bridge in it.
        status: `connecting`: it has not joined yet. `connected`: it is a node. `degraded`: it is, but `error` or
            `warnings` say what is wrong. `disconnected`: the broker cannot be reached or does not answer; it is tried
            again. `failed`: a person is needed, as where another living bridge has the same name. `stopped`: it left.
        previous: The status before; null at first.
        since: When the status became so, Unix time in milliseconds.
        delivery: How events are carried.
        error: Why it is not `connected`; null where it is.
        warnings: What a person should know although it works, one line each.
        nodes: The other nodes and their status.
        counts: What was sent and received.
    """

    fabric: str
    integration: str
    node: str
    status: FabricStatus
    previous: FabricStatus | None
    since: UInt
    delivery: Delivery
    error: ErrorObject | None
    warnings: list[str]
    nodes: dict[str, NodeStatus]
    counts: FabricCounts


class NodeHealth(Payload, frozen=True):
    """State of a node of a fabric, as this bridge sees it.

    Attributes:
        node: The node's name.
        fabric: The fabric's label.
        status: `connected`: its heartbeats come. `draining`: it is about to leave and takes no more commands.
            `stopped`: it has left in order. `lost`: three heartbeats are missing.
        previous: The status before; null at first.
        since: When the status became so, Unix time in milliseconds.
        bridge: The name of the bridge that the node is.
        version: Its version.
        integrations: Its integrations and their status, as it has told last.
        offers: Those of them that the others may use.
    """

    node: str
    fabric: str
    status: NodeStatus
    previous: NodeStatus | None
    since: UInt
    bridge: str
    version: str
    integrations: dict[str, ConnectionStatus]
    offers: list[str]


class FleetNode(Payload, frozen=True):
    """A node in the answer to `bridge.fleet`.

    Attributes:
        status: See `health.node.<node>`.
        since: When the status became so, Unix time in milliseconds.
        heard_ms: Milliseconds since its last heartbeat came; null for this bridge itself.
        bridge: The name of the bridge that the node is.
        version: Its version.
        integrations: Its integrations and their status; of a node that is gone, the last that was heard.
        offers: Those that the others may use.
        leases: The `singleton` subscriptions for which it holds the lease; none of a node that is gone.
        left_out: How many of its integrations are left out here, because all of them would not fit on the bus. Those
            that are connected are left out first.
    """

    status: NodeStatus
    since: UInt
    heard_ms: Milliseconds | None
    bridge: str
    version: str
    integrations: dict[str, ConnectionStatus]
    offers: list[str]
    leases: list[str]
    left_out: UInt


class FabricView(Payload, frozen=True):
    """A fabric in the answer to `bridge.fleet`.

    Attributes:
        health: The payload of `health.fabric.<fabric>`.
        nodes: All nodes by name, this bridge too.
        uses: The integrations of others that this bridge uses, and the nodes that offer each and are connected.
        vacant: The `singleton` subscriptions of this bridge whose lease no node has had for 15 seconds, as far as it
            knows: nobody emits for them.
        left_out: How many nodes are left out here, because all of them would not fit on the bus. Those that are lost
            are left out last. Where any is, other lists may be shorter, too.
    """

    health: FabricHealth
    nodes: dict[str, FleetNode]
    uses: dict[str, list[str]]
    vacant: list[str]
    left_out: UInt


class Fleet(Payload, frozen=True):
    """The result of `bridge.fleet`.

    Attributes:
        fabrics: The fabrics of this bridge by label.
    """

    fabrics: dict[str, FabricView]


class Forgotten(Payload, frozen=True):
    """The result of `bridge.forget_node`.

    Attributes:
        fabrics: The fabrics that have forgotten the node.
    """

    fabrics: list[str]


class LeaseChange(Payload, frozen=True):
    """A `singleton` subscription has another leader.

    Attributes:
        fabric: The fabric's label.
        subscription: The subscription.
        node: The node that has the lease now; null: this node has lost it, and does not know who has it.
        previous: The node that had it before; null: nobody, or it is not known.
        term: The number of the term: the revision of the lease when it was taken.
        gap_ms: Milliseconds in which nobody is known to have had it; null where nobody had it before.
    """

    fabric: str
    subscription: str
    node: str | None
    previous: str | None
    term: UInt
    gap_ms: Milliseconds | None


class FabricMissed(Payload, frozen=True):
    """Events of other nodes were removed from the stream before this node had them.

    Attributes:
        fabric: The fabric's label.
        node: This node.
        count: How many, at most; events that it does not import count, too.
    """

    fabric: str
    node: str
    count: UInt


class FabricRejected(Payload, frozen=True):
    """Messages on the fabric's subjects or keys that no bridge can have written were ignored.

    Attributes:
        fabric: The fabric's label.
        count: How many since the last report.
        detail: What was wrong with the last one.
    """

    fabric: str
    count: UInt
    detail: str
