"""Read `test` blocks: what happens in a test of the configuration, and what must come of it."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from bridge.config.blocks import BlockReader, Data, KeyPath
from bridge.config.case_models import (
    DEFAULT_LASTS,
    WITHOUT_REMOTE,
    Answer,
    AnswerSettings,
    Case,
    CaseBlock,
    EmitStep,
    Expectation,
    ExpectBlock,
    ExpectedCall,
    ExpectedEvent,
    MessageStep,
    RemoteBlock,
    RemoteStep,
    Step,
    StepBlock,
)
from bridge.config.diagnostics import did_you_mean, one_of
from bridge.config.models import Integration, SubscriptionSettings
from bridge.config.syntax import Block, Object, Sequence, Term
from bridge.core.bytes_object import with_bytes
from bridge.core.diagnostic import Code, Location
from bridge.core.errors import BridgeError, InvalidError
from bridge.core.filters import check_pattern
from bridge.core.units import duration_text

Integrations = Mapping[str, Integration | None]
"""All integrations by label; None for one that is faulty."""
Subscriptions = Mapping[str, SubscriptionSettings | None]
"""All subscriptions by label; None for one that is faulty."""

#: What a `step` may be, and the keys that belong to each.
_STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "emit": ("payload", "source", "correlation_id", "headers"),
    "message": ("topic", "payload", "headers"),
    "remote": ("down",),
}
#: What an `expect` may be, and the keys that belong to each.
_EXPECTATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "event": ("payload", "correlation_id"),
    "call": ("method", "topic", "queue", "params", "message"),
}
#: The key that names what a call is made to, and its operation.
_CALLS: Final = {"method": "request", "topic": "publish", "queue": "enqueue"}
#: Characters that stand for others in the patterns of MQTT, Redis, NATS and of files.
_WILDCARDS: Final = frozenset("*+#>?[")
#: Families of event types whose second segment is the label of an integration, and what else it may be.
_FAMILIES: Final = {
    "health": ("bridge", "fabric", "node"),
    "resilience": ("bus", "bridge", "fabric"),
    "receipt": (),
}


def read_case(block: Block, reader: BlockReader, integrations: Integrations, subscriptions: Subscriptions) -> Case:
    """Read one test; add a diagnostic for each fault, with which it cannot run.

    Args:
        block: The `test` block.
        reader: Reads blocks; takes the diagnostics.
        integrations: All integrations.
        subscriptions: All subscriptions.
    """
    found = _CaseReader(block, reader, integrations, subscriptions)
    found.check_name()
    found.check_expects()
    return found.read()


def read_faults(
    blocks: tuple[Block, ...],
    location: Location,
    reader: BlockReader,
    integrations: Integrations,
    subscriptions: Subscriptions,
) -> Case:
    """Read `step` and `remote` blocks that stand alone in a file, as a test that expects nothing and never ends.

    Args:
        blocks: These blocks.
        location: The file.
        reader: Reads blocks; takes the diagnostics.
        integrations: All integrations.
        subscriptions: All subscriptions.
    """
    block = Block("faults", (), (), blocks, location)
    return _CaseReader(block, reader, integrations, subscriptions).read(lasts=math.inf)


class _CaseReader:
    """Read one `test` block."""

    def __init__(
        self, block: Block, reader: BlockReader, integrations: Integrations, subscriptions: Subscriptions
    ) -> None:
        self._reader = reader
        self._integrations = integrations
        self._subscriptions = subscriptions
        self._block = self._with_right_labels(block)
        self._data = reader.data(self._block, CaseBlock, str(block))
        _locate_items(self._block, self._data)

    def check_name(self) -> None:
        block = self._block
        if not block.labels[0].strip():
            self._add(block.location, str(block), "a test has a name", Code.INVALID_LABEL, 'write `test "name" { … }`')

    def check_expects(self) -> None:
        block = self._block
        if not any(child.type == "expect" for child in block.blocks):
            message, hint = "expects nothing, so it cannot fail", "add an `expect` block"
            self._reader.diagnostics.warn(block.location, str(block), message, code=Code.NO_EFFECT, hint=hint)

    def read(self, lasts: float | None = None) -> Case:
        block, data = self._block, self._data
        own = {key: value for key, value in data.values.items() if key not in ("remote", "step", "expect")}
        settings = self._reader.model(CaseBlock, data, own)
        if lasts is None:
            lasts = DEFAULT_LASTS if settings is None else settings.lasts
        answers = {
            name: self._answers(name, values, ("remote", name))
            for name, values in data.values.get("remote", {}).items()
        }
        steps = [self._step(values, path, lasts) for path, values in _numbered(data, "step")]
        expectations = [self._expectation(values, path, lasts) for path, values in _numbered(data, "expect")]
        return Case(
            name=block.labels[0] if block.labels else "",
            answers=answers,
            steps=tuple(sorted(filter(None, steps), key=lambda step: step.at)),
            expectations=tuple(filter(None, expectations)),
            lasts=lasts,
            location=block.location,
        )

    # --- the blocks

    def _with_right_labels(self, block: Block) -> Block:
        """Return the block without those inside it whose labels are wrong; each of them gets a diagnostic."""
        kept: list[Block] = []
        for child in block.blocks:
            if child.type == "remote" and len(child.labels) != 1:
                wrong, right = "takes the name of an integration", 'write `remote "name" { … }`'
            elif child.type in ("step", "expect") and child.labels:
                wrong, right = "takes no label", f"write `{child.type} {{ … }}`"
            else:
                kept.append(child)
                continue
            self._add(child.location, f"{block} > {child}", wrong, Code.INVALID_LABEL, right)
        return msgspec.structs.replace(block, blocks=tuple(kept))

    def _answers(self, name: str, values: Mapping[str, Any], path: KeyPath) -> tuple[Answer, ...]:
        self._check_integration(name, path)
        self._check_has_remote(name, path)
        settings = self._reader.model(RemoteBlock, self._data, values, path)
        found: list[Answer] = []
        for number, answer in enumerate(() if settings is None else settings.answers):
            at = (*path, "answers", str(number))
            given = answer.model_fields_set
            if ("result" in given) == (answer.error is not None):
                code = Code.CONFLICTING_KEYS if "result" in given else Code.MISSING_KEY
                self._complain(at, 'an answer is `{ result = … }` or `{ error = "<kind>" }`', code)
            for key in ("code", "message", "data"):
                if key in given and answer.error is None:
                    self._complain((*at, key), "belongs to `error`", Code.CONFLICTING_KEYS)
            found.append(self._answer(answer, at))
        return tuple(found)

    def _answer(self, settings: AnswerSettings, path: KeyPath) -> Answer:
        return Answer(
            result=self._as_data(settings.result, (*path, "result")),
            error=settings.error,
            code=settings.code,
            message=settings.message,
            data=self._as_data(settings.data, (*path, "data")),
            after=settings.after,
        )

    def _step(self, values: Mapping[str, Any], path: KeyPath, lasts: float) -> Step | None:
        kind = self._kind(path, _STEPS, ("at",))
        settings = self._reader.model(StepBlock, self._data, values, path)
        if settings is None:
            return None
        if settings.at > lasts:
            self._too_late((*path, "at"), lasts)
        payload = self._as_data(settings.payload, (*path, "payload"))
        headers = settings.headers or {}
        match kind:
            case "emit" if settings.emit is not None:
                return EmitStep(settings.at, settings.emit, payload, settings.source, settings.correlation_id, headers)
            case "message" if settings.message is not None:
                return self._message(settings, path, payload)
            case "remote" if settings.remote is not None:
                self._check_integration(settings.remote, (*path, "remote"))
                self._check_has_remote(settings.remote, (*path, "remote"))
                if settings.down is None:
                    self._complain((*path, "remote"), "needs `down`, which is true or false", Code.MISSING_KEY)
                return RemoteStep(settings.at, settings.remote, down=bool(settings.down))
        return None

    def _message(self, settings: StepBlock, path: KeyPath, payload: Any) -> MessageStep | None:
        """Return the step of a message from outside; its topic must be one that the subscription gets."""
        name, key = str(settings.message), (*path, "message")
        if name not in self._subscriptions:
            hint = did_you_mean(name, self._subscriptions) or _there_are(self._subscriptions)
            message = f"there is no subscription {self._quoted(name, key)}"
            self._complain(key, message, Code.UNKNOWN_SUBSCRIPTION, hint)
            return None
        subscription = self._subscriptions[name]
        if subscription is None:
            return None
        self._check_has_remote(subscription.integration, key)
        topic = str(subscription.queue if subscription.topic is None else subscription.topic)
        if settings.topic is not None:
            topic = settings.topic
        if subscription.topic is not None and subscription.integration in self._integrations:
            self._check_topic(settings, subscription, path)
        return MessageStep(settings.at, name, topic, payload, settings.headers or {})

    def _check_topic(self, settings: StepBlock, subscription: SubscriptionSettings, path: KeyPath) -> None:
        """Complain where a message of this topic would not come to the subscription, as far as that can be known."""
        integration, pattern = self._integrations[subscription.integration], str(subscription.topic)
        comes_back = None if integration is None else integration.spec.comes_back
        if comes_back is None:
            return
        gets = f"gets what matches `{pattern}`" if "topic" not in subscription.secret_keys else "has a pattern"
        if settings.topic is None:
            if not _WILDCARDS.isdisjoint(pattern):
                message, hint = f"subscription `{subscription.name}` {gets}", "give the message's own `topic`"
                self._complain((*path, "message"), message, Code.MISSING_KEY, hint)
            return
        try:
            comes = comes_back(settings.topic, pattern)
        except BridgeError:
            comes = False
        if not comes:
            message = f"subscription `{subscription.name}` {gets}, so it does not get a message of this topic"
            self._complain((*path, "topic"), message, Code.CONFLICTING_KEYS)

    def _expectation(self, values: Mapping[str, Any], path: KeyPath, lasts: float) -> Expectation | None:
        kind = self._kind(path, _EXPECTATIONS, ("by", "times"))
        settings = self._reader.model(ExpectBlock, self._data, values, path)
        if settings is None:
            return None
        if settings.by is not None and settings.by > lasts:
            self._too_late((*path, "by"), lasts)
        if kind == "event" and settings.event is not None:
            return self._event(settings, path)
        if kind == "call" and settings.call is not None:
            return self._call(settings, path)
        return None

    def _event(self, settings: ExpectBlock, path: KeyPath) -> ExpectedEvent:
        event, key = str(settings.event), (*path, "event")
        try:
            check_pattern(event)
        except ValueError as error:
            secret = key in self._data.secret_keys
            message = "it is not an event type, nor a pattern of them" if secret else str(error)
            self._complain(key, message, Code.INVALID_PATTERN)
        head, _, rest = event.partition(".")
        label = rest.partition(".")[0]
        if head in _FAMILIES and label not in ("", "*", "**", *_FAMILIES[head], *self._integrations):
            message = f"no event is of this type, because there is no integration {self._quoted(label, key)}"
            self._complain(key, message, Code.UNKNOWN_INTEGRATION, did_you_mean(label, self._integrations))
        given = settings.model_fields_set
        return ExpectedEvent(
            event=event,
            by=settings.by,
            times=settings.times,
            payload=self._as_data(settings.payload, (*path, "payload")) if "payload" in given else msgspec.UNSET,
            correlation_id=settings.correlation_id if "correlation_id" in given else msgspec.UNSET,
            location=self._data.location(path),
        )

    def _call(self, settings: ExpectBlock, path: KeyPath) -> ExpectedCall:
        name, given = str(settings.call), settings.model_fields_set
        self._check_integration(name, (*path, "call"))
        self._check_has_remote(name, (*path, "call"))
        named = [key for key in _CALLS if key in given]
        if len(named) > 1:
            self._complain((*path, named[1]), f"a call has one of {one_of(_CALLS)}", Code.CONFLICTING_KEYS)
        operation = _CALLS[named[0]] if named else None
        if "params" in given and "message" in given:
            message = "a call has `params` (a request) or a `message`, not both"
            self._complain((*path, "message"), message, Code.CONFLICTING_KEYS)
        elif "params" in given and operation not in (None, "request"):
            message = f"belongs to a request; `{operation}` has a `message`"
            self._complain((*path, "params"), message, Code.CONFLICTING_KEYS)
        elif "message" in given and operation == "request":
            message = "belongs to a publish or an enqueue; a request has `params`"
            self._complain((*path, "message"), message, Code.CONFLICTING_KEYS)
        integration = self._integrations.get(name)
        if integration is not None and operation is not None and operation not in integration.spec.operations:
            message = f"`{name}` is `{integration.type}`, which has no `{operation}`"
            self._complain((*path, named[0]), message, Code.UNSUPPORTED_BY_PROTOCOL)
        content: Any = msgspec.UNSET
        if "params" in given:
            content, operation = self._as_data(settings.params, (*path, "params")), operation or "request"
        elif "message" in given:
            content = self._as_data(settings.message, (*path, "message"))
        return ExpectedCall(
            integration=name,
            operation=operation,
            name=getattr(settings, named[0]) if named else None,
            by=settings.by,
            times=settings.times,
            content=content,
            location=self._data.location(path),
        )

    # --- what they have in common

    def _kind(self, path: KeyPath, kinds: Mapping[str, tuple[str, ...]], others: tuple[str, ...]) -> str | None:
        """Return the key that says what a block is; complain where none or several do, and of keys of other kinds."""
        block = path[0]
        given = [key[-1] for key in self._data.locations if key[:-1] == path]
        found = [key for key in kinds if key in given]
        if not found:
            right = "does nothing" if block == "step" else "expects nothing"
            self._complain(path, right, Code.MISSING_KEY, f"give it one of {one_of(kinds)}")
            return None
        if len(found) > 1:
            message, hint = f"is a second one beside `{found[0]}`", f"write another `{block}` block"
            self._complain((*path, found[1]), message, Code.CONFLICTING_KEYS, hint)
            return None
        known = {key for keys in kinds.values() for key in keys}
        for key in given:
            if key in known and key not in (*kinds[found[0]], *found):
                message = f"does not belong to `{found[0]}`, which takes {one_of((*kinds[found[0]], *others))}"
                self._complain((*path, key), message, Code.CONFLICTING_KEYS)
        return found[0]

    def _too_late(self, path: KeyPath, lasts: float) -> None:
        message, hint = f"the test ends after {duration_text(lasts)}", "give the test a longer `lasts`"
        self._complain(path, message, Code.CONFLICTING_KEYS, hint)

    def _check_integration(self, name: str, path: KeyPath) -> None:
        if name not in self._integrations:
            hint = did_you_mean(name, self._integrations) or _there_are(self._integrations)
            message = f"there is no integration {self._quoted(name, path)}"
            self._complain(path, message, Code.UNKNOWN_INTEGRATION, hint)

    def _check_has_remote(self, name: str, path: KeyPath) -> None:
        integration = self._integrations.get(name)
        if integration is not None and integration.type in WITHOUT_REMOTE:
            message = f"`{name}` is `{integration.type}`, which has no remote; in a test it works as in real life"
            self._complain(path, message, Code.UNSUPPORTED_BY_PROTOCOL)

    def _quoted(self, value: str, key: KeyPath) -> str:
        return "of that name" if key in self._data.secret_keys else f"`{value}`"

    def _as_data(self, value: Any, path: KeyPath) -> Any:
        """Return a value with bytes in place of each `$bytes` object; complain where one is not valid."""
        if value is None:
            return None
        try:
            return with_bytes(value, path[-1])
        except InvalidError as error:
            self._complain(path, self._reader.message_of(error.message, path, self._data), Code.INVALID_VALUE)
            return None

    def _complain(self, path: KeyPath, message: str, code: Code, hint: str = "") -> None:
        self._add(self._data.location(path), " > ".join([self._data.subject, *path]), message, code, hint)

    def _add(self, location: Location, subject: str, message: str, code: Code, hint: str) -> None:
        self._reader.diagnostics.add(location, subject, message, code=code, hint=hint)


def _numbered(data: Data, kind: str) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    for number, values in enumerate(data.values.get(kind, ())):
        yield (kind, str(number)), values


def _there_are(known: Iterable[str]) -> str:
    names = list(known)
    return f"there are {one_of(names)}" if names else ""


def _locate_items(block: Block, data: Data) -> None:
    """Add the location of each item of a list and each key of a map to those of the block's attributes."""
    seen: dict[str, int] = {}
    for child in block.blocks:
        number = seen.get(child.type, 0)
        seen[child.type] = number + 1
        path = (child.type, child.labels[0] if child.labels else str(number))
        for attribute in child.attributes:
            _locate(attribute.term, (*path, attribute.name), attribute.value, data.locations)


def _locate(term: Term, path: KeyPath, location: Location, locations: dict[KeyPath, Location]) -> None:
    match term:
        case Sequence():
            inside = [(str(number), item) for number, item in enumerate(term.items)]
        case Object():
            inside = list(term.items)
        case _:
            return
    for key, item in inside:
        place = location.at(item.span)
        locations[*path, key] = place
        _locate(item, (*path, key), place, locations)
