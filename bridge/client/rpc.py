"""Pattern RPC for programs on the bus."""

from typing import Any

from bridge.client.bus import BusClient


class CallFailedError(Exception):
    """The bridge answered with an error.

    Attributes:
        error: The contract's error object: `{kind, message, retryable, code?, data?, retry_after_ms?}`.
        attempts: How many attempts the bridge made.
    """

    def __init__(self, error: dict[str, Any], attempts: int) -> None:
        super().__init__(f"{error.get('kind')}: {error.get('message')}")
        self.error = error
        self.attempts = attempts


class RpcClient:
    """Calls methods of one integration through the bridge."""

    def __init__(self, bus: BusClient, integration: str) -> None:
        self._bus = bus
        self._command = f"integration.{integration}.request"

    async def call(
        self,
        method: str,
        params: list[Any] | dict[str, Any] | None = None,
        *,
        timeout: float = 30.0,
        key: str | None = None,
    ) -> Any:
        """Call a method and return its result.

        Args:
            method: The remote's method.
            params: By position (list), by name (dict), or none.
            timeout: Total time in seconds, retries included; the bridge is told it as `timeout_ms`.
            key: See `BusClient.ask`.

        Raises:
            CallFailedError: The bridge answered with an error, `deadline` among them.
            TimeoutError: The bridge itself did not answer.
        """
        payload: dict[str, Any] = {"method": method, "timeout_ms": max(1, round(timeout * 1000))}
        if params is not None:
            payload["params"] = params
        # One second more than the bridge has, so that its own answer, which says more, arrives first.
        answer = (await self._bus.ask(self._command, payload, timeout=timeout + 1.0, key=key)).payload
        if answer["ok"]:
            return answer["result"]
        raise CallFailedError(answer["error"], answer["attempts"])
