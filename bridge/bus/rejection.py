"""Why a message on the bus was not taken: a small closed list, so that it can be counted."""

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
    #: Travelled in a circle: `hop` is beyond its limit. The gateway says so, see `Bus.reject`.
    HOP = "hop"
    #: The broker cut a sender that announced a frame beyond the hard limit, or broke the protocol.
    CUT = "cut"
    #: What spoke on the endpoint is not ZeroMQ.
    HANDSHAKE = "handshake"
    #: On a closed bus: no key, a key that is not listed, or one without the right to say or hear this.
    REFUSED = "refused"
    #: A subscriber that took nothing while large messages passed was disconnected.
    STUCK = "stuck"
    #: Messages came faster than the bridge could handle them, and as many bytes as it keeps waited already.
    OVERFLOW = "overflow"


class Rejected(Exception):  # noqa: N818 - an outcome of reading, not an error of ours
    """One message was not understood.

    Attributes:
        reason: What it is counted under.
        detail: One line that says what exactly was wrong; it never holds content of a payload.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Limits:
    """What is too much.

    Attributes:
        max_message: Bytes of the second frame.
        max_depth: Containers inside one another within a payload.
        max_type: Bytes of an event type.
    """

    max_message: int = 1 << 20
    max_depth: int = 32
    max_type: int = 255


DEFAULT_LIMITS = Limits()
