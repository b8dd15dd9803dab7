"""What other parts of the bridge use of its fabrics. `bridge.fabric` implements it."""

from typing import Final, Protocol

from bridge.core.errors import BridgeError
from bridge.core.model import Executed, Operation
from bridge.core.ports import Context

#: The type of the integrations that `use` of a `fabric` block makes. No `integration` block can have it.
USED: Final = "fabric"
#: Seconds that a command may take where no node has told how long its attempts may take.
USUAL_LIMIT: Final = 30.0
#: The first segments of event types that are never exported nor imported: commands, answers, and what bridges report.
NEVER_SHARED: Final = ("integration", "bridge", "response", "health", "resilience", "receipt")


class Lease(Protocol):
    """The right of one node of a fabric to emit for a `singleton` subscription, as one subscription uses it."""

    @property
    def term(self) -> int | None:
        """The number of the term in which this node has the lease now; None where it has it not.

        It needs no answer of the broker: a term is over in time where it is not renewed, on a clock that goes on while
        the process is suspended.
        """
        ...

    def campaign(self) -> None:
        """Compete for the lease from now on: the subscription is live. Nothing changes where it does already."""
        ...

    def resign(self) -> None:
        """Compete no longer: the subscription is not live. A lease that this node has is given up at once."""
        ...

    async def claim(self, tick: int | None = None) -> bool:
        """Return whether this node may emit something now; what it is not granted, another node emits, or nobody.

        It is granted only if the broker has confirmed that the lease is this node's: since this was called, or just
        before, where much is emitted. Whoever was suspended meanwhile is not granted it. The caller emits in the same
        step of the event loop; who has to wait before that compares `term` with what it was.

        A node without the lease waits until it is known who emits the tick: it may get the lease itself. It waits half
        a minute at most.

        Args:
            tick: The moment that is to be emitted, Unix time in milliseconds. It is granted once in the whole fabric,
                and none before it is granted any more. None where what is emitted has no such moment.
        """
        ...


class UsedIntegration(Protocol):
    """An integration of other nodes of a fabric, which this bridge may use."""

    def unavailable(self) -> BridgeError | None:
        """Return why no node can be asked now; None where one can, as far as is known."""
        ...

    async def changed(self) -> None:
        """Return when `unavailable` may have another answer; ask for the integration again then (`Fabrics.used`)."""
        ...

    async def perform(self, operation: Operation, context: Context) -> Executed:
        """Let a node that offers the integration execute an operation, and return its result and attempts.

        Raises:
            UnavailableError: Nobody offers it now; with `maybe_sent` false.
            BridgeError: The error with which the operation ended there, with its `attempts`, or how it could not be
                asked for.
        """
        ...


class Fabrics(Protocol):
    """The fabrics of a bridge."""

    def used(self, fabric: str, integration: str) -> UsedIntegration:
        """Return an integration that `use` of a fabric names. It may be asked for before the fabric is joined."""
        ...

    def lease(self, fabric: str, subscription: str) -> Lease:
        """Return the lease of a `singleton` subscription, which does not compete for it yet.

        It may be asked for before the fabric is joined.
        """
        ...
