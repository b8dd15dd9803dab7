"""What a node of a fabric writes about itself into the bucket, under its key."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from bridge.core.model import ConnectionStatus
from bridge.core.payloads.fabric import NodeStatus
from bridge.fabric.names import is_node

#: Bytes of a record, at most. What is longer was not written by a bridge.
MOST_BYTES: Final = 65_536
#: Seconds between two heartbeats of a node: at least, and at most. Whoever waits for three of them waits no longer.
SHORTEST_HEARTBEAT: Final = 0.5
LONGEST_HEARTBEAT: Final = 60.0
#: Seconds that a command may take at most, as a record has it.
LONGEST_OFFER: Final = 86_400.0

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Text = Annotated[str, Meta(min_length=1)]


class OfferRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An integration that a node lets the others use.

    Attributes:
        status: Its status at that node.
        longest_ms: Milliseconds that a command without a deadline may take there, with all its attempts; None where
            it has no limit.
    """

    status: ConnectionStatus
    longest_ms: Annotated[float, Meta(ge=0, le=LONGEST_OFFER * 1000)] | None = None


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says about itself. Keys that a later version adds are ignored.

    Attributes:
        node: Its name in the fabric.
        instance: The id of its installation. It stays the same after a restart where there is a state folder.
        run: The id of its process.
        bridge: The name of the bridge.
        version: The bridge's version.
        pid: Its process number on its machine.
        started_ms: When the process started, Unix time in milliseconds by that machine's clock.
        heartbeat_ms: Milliseconds between two writes of the record.
        status: `connected`, `draining` or `stopped`; only others can see that it is `lost`.
        integrations: All its integrations and their status.
        offers: Those that the others may use.
        leases: The `singleton` subscriptions for which it holds the lease.
        delivery: `delivery` of its `fabric` block.
        max_age_ms: `max_age` of it, in milliseconds.
        max_bytes: `max_bytes` of it; None: no limit.
        replicas: `replicas` of it.
    """

    node: _Text
    instance: _Text
    run: _Text
    bridge: _Text
    version: _Text
    pid: _Count
    started_ms: _Count
    heartbeat_ms: Annotated[int, Meta(ge=round(SHORTEST_HEARTBEAT * 1000), le=round(LONGEST_HEARTBEAT * 1000))]
    status: NodeStatus
    integrations: dict[_Text, ConnectionStatus]
    offers: dict[_Text, OfferRecord]
    leases: list[_Text]
    delivery: Literal["at_most_once", "at_least_once"]
    max_age_ms: _Count
    max_bytes: _Count | None
    replicas: _Count

    @property
    def patience(self) -> float:
        """Return the seconds without a change after which the node is lost: three of its heartbeats."""
        return 3 * self.heartbeat_ms / 1000

    @property
    def alive(self) -> bool:
        """Return whether the node was running when it wrote this."""
        return self.status != "stopped"


_decoder = msgspec.json.Decoder(NodeRecord)


def encode(record: NodeRecord) -> bytes:
    """Return a record as the bucket has it: JSON in UTF-8."""
    return msgspec.json.encode(record)


def decode(node: str, value: bytes) -> NodeRecord:
    """Return the record of a node.

    Args:
        node: The name that its key has.
        value: The key's value.

    Raises:
        ValueError: No bridge has written that; the message says what is wrong with it, without its content.
    """
    if len(value) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    try:
        record = _decoder.decode(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if record.node != node:
        raise ValueError("it is the record of another node")
    if record.status == "lost":
        raise ValueError("`status` is `lost`, which no node says of itself")
    return record


def node_of(key: str) -> str | None:
    """Return the node whose key this is; None where it is no key of a node.

    Raises:
        ValueError: It begins as one, and what follows cannot be a node's name.
    """
    if not key.startswith("node."):
        return None
    node = key[5:]
    if not is_node(node):
        raise ValueError(
            "what follows `node.` is not a node's name: 1 to 128 letters, digits, `_` and `-`, and not `bridge`"
        )
    return node
