"""Call methods through the bridge."""

from typing import Any

from bridge.client.bus import BusClient
from bridge.client.command import command


class RpcClient:
    """Call methods of one integration through the bridge."""

    def __init__(self, bus: BusClient, integration: str) -> None:
        """Take the program's connection to the bus, and the integration's label."""
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

        Without a key the command is sent once, and may be lost on the bus like any event. With one it is sent again
        until it is answered, and runs once. A bridge that is killed in between forgets that it ran, and then the
        remote may be called twice, with the same key.

        Args:
            method: The remote's method.
            params: By position (list), by name (dict), or none.
            timeout: Total time in seconds, with retries; it is sent to the bridge as `timeout_ms`.
            key: An idempotency key, where it is safe to repeat the call at the remote; see `BusClient.ask`.

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
