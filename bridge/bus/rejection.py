"""The reasons for which a message on the bus is not accepted: a small closed list, so that they can be counted."""

import msgspec

from bridge.core.payloads import Reason

__all__ = ["DEFAULT_LIMITS", "Limits", "Reason", "Rejected"]


class Rejected(Exception):  # noqa: N818 - an outcome of reading, not an error of ours
    """Raised where a message is not a valid event.

    Attributes:
        reason: The reason in the report.
        detail: One line that tells what exactly was wrong; it never has content of a payload.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Limits(msgspec.Struct, frozen=True):
    """Limits of a message.

    Attributes:
        max_message: Bytes of the second frame.
        max_depth: Containers inside one another within a payload.
        max_type: Bytes of an event type.
    """

    max_message: int = 1 << 20
    max_depth: int = 32
    max_type: int = 255


DEFAULT_LIMITS = Limits()
