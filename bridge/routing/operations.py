"""Makes the operation that an event asks for."""

from bridge.config import Route
from bridge.core.model import Cause, Command, Event, Operation


def operation_of(
    event: Event,
    name: str,
    integration: str,
    command: Command,
    *,
    deadline: float | None = None,
    route: Route | None = None,
    key: str | None = None,
) -> Operation:
    """Return the operation that an event asks for.

    Args:
        event: The event.
        name: The operation's name.
        integration: The integration's label.
        command: The checked arguments.
        deadline: Monotonic time in seconds; None for no limit.
        route: The route that asks for it; None for a command.
        key: The route's ordering key; None where it has none.
    """
    headers = event.headers
    return Operation(
        integration=integration,
        name=name,
        command=command,
        cause=Cause(event.source, event.id, event.event_type),
        correlation_id=event.correlation_id,
        deadline=deadline,
        idempotency_key=None if headers is None else headers.get("idempotency_key"),
        headers=headers,
        route=None if route is None else route.name,
        key=key,
        hop=0 if headers is None else event.hop,
    )
