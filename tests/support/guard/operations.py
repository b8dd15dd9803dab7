"""Makes operations for tests."""

from typing import Any

from bridge.core.model import Cause, Operation, Request


def operation(number: int = 1, **fields: Any) -> Operation:
    """Return a request; its cause has the id `number`."""
    cause = Cause(source="app", id=number, event_type="integration.api.request")
    values = {"integration": "api", "name": "request", "command": Request(method="m"), "cause": cause, **fields}
    return Operation(**values)
