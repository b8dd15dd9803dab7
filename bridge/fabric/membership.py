"""Who belongs to a fabric: writes this node's heartbeat into the bucket, and watches the heartbeats of the others."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from bridge.core.cluster import ClusterSession
from bridge.core.errors import BridgeError
from bridge.core.model import ConnectionStatus
from bridge.core.payloads.fabric import NodeStatus
from bridge.fabric.context import FabricContext
from bridge.fabric.records import NodeRecord


class OwnState(msgspec.Struct, frozen=True):
    """What the others may know of this bridge now.

    Attributes:
        integrations: Its integrations and their status, without those that it uses of others.
        offers: Those that the others may use, and the seconds that a command without a deadline may take there with
            all its attempts; None where it has no limit.
        leases: The `singleton` subscriptions for which it holds the lease.
    """

    integrations: Mapping[str, ConnectionStatus]
    offers: Mapping[str, float | None] = {}
    leases: Sequence[str] = ()


class NodeView(msgspec.Struct, frozen=True):
    """A node, as this bridge sees it.

    Attributes:
        name: Its name.
        status: `lost` where three heartbeats are missing, else what it says.
        since: When the status became so, Unix time in milliseconds.
        heard: When its last heartbeat came, in seconds of the clock's `monotonic`.
        record: What it has written last.
    """

    name: str
    status: NodeStatus
    since: int
    heard: float
    record: NodeRecord


class Membership:
    """This bridge's membership in a fabric, and all nodes of it."""

    def __init__(
        self,
        context: FabricContext,
        *,
        own: Callable[[], OwnState],
        heartbeat: float,
        state_dir: Path | None,
        bridge: str,
        version: str,
        pid: int,
        run_id: str,
    ) -> None:
        """Create it; nothing is written before `run`.

        Args:
            context: What all parts of the fabric share.
            own: Returns what the others may know of this bridge now.
            heartbeat: Seconds between two writes of the record; those beyond the limits of `records` are brought
                within them.
            state_dir: Where the id of this installation is kept, as `fabric-<fabric>.id`; None: it is kept nowhere, and
                a restart after `kill -9` waits for three heartbeats before it has its name again.
            bridge: The bridge's name.
            version: Its version.
            pid: Its process.
            run_id: Tells this process from all others.
        """
        raise NotImplementedError

    @property
    def joined(self) -> bool:
        """Whether this bridge is a node now: it has its name, as far as it knows.

        It stays true while `run` has failed with BridgeError and is to be run again on the same session.
        """
        raise NotImplementedError

    @property
    def error(self) -> BridgeError | None:
        """Why it is not a node, where it tries to become one; `permanent` where another living bridge has its name."""
        raise NotImplementedError

    def on_joined(self, callback: Callable[[bool], None]) -> None:
        """Call back with each new value of `joined`."""
        raise NotImplementedError

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back where `nodes`, `offering`, `longest` or `problems` may have another answer; ten times a second."""
        raise NotImplementedError

    async def run(self, session: ClusterSession) -> None:
        """Become a node on this session and remain one, until it is cancelled.

        The bucket must be there. Where it was deleted, this ends with an error, and the bucket must be made again.

        Raises:
            BridgeError: The bucket cannot be read, written or watched now.
        """
        raise NotImplementedError

    def touch(self) -> None:
        """Say that the state of this bridge may have changed: it is written soon, at most four times a second."""
        raise NotImplementedError

    def drain(self) -> None:
        """Say that this bridge takes no more commands; it is `draining` from now on."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Say that this bridge leaves in order: it is `stopped`. Returns within a second; does not raise.

        Call it while `run` runs, and cancel that afterwards. From then on nothing is written any more.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Forget all nodes: their health is not repeated on the bus any more, and nothing calls back from now on."""
        raise NotImplementedError

    async def forget(self, session: ClusterSession, node: str) -> None:
        """Give up a node that is gone: its key, and its place in the stream.

        Raises:
            RejectedError: It is alive, it is this bridge, or there is no such node.
            BridgeError: The broker cannot do it now.
        """
        raise NotImplementedError

    def nodes(self) -> dict[str, NodeView]:
        """Return all nodes by name, in the order of their names, this bridge too.

        Where another bridge has this one's name, the node of that name is the other one.
        """
        raise NotImplementedError

    def offering(self, integration: str) -> list[str]:
        """Return the nodes that can be asked for an integration now, in the order of their names."""
        raise NotImplementedError

    def longest(self, integration: str) -> float | None:
        """Return the seconds that a command may take at the slowest of `offering`; None where none of them says it."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Return one line for each setting that living other nodes have differently: which, and whose."""
        raise NotImplementedError
