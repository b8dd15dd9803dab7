"""The reasons for which a message on the bus is not accepted: a small closed list, so that they can be counted."""

import enum
from dataclasses import dataclass


class Reason(enum.StrEnum):
    """`reason` of `resilience.bus.rejected`."""

    FRAMES = "frames"
    SIZE = "size"
    TYPE_FRAME = "type_frame"
    TYPE_MISMATCH = "type_mismatch"
    MSGPACK = "msgpack"
    NOT_AN_EVENT = "not_an_event"
    MISSING_KEY = "missing_key"
    MISTYPED_KEY = "mistyped_key"
    DUPLICATE_KEY = "duplicate_key"
    EXTENSION = "extension"
    DEPTH = "depth"
    #: The event crossed a bridge too often: `hop` is beyond its limit.
    HOP = "hop"
    #: The broker disconnected a client that announced a frame beyond the hard limit, or broke the protocol.
    CUT = "cut"
    #: A client that does not speak ZeroMQ connected.
    HANDSHAKE = "handshake"
    #: On a closed bus: no key, a key that is not listed, or one without the right to publish or subscribe to this.
    REFUSED = "refused"
    #: A subscriber that read nothing while large messages passed was disconnected.
    STUCK = "stuck"
    #: Messages came faster than the bridge could handle them, and there was no room for more to wait.
    OVERFLOW = "overflow"


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


@dataclass(frozen=True, slots=True)
class Limits:
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
