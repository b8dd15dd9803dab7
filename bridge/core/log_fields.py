"""What lines of the log share: how often they come again, and the fields of an operation and of an error."""

import re
from collections.abc import Mapping
from typing import Any, Final

from bridge.core.errors import BridgeError, ErrorObject
from bridge.core.model import Operation

#: Seconds between two lines about something that goes on, as an outage or a wait.
AGAIN: Final = 300.0
#: Characters of an error's text, and of a correlation id, that are logged.
_MOST_TEXT: Final = 300
_MOST_ID: Final = 200
#: W3C Trace Context, section 3.2.
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.ASCII | re.DOTALL)


def trace_id_of(headers: Mapping[str, str] | None) -> str | None:
    """Return the trace id of the header `traceparent`; None where there is none, or it is not well formed."""
    found = None if headers is None else _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return None if found is None else found[1]


def operation_fields(operation: Operation) -> dict[str, Any]:
    """Return what a line of the log has of an operation: its names and ids, and nothing of its arguments.

    `route`, `correlation_id` and `trace_id` are left out where the operation has none.
    """
    fields: dict[str, Any] = {"operation": operation.name}
    if operation.route is not None:
        fields["route"] = operation.route
    fields["caused_by"] = operation.cause.event_type
    if operation.correlation_id is not None:
        fields["correlation_id"] = operation.correlation_id[:_MOST_ID]
    if (trace_id := trace_id_of(operation.headers)) is not None:
        fields["trace_id"] = trace_id
    return fields


def error_fields(error: BridgeError | ErrorObject | None) -> dict[str, str]:
    """Return what a line of the log has of an error: `error` is its kind, `message` the beginning of its text."""
    return {} if error is None else {"error": error.kind, "message": error.message[:_MOST_TEXT]}
