"""What an adapter tells its owner, kept for a test."""

from typing import Any

from bridge.core.errors import BridgeError
from bridge.core.ports import Subscription


class Told:
    """Collects what an adapter tells by its setup.

    Attributes:
        lost: The errors with which the session was lost.
        ended: Topics of subscriptions that have ended, and why.
        dropped: Topics of what could not be delivered, and why.
        warnings: The warnings that hold now.
    """

    def __init__(self) -> None:
        """Nothing was told yet."""
        self.lost: list[BridgeError] = []
        self.ended: list[tuple[str, BridgeError]] = []
        self.dropped: list[tuple[str, BridgeError]] = []
        self.warnings: dict[str, str] = {}

    @property
    def callbacks(self) -> dict[str, Any]:
        """The arguments for `adapter_setup`."""
        return {
            "on_lost": self.lost.append,
            "on_subscription_ended": self._ended,
            "on_dropped": lambda error, topic: self.dropped.append((topic, error)),
            "on_warning": self._warning,
        }

    def _ended(self, subscription: Subscription, error: BridgeError) -> None:
        self.ended.append((subscription.topic, error))

    def _warning(self, name: str, text: str | None) -> None:
        if text is None:
            self.warnings.pop(name, None)
        else:
            self.warnings[name] = text
