"""Define the errors of the client."""

from typing import Any


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


class ClosedError(Exception):
    """The client is not connected: it works only inside its `async with`."""
