"""Knows the other bridges on the bus and their integrations, so that this bridge does not answer their commands."""

from typing import Final

from bridge.core.model import ConnectionStatus, Event
from bridge.core.ports import Clock

#: Integrations that are remembered at most, since programs on the bus can invent any number of names.
_MOST: Final = 10_000
#: Seconds without a heartbeat after which another bridge counts as ended, and its commands are answered by this one.
_SILENCE: Final = 60.0


class Peers:
    """Remembers the integrations of other bridges from their `health.<id>` events."""

    def __init__(self, source: str, clock: Clock) -> None:
        """Create it empty; `source` is the `source` of our own events."""
        self._source = source
        self._clock = clock
        self._until: dict[str, float] = {}

    def learn(self, event: Event) -> None:
        """Note the integration of a `health.<id>` event, if another bridge emitted it.

        What it says of a fabric (`health.fabric.<fabric>`) or of a node (`health.node.<node>`) is no integration's.
        """
        name, source = event.event_type.removeprefix("health."), event.source or ""
        if "." in name or source == self._source or source.partition("/")[0] != "bridge":
            return
        payload = event.payload
        if isinstance(payload, dict) and payload.get("status") != ConnectionStatus.STOPPED:
            if len(self._until) < _MOST or name in self._until:
                self._until[name] = self._clock.monotonic() + _SILENCE
        else:
            self._until.pop(name, None)

    def have(self, integration: str) -> bool:
        """Return whether another bridge that is running has this integration."""
        return self._until.get(integration, 0.0) > self._clock.monotonic()
