"""Payloads of `response.*`, of `message.*` and of `receipt.*`."""

import enum
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import UNSET, Meta, UnsetType

from bridge.core.errors import ErrorObject
from bridge.core.model import Cause, CircuitState, UInt
from bridge.core.payloads.base import Milliseconds, Payload


class Success(Payload, frozen=True):
    """It worked.

    Attributes:
        ok: Always true.
        result: What the command answers.
        attempts: How many attempts were made; 0 where no remote was asked.
        duration_ms: Milliseconds from acceptance to the end.
        route: The route that caused it.
    """

    ok: Annotated[bool, Meta(extra_json_schema={"const": True})]
    result: Any
    attempts: UInt
    duration_ms: Milliseconds
    route: str | UnsetType = UNSET


class Failure(Payload, frozen=True):
    """It did not work.

    Attributes:
        ok: Always false.
        error: What went wrong in the end.
        attempts: How many attempts were made; 0 where it was refused before the first.
        duration_ms: Milliseconds from acceptance to the end.
        route: The route that caused it.
    """

    ok: Annotated[bool, Meta(extra_json_schema={"const": False})]
    error: ErrorObject
    attempts: UInt
    duration_ms: Milliseconds
    route: str | UnsetType = UNSET


class Nothing(Payload, frozen=True):
    """There is nothing to say beyond that it worked."""


class Published(TypedDict):
    """What the broker returned; which of these depends on the protocol, and there may be more.

    Attributes:
        stream: The stream that took the message.
        sequence: Its number there.
        receivers: How many subscribers got it.
    """

    stream: NotRequired[str]
    sequence: NotRequired[int | str]
    receivers: NotRequired[UInt]


class Subscribed(Payload, frozen=True):
    """A subscription that stands.

    Attributes:
        subscription: Its name, for `unsubscribe`; the same for the same topic and `emit`.
    """

    subscription: str


class Enqueued(Payload, frozen=True):
    """A message that is in its queue.

    Attributes:
        message_id: The queue's own id of it.
    """

    message_id: str


class Circuit(Payload, frozen=True):
    """The circuit after the command.

    Attributes:
        state: Its state now.
    """

    state: CircuitState


RestartBlock = Literal["bridge", "log", "bus"]


class Reloaded(Payload, frozen=True):
    """The plan that was carried out.

    Attributes:
        added: Integrations that are new.
        changed: Integrations that were replaced, because their blocks changed.
        removed: Integrations that are gone.
        unchanged: Integrations that were not touched.
        routes: How many routes there are now.
        needs_restart: Blocks that changed too, but take effect only at the next start.
    """

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]
    routes: UInt
    needs_restart: list[RestartBlock]


class Message(Payload, frozen=True):
    """One message from outside.

    Attributes:
        topic: The concrete topic that it came by.
        message: Its content.
        headers: The outside protocol's headers.
        message_id: For `ack`, where the protocol acknowledges.
        attempts: How often it was delivered, where the protocol counts.
    """

    topic: str
    message: Any
    headers: dict[str, str]
    message_id: str | UnsetType = UNSET
    attempts: UInt | UnsetType = UNSET


class ReceiptOutcome(enum.StrEnum):
    """The one final outcome of an accepted event, as the topic of its receipt names it."""

    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"
    EXPIRED = "expired"


class Receipt(Payload, frozen=True):
    """The one outcome of an accepted event, which the topic names: `delivered`, `dead_lettered` or `expired`.

    It may be said more than once, and is then the same. `dead_lettered`: given up; of an `at_least_once` route the
    event lies among the dead letters then, of another one `resilience.<id>.failed` has said why.

    Attributes:
        integration: The integration's label.
        operation: The operation's name.
        idempotency_key: The caller's, or for `at_least_once` the one that the bridge made; null where there is none.
        cause: The event that was accepted.
        attempts: How many attempts were made.
    """

    integration: str
    operation: str
    idempotency_key: str | None
    cause: Cause
    attempts: UInt
