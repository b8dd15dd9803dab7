"""A bus that confirms what was delivered when a test says so."""

from collections.abc import Callable


class HeldBack:
    """Gives `AdapterSetup.when_on_bus`; nothing is on the bus before `confirm`."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def when_on_bus(self, then: Callable[[], None]) -> None:
        """See `AdapterSetup.when_on_bus`."""
        self.waiting.append(then)

    def confirm(self) -> None:
        """All that was delivered until now is on the bus."""
        waiting, self.waiting = self.waiting, []
        for then in waiting:
            then()
