"""An integration that other nodes of a fabric offer; `use` in a `fabric` block makes it."""

from collections.abc import Coroutine
from typing import Any

from bridge.adapters.fabric import FabricUse
from bridge.core.fabric import USED, UsedIntegration
from bridge.core.model import Command, Enqueue, Publish, Request
from bridge.core.ports import AdapterBase, AdapterSetup, Context, Promise


class FabricAdapter(AdapterBase):
    """Pass operations to the nodes that offer an integration; see `ports.ProtocolAdapter`."""

    protocol = USED

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where there are no fabrics."""
        if not isinstance(setup.config, FabricUse) or setup.fabrics is None:
            raise ValueError("such an integration exists only with the `fabric` block that names it in `use`")
        self._fabrics = setup.fabrics
        self._config = setup.config

    @property
    def _used(self) -> UsedIntegration:
        return self._fabrics.used(self._config.fabric, self._config.integration)

    async def connect(self) -> None:
        """Check that a node can be asked."""
        await self.check()

    async def check(self) -> None:
        """Check that a node can be asked, as far as is known. Raises BridgeError."""
        error = self._used.unavailable()
        if error is not None:
            raise error

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Pass the operation on; see `ProtocolAdapter.begin`."""
        if not isinstance(command, Request | Publish | Enqueue) or context.operation is None:
            return super().begin(command, context, promise)
        return self._used.perform(context.operation, context)
