"""An integration that other nodes of a fabric offer; `use` in a `fabric` block makes it."""

import contextlib
from collections.abc import Coroutine
from typing import Any, Final

from bridge.adapters._common.background import Background
from bridge.adapters.fabric import FabricUse
from bridge.core.fabric import USED, UsedIntegration
from bridge.core.model import Command, Enqueue, Publish, Request
from bridge.core.ports import AdapterBase, AdapterSetup, Context, Promise

#: Seconds for which a bridge that starts may look for a node before it is told that there is none: it joins the fabric,
#: and the nodes may start together.
_START: Final = 3.0


class FabricAdapter(AdapterBase):
    """Pass operations to the nodes that offer an integration; see `ports.ProtocolAdapter`.

    There is no connection of its own: the fabric has that. `connect` waits until a node can be asked, and a node that
    cannot be asked any more is told as a loss, so that the status changes at once in both directions.
    """

    protocol = USED

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where there are no fabrics."""
        if not isinstance(setup.config, FabricUse) or setup.fabrics is None:
            raise ValueError("such an integration exists only with the `fabric` block that names it in `use`")
        self._fabrics = setup.fabrics
        self._fabric = setup.config.fabric
        self._integration = setup.config.integration
        self._clock = setup.clock
        self._patient_until = setup.clock.monotonic() + _START
        self._on_lost = setup.on_lost
        self._background = Background(setup.on_lost)
        self._told: str | None = None

    @property
    def _used(self) -> UsedIntegration:
        # Asked for each time: a reload may have made the fabric anew.
        return self._fabrics.used(self._fabric, self._integration)

    async def connect(self) -> None:
        """Return when a node can be asked.

        Raises:
            UnavailableError: None can, and the owner was not told that, or for another reason. At the start that is
                told only some seconds later.
        """
        await self._background.close()
        while (error := self._used.unavailable()) is not None:
            patience = self._patient_until - self._clock.monotonic()
            if patience > 0:
                with contextlib.suppress(TimeoutError):
                    async with self._clock.timeout(patience):
                        await self._used.changed()
            elif self._told != error.message:
                self._told = error.message
                raise error
            else:
                await self._used.changed()
        self._told, self._patient_until = None, 0.0
        await self._background.open()
        self._background.start(self._watch())

    async def _watch(self) -> None:
        """Report the loss as soon as no node can be asked."""
        while (error := self._used.unavailable()) is None:
            await self._used.changed()
        self._told = error.message
        self._on_lost(error)

    async def disconnect(self) -> None:
        """End the watch."""
        await self._background.close()

    async def check(self) -> None:
        """Check that a node can be asked, as far as is known. Raises UnavailableError."""
        error = self._used.unavailable()
        if error is not None:
            raise error

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Pass the operation on; see `ProtocolAdapter.begin`."""
        if not isinstance(command, Request | Publish | Enqueue) or context.operation is None:
            return super().begin(command, context, promise)
        return self._used.perform(context.operation, context)
