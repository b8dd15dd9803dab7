"""Pattern RPC for programs on the bus."""

from typing import Any

from bridge.client.bus import BusClient
from bridge.client.command import command


class RpcClient:
    """Calls methods of one integration through the bridge."""

    def __init__(self, bus: BusClient, integration: str) -> None:
        """Take the program's place on the bus, and the integration's label."""
        self._bus = bus
        self._integration = integration

    async def call(
        self,
        method: str,
        params: list[Any] | dict[str, Any] | None = None,
        *,
        timeout: float = 30.0,
        key: str | None = None,
    ) -> Any:
        """Call a method and return its result.

        Without a key the command goes out once, and may be lost on the bus like any event. With one it is said again
        until it is answered, and runs once; only a bridge that is killed in between forgets that, and then the remote
        may be called twice, with the same key.

        Args:
            method: The remote's method.
            params: By position (list), by name (dict), or none.
            timeout: Total time in seconds, retries included; the bridge is told it as `timeout_ms`.
            key: An idempotency key, where the remote may safely see the call twice; see `BusClient.ask`.

        Raises:
            CallFailedError: The bridge answered with an error, `deadline` among them.
            TimeoutError: The bridge itself did not answer.
            InvalidError: The bus cannot carry the call.
            ClosedError: The bus client is not connected.
        """
        payload: dict[str, Any] = {"method": method, "timeout_ms": max(1, round(timeout * 1000))}
        if params is not None:
            payload["params"] = params
        return await command(self._bus, self._integration, "request", payload, timeout=timeout, key=key)
