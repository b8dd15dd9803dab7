"""What all parts of a fabric share."""

import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from bridge.config import FabricSettings
from bridge.core.cancel import BoundedTasks
from bridge.core.errors import AttemptTimeoutError
from bridge.core.model import Event
from bridge.core.payloads import FabricCounts
from bridge.core.ports import Clock, Publisher
from bridge.fabric.names import Names

#: Seconds that the broker has to answer a call. To make a stream or consumer on several servers takes some of them.
_ANSWER: Final = 10.0

_T = TypeVar("_T")


class FabricBus(Publisher, Protocol):
    """The part of the bus that a fabric uses."""

    def keep(self, event_type: str, payload: Any) -> None:
        """Publish, and publish it again for each later subscriber."""
        ...

    def forget(self, event_type: str) -> None:
        """Stop repeating the event of this type."""
        ...

    def read(self, frame: bytes, body: bytes) -> Event | None:
        """Return the event of a message; None where it is no valid event."""
        ...

    def encode(self, payload: Any) -> bytes:
        """Return a payload as `publish` encodes it.

        Raises:
            InvalidError: The bus cannot carry it; the message names the place in it.
        """
        ...

    def write(self, event: Event) -> bytes:
        """Return an event that came from this bus, encoded; `read` is the reverse.

        Raises:
            InvalidError: It is too large.
        """
        ...

    @property
    def max_message(self) -> int:
        """Bytes of an event, at most."""
        ...

    def relay(self, event: Event, *, source: str, headers: Mapping[str, str], confirmed: bool = False) -> bool:
        """Put an event of another bridge on the bus and return True; return False where there is no room for it now.

        Type, payload, id, timestamp and correlation id stay as they are. With `confirmed`, `when_confirmed` waits for
        it.

        Raises:
            InvalidError: It cannot be carried, now or later; that was counted and reported.
        """
        ...

    def reject_relayed(self, event_type: str, source: str, why: str, *, overflow: bool = False) -> None:
        """Count and report an event of another bridge that this bus cannot carry: it is too large, or has no room."""
        ...

    def when_confirmed(self, then: Callable[[], None]) -> None:
        """Call `then` once all that is to be confirmed and was put on the bus has left for those who listen."""
        ...

    async def room(self) -> None:
        """Return when `relay` may succeed again; on a closed bus that may be never."""
        ...

    def listens(self, event_type: str) -> bool:
        """Return whether somebody on the bus subscribes to this type, or this bridge takes it: a route, an export."""
        ...

    async def listeners_changed(self) -> None:
        """Return when `listens` may have another answer."""
        ...

    def reject_loop(self, event_type: str) -> None:
        """Count and report an event that crossed bridges too often."""
        ...


class Counts(msgspec.Struct):
    """What was sent and received since the start; see `payloads.FabricCounts`."""

    exported: int = 0
    imported: int = 0
    duplicates: int = 0
    garbage: int = 0
    missed: int = 0
    served: int = 0

    def payload(self) -> FabricCounts:
        """Return them as health has them."""
        return FabricCounts(
            exported=self.exported,
            imported=self.imported,
            duplicates=self.duplicates,
            garbage=self.garbage,
            missed=self.missed,
            served=self.served,
        )


class FabricContext(msgspec.Struct, frozen=True):
    """What all parts of one fabric share.

    Attributes:
        settings: The `fabric` block.
        names: The names at the broker.
        clock: All time.
        rng: For jitter and for ids.
        tasks: Run the calls to the broker.
        bus: The bridge's bus.
        counts: What was sent and received.
        garbage: Counts and reports a message or a key that no bridge can have written; takes what is wrong with it.
        changed: To be called where the fabric's health may be another one now.
    """

    settings: FabricSettings
    names: Names
    clock: Clock
    rng: random.Random
    tasks: BoundedTasks
    bus: FabricBus
    garbage: Callable[[str], None]
    changed: Callable[[], None]
    counts: Counts = msgspec.field(default_factory=Counts)

    async def call(self, work: Coroutine[Any, Any, _T], what: str, *, limit: float = _ANSWER) -> _T:
        """Return what a call to the broker returns.

        Args:
            work: The call, a method of `ClusterSession`.
            what: What it does, as in "reading a key"; names it in the error and the log.
            limit: Seconds that the broker has to answer; a part has another limit only where its own times need that.

        Raises:
            AttemptTimeoutError: It has not answered in time; the call may have had an effect.
            BridgeError: What the call raises; ConflictError likewise.
        """
        try:
            return await self.tasks.run(work, f"fabric: {what}", limit=limit)
        except TimeoutError:
            raise AttemptTimeoutError(f"{what}: the broker has not answered within {limit:g} s") from None
