"""Other bridges on the same bus, and which integrations they have, so that their commands are left to them."""

from typing import Final

from bridge.core.model import ConnectionStatus, Event
from bridge.core.ports import Clock

#: Integrations that are remembered; names can be invented, memory cannot.
_MOST: Final = 10_000
#: Seconds without a heartbeat after which another bridge is taken for dead, and its commands are answered again.
_SILENCE: Final = 60.0


class Peers:
    """Learns from `health.<id>` of others."""

    def __init__(self, source: str, clock: Clock) -> None:
        """`source` is what stands in our own events."""
        self._source = source
        self._clock = clock
        self._until: dict[str, float] = {}

    def learn(self, event: Event) -> None:
        """Take note of one event of health, whoever it is of."""
        name, source = event.event_type.removeprefix("health."), event.source or ""
        if source == self._source or source.partition("/")[0] != "bridge":
            return
        payload = event.payload
        if isinstance(payload, dict) and payload.get("status") != ConnectionStatus.STOPPED:
            if len(self._until) < _MOST or name in self._until:
                self._until[name] = self._clock.monotonic() + _SILENCE
        else:
            self._until.pop(name, None)

    def have(self, integration: str) -> bool:
        """Whether one of them has this integration, and lives."""
        return self._until.get(integration, 0.0) > self._clock.monotonic()
