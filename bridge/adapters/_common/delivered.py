"""Acknowledge what was delivered once it is on the bus, together and not message by message."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Delivered(Generic[_T]):
    """What was delivered and is not acknowledged yet.

    The bus is asked once for all of one turn of the event loop, and what it confirms in one turn is acknowledged at
    once.

    Attributes:
        count: How many there are.
    """

    def __init__(
        self, when_on_bus: Callable[[Callable[[], None]], None], acknowledge: Callable[[list[_T]], None]
    ) -> None:
        """Nothing was delivered yet.

        Args:
            when_on_bus: See `AdapterSetup`.
            acknowledge: Called with what is on the bus, in the order of `add`.
        """
        self._when_on_bus = when_on_bus
        self._acknowledge = acknowledge
        self._turn: list[_T] = []
        self._on_bus: list[_T] = []
        self.count = 0

    def add(self, one: _T) -> None:
        """Add what was delivered just now."""
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._ask)
        self._turn.append(one)
        self.count += 1

    def _ask(self) -> None:
        turn, self._turn = self._turn, []
        self._when_on_bus(partial(self._confirm, turn))

    def _confirm(self, turn: list[_T]) -> None:
        if not self._on_bus:
            asyncio.get_running_loop().call_soon(self._acknowledge_all)
        self._on_bus += turn

    def _acknowledge_all(self) -> None:
        on_bus, self._on_bus = self._on_bus, []
        self.count -= len(on_bus)
        self._acknowledge(on_bus)
