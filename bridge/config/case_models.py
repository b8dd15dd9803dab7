"""The models of `test` blocks, and the test cases that become of them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field, StrictBool

from bridge.config.models import NOWHERE, EventType
from bridge.core.diagnostic import Location
from bridge.core.endpoint import Strict
from bridge.core.errors import ErrorKind
from bridge.core.units import Duration, PositiveDuration

#: Seconds of virtual time that a test lasts at most, where it does not say.
DEFAULT_LASTS: Final = 3600.0
#: Protocols without a remote: in a test they work as in real life, on its clock.
WITHOUT_REMOTE: Final = frozenset({"timer", "static"})


class AnswerSettings(Strict):
    """One answer of a stand-in: a result, or an error."""

    result: Annotated[Any, Field(description="The result. Either this or `error` must be given.")] = None
    error: Annotated[
        ErrorKind | None,
        Field(description="The kind of an error in place of a result. A `timeout` never answers."),
    ] = None
    code: Annotated[int | str | None, Field(description="With `error`: the remote's own code.")] = None
    message: Annotated[str | None, Field(description="With `error`: one line for a person.")] = None
    data: Annotated[Any, Field(description="With `error`: the remote's own data.")] = None
    after: Annotated[Duration, Field(description="Virtual time until the answer comes.")] = 0.0


class RemoteBlock(Strict):
    """`test { remote "<integration>" { … } }`: what the stand-in of an integration's remote answers."""

    answers: Annotated[
        list[AnswerSettings],
        Field(min_length=1, description="The answers, in the order of the attempts. The last one repeats."),
    ]


class StepBlock(Strict):
    """`test { step { … } }`: an event of the application, a message from outside, or a change of a remote."""

    at: Annotated[Duration, Field(description="When it happens, in virtual time from the start of the test on.")] = 0.0
    emit: Annotated[EventType | None, Field(description="The type of an event that the application emits.")] = None
    message: Annotated[str | None, Field(description="The subscription that gets a message from outside.")] = None
    remote: Annotated[str | None, Field(description="The integration whose remote changes.")] = None
    payload: Annotated[Any, Field(description="Of an event or a message: its content.")] = None
    source: Annotated[str | None, Field(description="Of an event: the program that emits it.")] = None
    correlation_id: Annotated[
        str | None, Field(description="Of an event: its correlation id, which asks for a response.")
    ] = None
    headers: Annotated[dict[str, str] | None, Field(description="Of an event or a message: its headers.")] = None
    topic: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Of a message: where it comes from. Default: the topic or queue of the subscription.",
        ),
    ] = None
    down: Annotated[
        StrictBool | None, Field(description="Of a remote: whether it refuses connections from now on.")
    ] = None


class ExpectBlock(Strict):
    """`test { expect { … } }`: what must happen: an event on the bus, or calls at a remote."""

    event: Annotated[
        str | None,
        Field(description="The type of an event. `*` stands for one segment, `**` for any number of segments."),
    ] = None
    call: Annotated[str | None, Field(description="The integration at whose remote attempts are made.")] = None
    by: Annotated[
        Duration | None,
        Field(description="Only what happens up to this virtual time counts. Default: until the test ends."),
    ] = None
    times: Annotated[int | None, Field(ge=0, description="How often, exactly. Default: at least once.")] = None
    payload: Annotated[
        Any,
        Field(description="Of an event: what its payload contains. What is named must be equal; more may be there."),
    ] = None
    correlation_id: Annotated[str | None, Field(description="Of an event: its correlation id.")] = None
    method: Annotated[str | None, Field(description="Of a request: its method.")] = None
    topic: Annotated[str | None, Field(description="Of a publish: its topic.")] = None
    queue: Annotated[str | None, Field(description="Of an enqueue: its queue.")] = None
    params: Annotated[
        Any, Field(description="Of a request: what its parameters contain. What is named must be equal.")
    ] = None
    message: Annotated[
        Any, Field(description="Of a publish or an enqueue: what its message contains. What is named must be equal.")
    ] = None


class CaseBlock(Strict):
    """`test "name" { … }`: a test of the configuration, which `nemo-bridge test` runs on a virtual clock."""

    lasts: Annotated[
        PositiveDuration,
        Field(description="Virtual time after which the test ends at the latest. It ends when nothing is left to do."),
    ] = DEFAULT_LASTS
    remote: Annotated[
        dict[str, RemoteBlock],
        Field(description="Stand-ins for remotes, by integration. One without a block answers each call with null."),
    ] = Field(default_factory=dict)
    step: Annotated[tuple[StepBlock, ...], Field(description="What happens, in order of time.")] = ()
    expect: Annotated[tuple[ExpectBlock, ...], Field(description="What must come of it; each must be met.")] = ()


class Answer(msgspec.Struct, frozen=True):
    """One answer of a remote's stand-in.

    Attributes:
        result: The result, where `error` is None.
        error: The kind of the error; `timeout` never answers.
        code: The remote's own code, where there is an error.
        message: The error's message; None for one that says that the test wants it.
        data: The remote's own data, where there is an error.
        after: Seconds until it comes.
    """

    result: Any = None
    error: ErrorKind | None = None
    code: int | str | None = None
    message: str | None = None
    data: Any = None
    after: float = 0.0


class EmitStep(msgspec.Struct, frozen=True):
    """The application emits an event, `at` seconds after the start."""

    at: float
    event_type: str
    payload: Any = None
    source: str | None = None
    correlation_id: str | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class MessageStep(msgspec.Struct, frozen=True):
    """A message from outside comes to a subscription, `at` seconds after the start."""

    at: float
    subscription: str
    topic: str
    payload: Any = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class RemoteStep(msgspec.Struct, frozen=True):
    """An integration's remote begins to refuse connections, or ends that, `at` seconds after the start."""

    at: float
    integration: str
    down: bool


Step = EmitStep | MessageStep | RemoteStep


class ExpectedEvent(msgspec.Struct, frozen=True):
    """Events that must be on the bus.

    Attributes:
        event: The event type, or a pattern.
        by: Seconds after the start; later events do not count. None: all count.
        times: How many, exactly; None: at least one.
        payload: What the payload must contain; UNSET: anything.
        correlation_id: Its correlation id; UNSET: any.
        location: Where the block begins.
    """

    event: str
    by: float | None = None
    times: int | None = None
    payload: Any = msgspec.UNSET
    correlation_id: str | msgspec.UnsetType | None = msgspec.UNSET
    location: Location = NOWHERE


class ExpectedCall(msgspec.Struct, frozen=True):
    """Attempts that must be made at an integration's remote.

    Attributes:
        integration: The integration.
        operation: `request`, `publish` or `enqueue`; None: any of them.
        name: The method, topic or queue; None: any.
        by: Seconds after the start; later attempts do not count. None: all count.
        times: How many, exactly; None: at least one.
        content: What the parameters, or the message, must contain; UNSET: anything.
        location: Where the block begins.
    """

    integration: str
    operation: str | None = None
    name: str | None = None
    by: float | None = None
    times: int | None = None
    content: Any = msgspec.UNSET
    location: Location = NOWHERE


Expectation = ExpectedEvent | ExpectedCall


class Case(msgspec.Struct, frozen=True):
    """One test of a configuration: a checked `test "name" { … }` block.

    Attributes:
        name: The label.
        answers: What each stand-in answers, by integration; the last answer repeats.
        steps: What happens, in order of time.
        expectations: What must come of it, in the order of the file.
        lasts: Seconds of virtual time after which the test ends at the latest.
        location: Where the block begins.
    """

    name: str
    answers: Mapping[str, tuple[Answer, ...]] = msgspec.field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    lasts: float = DEFAULT_LASTS
    location: Location = NOWHERE
