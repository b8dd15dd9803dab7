"""A command to one integration, and what came of it."""

import uuid
from typing import Any, Final

from bridge.client.bus import BusClient
from bridge.client.errors import CallFailedError

#: Seconds more than the bridge has, so that its own answer, which says more, arrives before ours: `deadline`.
_LATER: Final = 1.0
#: Seconds between two tries where the bridge could not do it yet.
_PAUSE: Final = 0.25


async def command(
    bus: BusClient,
    integration: str,
    operation: str,
    payload: dict[str, Any],
    *,
    timeout: float,
    key: str | None,
    patient: bool = False,
) -> Any:
    """Ask for an operation and return its result.

    A bridge that is about to stop says `stopping` to what it has not begun; with a key, the next one is asked.

    Args:
        bus: The program's place on the bus.
        integration: The integration's label.
        operation: One of the contract's.
        payload: Its arguments.
        timeout: Total time in seconds.
        key: See `BusClient.ask`.
        patient: Ask again, while there is time, after every error that may pass by itself; each time with another
            key, as the answer to one is final.

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
        event = await bus.ask(event_type, payload, timeout=left + _LATER, key=key, deadline=left)
        answer = event.payload
        if answer["ok"]:
            return answer["result"]
        error = answer["error"]
        passes = error["retryable"] if patient else error["kind"] == "stopping"
        if key is None or not passes or until - bus.clock.monotonic() <= _PAUSE:
            raise CallFailedError(error, answer["attempts"])
        if patient:
            key = str(uuid.uuid4())
        await bus.clock.sleep(_PAUSE)
