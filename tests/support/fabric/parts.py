"""What the parts of a fabric are made from in tests."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge.bus.codec import Codec
from bridge.bus.rejection import Limits, Rejected
from bridge.config import FabricSettings
from bridge.core.cancel import BoundedTasks
from bridge.core.model import Event
from bridge.core.ports import Clock
from bridge.fabric.context import FabricContext
from bridge.fabric.names import Names


class RecordingBus:
    """A bus on which nobody else is: it encodes and decodes as the real one, and remembers what was published.

    Attributes:
        published: Type, payload and correlation id of each event.
        kept: The last values by type.
        loops: The types of events that have crossed bridges too often.
    """

    def __init__(self, max_message: int = 1 << 20) -> None:
        self.published: list[tuple[str, Any, str | None]] = []
        self.kept: dict[str, Any] = {}
        self.loops: list[str] = []
        self._codec = Codec(Limits(max_message=max_message))

    def when_confirmed(self, then: Callable[[], None]) -> None:
        """Call it: nothing is on the way."""
        then()

    def payloads(self, event_type: str) -> list[Any]:
        """Return the payloads of all events of a type."""
        return [payload for name, payload, _ in self.published if name == event_type]

    def publish(
        self,
        event_type: str,
        payload: Any,
        *,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """See `ports.Publisher.publish`."""
        _, body = self._codec.encode(
            event_type,
            payload,
            event_id=1,
            timestamp=1,
            source="bridge",
            headers=headers,
            correlation_id=correlation_id,
        )
        self.published.append((event_type, msgspec.msgpack.decode(body)["payload"], correlation_id))

    publish_or_report = publish

    def keep(self, event_type: str, payload: Any) -> None:
        """See `Bus.keep`."""
        self.kept[event_type] = msgspec.to_builtins(payload)

    def forget(self, event_type: str) -> None:
        """See `Bus.forget`."""
        self.kept.pop(event_type, None)

    def forget_last(self, owner: object) -> None:
        """See `Bus.forget_last`."""

    def look_again(self) -> None:
        """See `MessageSink`."""

    def encode(self, payload: Any) -> bytes:
        """See `Bus.encode`."""
        return self._codec.encode_payload(payload)

    def read(self, frame: bytes, body: bytes) -> Event | None:
        """See `Bus.read`."""
        try:
            return self._codec.decode(frame, body)
        except Rejected:
            return None

    def reject_loop(self, event_type: str) -> None:
        """See `Bus.reject_loop`."""
        self.loops.append(event_type)


class Part:
    """A fabric's context, and what is told through it.

    Attributes:
        context: The context.
        bus: Its bus.
        garbage: What was found on subjects and keys that no bridge has written.
        changes: How often health may have changed.
    """

    def __init__(self, clock: Clock, node: str = "desk", *, bus: RecordingBus | None = None, **settings: Any) -> None:
        """Create it for a node of the fabric `plant`; `settings` are those of its block."""
        self.bus = bus or RecordingBus()
        self.garbage: list[str] = []
        self.changes = 0
        block = FabricSettings(name="plant", integration="cluster", node=node, **settings)
        self.context = FabricContext(
            settings=block,
            names=Names("plant", node),
            clock=clock,
            rng=random.Random(0),
            tasks=BoundedTasks(clock=clock),
            bus=self.bus,  # type: ignore[arg-type]  # a part uses only some of it
            garbage=self.garbage.append,
            changed=self._changed,
        )

    def _changed(self) -> None:
        self.changes += 1
