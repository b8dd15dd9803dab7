"""Send a command to one integration and return its result."""

import uuid
from typing import Any, Final

from bridge.client.bus import BusClient
from bridge.client.errors import CallFailedError

#: Seconds to wait longer than the bridge may take: its own error, `deadline`, says more than a TimeoutError.
_MARGIN: Final = 1.0
#: Seconds between two attempts where the bridge could not run it yet.
_PAUSE: Final = 0.25


async def command(
    bus: BusClient,
    integration: str,
    operation: str,
    payload: dict[str, Any],
    *,
    timeout: float,
    key: str | None,
    retry: bool = False,
) -> Any:
    """Run an operation and return its result.

    A bridge that is about to stop answers `stopping` to what it has not begun; with a key, the command is sent again.

    Args:
        bus: The program's connection to the bus.
        integration: The integration's label.
        operation: An operation of the bus contract.
        payload: Its arguments.
        timeout: Total time in seconds.
        key: See `BusClient.ask`.
        retry: Try again, while there is time, after every error that may pass by itself; each time with another key,
            because the answer to a key is final.

    Raises:
        CallFailedError: The bridge answered with an error, `deadline` among them.
        TimeoutError: The bridge itself did not answer.
        InvalidError: The bus cannot carry the command.
        ClosedError: The client is not connected.
    """
    until = bus.clock.monotonic() + timeout
    while True:
        left = until - bus.clock.monotonic()
        event_type = f"integration.{integration}.{operation}"
        event = await bus.ask(event_type, payload, timeout=left + _MARGIN, key=key, deadline=left)
        answer = event.payload
        if answer["ok"]:
            return answer["result"]
        error = answer["error"]
        passes = error["retryable"] if retry else error["kind"] == "stopping"
        if key is None or not passes or until - bus.clock.monotonic() <= _PAUSE:
            raise CallFailedError(error, answer["attempts"])
        if retry:
            key = str(uuid.uuid4())
        await bus.clock.sleep(_PAUSE)
