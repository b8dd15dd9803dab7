"""Read `route` and `subscription` blocks and check them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from bridge.config.blocks import BlockReader, Data, unless_secret
from bridge.config.diagnostics import Diagnostics, did_you_mean, one_of
from bridge.config.expressions import Expression
from bridge.config.integrations import is_integration
from bridge.config.kinds import BOOLEAN, NULL, NUMBER, STRING, kinds, named
from bridge.config.models import (
    MOST_LABEL,
    NAME_PATTERN,
    FabricSettings,
    Integration,
    Route,
    RouteBlock,
    SubscriptionBlock,
    SubscriptionSettings,
)
from bridge.config.secrets import SecretValue
from bridge.config.syntax import Attribute, Block
from bridge.config.triggers import Emitted, condition_fault, foreign_pattern, nothing_sets_off, pattern_hint
from bridge.core.diagnostic import Code, Related
from bridge.core.errors import BridgeError, InvalidError
from bridge.core.event_type import check_answerable, to_emitted_type
from bridge.core.filters import check_pattern
from bridge.core.wildcards import translated

#: Per operation: the keys that it needs, and those that it may have.
_OPERATION_KEYS: Final = {
    "request": (("method",), ("params",)),
    "publish": (("topic", "message"), ("qos", "retain")),
    "enqueue": (("queue", "message"), ()),
}
_ARGUMENTS: Final = ("method", "params", "topic", "message", "qos", "retain", "queue")
_COMPUTED: Final = (*_ARGUMENTS, "where", "emit", "key")
#: The kinds of value that a key takes, where not any.
_KINDS: Final = {
    **dict.fromkeys(("method", "topic", "queue", "emit"), STRING),
    "qos": NUMBER | NULL,
    "retain": BOOLEAN,
    "key": STRING | NUMBER | BOOLEAN,
}

Integrations = Mapping[str, Integration | None]
"""All integrations by label; None for one that is faulty, so that its routes get no diagnostic for that."""


Fabrics = Mapping[str, FabricSettings | None]
"""All fabrics by label; None for one that is faulty, so that its subscriptions get no diagnostic for that."""


def read_route(block: Block, reader: BlockReader, integrations: Integrations, emitted: Emitted) -> Route | None:
    """Read one route; add diagnostics and return None where it is faulty.

    Args:
        block: The `route` block.
        reader: Reads blocks; takes the diagnostics.
        integrations: All integrations.
        emitted: What may set it off.
    """
    subject = str(block)
    _check_name(block, reader)
    data = reader.data(block, RouteBlock, subject, computed=_COMPUTED)
    computed = _computed(data, reader, "event", _COMPUTED)
    settings = reader.model(RouteBlock, data, data.with_lists("on"))
    if settings is None:
        _check_unused(data, reader, integrations)
        return None
    for position, pattern in enumerate(settings.on):
        _check_trigger(position, pattern, data, reader, integrations, emitted=emitted)
    integration = _check_integration(
        settings.integration, settings.operation, data, reader, integrations, key="operation"
    )
    needed, allowed = _OPERATION_KEYS[settings.operation]
    for key in needed:
        if not data.has(key):
            message = f"`{settings.operation}` needs `{key}`"
            reader.diagnostics.add(block.location, subject, message, code=Code.MISSING_KEY)
    qos = computed.get("qos")
    if settings.delivery == "at_least_once" and qos is not None and qos.constant and qos.evaluate({}) == 0:
        message = 'messages with QoS 0 are not acknowledged; `delivery = "at_least_once"` needs 1 or 2'
        reader.diagnostics.add(data.location(("qos",)), f"{subject} > qos", message, code=Code.CONFLICTING_KEYS)
    for key in needed[:1]:
        value = computed.get(key)
        if value is not None and value.constant and isinstance(text := value.evaluate({}), str) and text:
            _check_names(integration, settings.operation, data, reader, key=key, value=text, secret=value.secret)
    for key in _ARGUMENTS:
        if (key,) in data.locations and key not in (*needed, *allowed):
            message = f"does not belong to `{settings.operation}`, which takes {one_of((*needed, *allowed))}"
            reader.diagnostics.add(data.location((key,)), f"{subject} > {key}", message, code=Code.CONFLICTING_KEYS)
    if settings.last_value and not data.has("emit"):
        location, message = data.location(("last_value",)), "belongs to `emit`"
        reader.diagnostics.add(location, f"{subject} > last_value", message, code=Code.CONFLICTING_KEYS)
    return Route(
        name=block.labels[0],
        on=tuple(settings.on),
        integration=settings.integration,
        operation=settings.operation,
        delivery=settings.delivery,
        receipts=settings.receipts,
        last_value=settings.last_value,
        location=block.location,
        secret_keys=frozenset(key[0] for key in data.secret_keys),
        **computed,
    )


def read_subscription(
    block: Block, reader: BlockReader, integrations: Integrations, fabrics: Fabrics
) -> SubscriptionSettings | None:
    """Read one subscription; add diagnostics and return None where it is faulty."""
    subject = str(block)
    _check_name(block, reader)
    data = reader.data(block, SubscriptionBlock, subject, computed=("emit",))
    computed = _computed(data, reader, "message", ("emit",))
    settings = reader.model(SubscriptionBlock, data, data.values)
    if settings is None:
        _check_unused(data, reader, integrations)
        return None
    if (("topic",) in data.locations and ("queue",) in data.locations) or not (data.has("topic") or data.has("queue")):
        code = Code.CONFLICTING_KEYS if ("topic",) in data.locations else Code.MISSING_KEY
        reader.diagnostics.add(block.location, subject, "give either `topic` or `queue`", code=code)
    key, operation = ("queue", "dequeue") if settings.queue is not None else ("topic", "subscribe")
    integration = _check_integration(settings.integration, operation, data, reader, integrations, key=key)
    for name, value in (("topic", settings.topic), ("queue", settings.queue)):
        if value is not None:
            operation = "consume" if name == "queue" else "subscribe"
            secret = (name,) in data.secret_keys
            _check_names(integration, operation, data, reader, key=name, value=value, secret=secret)
    _check_qos(settings, data, reader, integrations)
    _check_singleton(settings, integration, data, reader, fabrics, key=key)
    held = settings.ack == "consumer"
    if held:
        _check_acknowledges(settings.integration, data, reader, integrations, key=key)
    else:
        for name in ("visibility", "max_deliveries"):
            if (name,) in data.locations:
                message = 'belongs to `ack = "consumer"`'
                location = data.location((name,))
                reader.diagnostics.add(location, f"{subject} > {name}", message, code=Code.CONFLICTING_KEYS)
    return SubscriptionSettings(
        name=block.labels[0],
        integration=settings.integration,
        topic=settings.topic,
        queue=settings.queue,
        ack=settings.ack,
        qos=settings.qos,
        prefetch=_prefetch(settings, integration, data, reader, key=key),
        visibility=settings.visibility if held else None,
        max_deliveries=settings.max_deliveries,
        group=settings.group,
        listener=_listener(settings, integration, data, reader, key=key),
        last_value=settings.last_value,
        singleton=settings.singleton,
        location=block.location,
        secret_keys=frozenset(key[0] for key in data.secret_keys),
        emit=computed.get("emit"),
    )


def _check_trigger(
    position: int, pattern: str, data: Data, reader: BlockReader, integrations: Integrations, *, emitted: Emitted
) -> None:
    """Check one pattern of `on`, which stands at this position; warn where nothing can set it off."""
    if not is_pattern("on", position, pattern, data, reader):
        return
    location, subject = data.item_location("on", position), f"{data.subject} > on"
    secret = ("on",) in data.secret_keys
    why = nothing_sets_off(pattern, integrations, emitted)
    if why is not None and reader.diagnostics.complete:
        message, hint = ("one of them sets off nothing", "") if secret else why
        reader.diagnostics.warn(location, subject, message, code=Code.NEVER_SET_OFF, hint=hint)


def is_pattern(key: str, position: int, pattern: str, data: Data, reader: BlockReader) -> bool:
    """Return whether an item of a list is a pattern of event types; add a diagnostic where it is none."""
    meant = foreign_pattern(pattern)
    if meant is not None:
        fault, hint = f"`{pattern}` is no pattern of event types", f"write `{meant}`"
    else:
        try:
            check_pattern(pattern)
            if "*" not in pattern:
                check_answerable(pattern)
        except ValueError as error:
            fault, hint = str(error), pattern_hint(pattern)
        else:
            return True
    if (key,) in data.secret_keys:
        fault, hint = "one of them is not a pattern of event types", ""
    location, subject = data.item_location(key, position), f"{data.subject} > {key}"
    reader.diagnostics.add(location, subject, fault, code=Code.INVALID_PATTERN, hint=hint)
    return False


def _listener(
    settings: SubscriptionBlock, integration: Integration | None, data: Data, reader: BlockReader, *, key: str
) -> Literal["required", "optional"] | None:
    """Return whether messages wait for a listener. Only those can that are acknowledged: they stay at the remote."""
    if integration is None:
        return None
    acknowledged = integration.spec.acknowledged("consume" if key == "queue" else "subscribe", settings.qos)
    if settings.listener == "required" and not acknowledged:
        message = f"messages of this `{key}` of `{integration.type}` are not acknowledged, so they cannot wait"
        location = data.location(("listener",))
        reader.diagnostics.add(location, f"{data.subject} > listener", message, code=Code.UNSUPPORTED_BY_PROTOCOL)
    return settings.listener or ("required" if acknowledged else None)


def _check_singleton(
    settings: SubscriptionBlock,
    integration: Integration | None,
    data: Data,
    reader: BlockReader,
    fabrics: Fabrics,
    *,
    key: str,
) -> None:
    """Check that one node of a fabric can emit for all."""
    name, location, subject = settings.singleton, data.location(("singleton",)), f"{data.subject} > singleton"
    if name is None:
        return
    if name not in fabrics:
        if reader.diagnostics.complete:
            shown = "such fabric" if ("singleton",) in data.secret_keys else f"fabric `{name}`"
            hint = did_you_mean(name, fabrics) or (
                f"there are {one_of(fabrics)}" if fabrics else 'write `fabric "name" { … }`'
            )
            reader.diagnostics.add(location, subject, f"there is no {shown}", code=Code.UNKNOWN_FABRIC, hint=hint)
    elif len(data.block.labels[0]) > MOST_LABEL:
        message = (
            f"with it, the label of the subscription has {MOST_LABEL} characters at most: it is a key in the bucket"
        )
        reader.diagnostics.add(location, subject, message, code=Code.INVALID_LABEL)
    elif integration is not None:
        if settings.queue is not None:
            why: str | None = "a queue gives each message to one of its readers, so nodes share it already"
        else:
            why = integration.spec.unfit_for_lease(settings.topic or "", integration.config)
        if why is not None:
            message = f"this `{key}` of `{integration.type}` cannot be emitted by one node for all: {why}"
            reader.diagnostics.add(location, subject, message, code=Code.UNSUPPORTED_BY_PROTOCOL)


def _prefetch(
    settings: SubscriptionBlock, integration: Integration | None, data: Data, reader: BlockReader, *, key: str
) -> int | None:
    """Return how many messages may be unacknowledged; None where nothing limits that for one subscription."""
    if settings.ack == "consumer" or integration is None:
        return settings.prefetch
    spec, location = integration.spec, data.location(("prefetch",))
    is_written, subject = ("prefetch",) in data.locations, f"{data.subject} > prefetch"
    if not spec.acknowledged("consume" if key == "queue" else "subscribe", settings.qos):
        if is_written:
            message = f"messages of this `{key}` of `{integration.type}` are not acknowledged, so it limits nothing"
            reader.diagnostics.add(location, subject, message, code=Code.NO_EFFECT)
        return None
    if spec.common_window is None:
        return settings.prefetch
    if is_written:
        message = (
            f'`{integration.type}` has no limit for one subscription, so it has no effect without `ack = "consumer"`; '
            f"`{spec.common_window}` of `{settings.integration}` limits all of them together"
        )
        reader.diagnostics.warn(location, subject, message, code=Code.NO_EFFECT)
    return None


def _check_name(block: Block, reader: BlockReader) -> None:
    if not re.fullmatch(NAME_PATTERN, block.labels[0]):
        message = "a label has letters, digits, `_` and `-` only"
        reader.diagnostics.add(block.location, str(block), message, code=Code.INVALID_LABEL)


def _check_names(
    integration: Integration | None,
    operation: str,
    data: Data,
    reader: BlockReader,
    *,
    key: str,
    value: str,
    secret: bool,
) -> None:
    """Check what can be known of a method, topic, queue or group without the remote."""
    if integration is None:
        return
    wildcards = integration.spec.wildcards if operation == "subscribe" else None
    meant = translated(value, wildcards) if wildcards is not None and not secret else None
    hint = "" if meant is None else f"write `{meant}`"
    try:
        integration.spec.check_names(operation, value, data.values.get("group"), integration.config)
    except BridgeError as error:
        about, colon, rest = error.message.partition(": ")
        at, message = (about, rest) if colon and (about,) in data.locations else (key, error.message)
        message = unless_secret(message, [SecretValue.whole(value)] if secret else data.secret_values((at,)))
        hint = hint if at == key else ""
        location = data.location((at,))
        reader.diagnostics.add(location, f"{data.subject} > {at}", message, code=Code.INVALID_NAME, hint=hint)
        return
    if hint:
        message = f"has a wildcard of another protocol, which `{integration.type}` takes as an ordinary letter"
        reader.diagnostics.warn(
            data.location((key,)), f"{data.subject} > {key}", message, code=Code.FOREIGN_WILDCARD, hint=hint
        )


def _check_integration(
    name: str, operation: str, data: Data, reader: BlockReader, integrations: Integrations, *, key: str
) -> Integration | None:
    """Check that there is such an integration with such an operation; return it, None where there is none."""
    if not _is_known(name, data, reader, integrations):
        return None
    integration = integrations[name]
    if integration is not None and operation not in integration.spec.operations:
        has = one_of(integration.spec.operations)
        kind = "offered by other nodes of a fabric" if integration.is_used else f"`{integration.type}`"
        message = f"`{name}` is {kind}, which has no `{operation}`; it has {has}"
        location = data.location((key,))
        reader.diagnostics.add(location, f"{data.subject} > {key}", message, code=Code.UNSUPPORTED_BY_PROTOCOL)
        return None
    return integration


def _check_unused(data: Data, reader: BlockReader, integrations: Integrations) -> None:
    """Check the integration of a block that cannot be used because of another fault."""
    name = data.values.get("integration")
    if isinstance(name, str):
        _is_known(name, data, reader, integrations)


def _is_known(name: str, data: Data, reader: BlockReader, integrations: Integrations) -> bool:
    """Return whether there is such an integration; add a diagnostic where there is none."""
    return is_integration(name, "integration", data, reader, integrations)


def _check_acknowledges(name: str, data: Data, reader: BlockReader, integrations: Integrations, *, key: str) -> None:
    """Check that the protocol has acknowledgements that the application can give."""
    integration = integrations.get(name)
    if integration is None:
        return
    has = integration.spec.acknowledges
    unfit = integration.spec.unfit_to_hold(integration.config)
    if ("consume" if key == "queue" else "subscribe") not in has:
        other = {"consume": "`queue`", "subscribe": "`topic`"}
        hint = f", but a {other[next(iter(has))]} has" if has else ""
        message = (
            f'messages of a `{key}` of `{integration.type}` are not acknowledged{hint}; leave it out, or write "bus"'
        )
        location = data.location(("ack",))
        reader.diagnostics.add(location, f"{data.subject} > ack", message, code=Code.UNSUPPORTED_BY_PROTOCOL)
    elif unfit is not None:
        location, message = data.location(("ack",)), f"{unfit} of `{name}`"
        reader.diagnostics.add(location, f"{data.subject} > ack", message, code=Code.INVALID_SETTINGS)


def _check_qos(settings: SubscriptionBlock, data: Data, reader: BlockReader, integrations: Integrations) -> None:
    integration = integrations.get(settings.integration)
    if settings.qos is None or integration is None:
        return
    message, code = None, Code.CONFLICTING_KEYS
    if not integration.spec.has_qos:
        message = f"`{settings.integration}` is `{integration.type}`, which has no `qos`"
        code = Code.UNSUPPORTED_BY_PROTOCOL
    elif settings.qos == 0 and settings.ack == "consumer":
        message = 'messages with QoS 0 are not acknowledged; `ack = "consumer"` needs 1 or 2'
    if message is not None:
        reader.diagnostics.add(data.location(("qos",)), f"{data.subject} > qos", message, code=code)


def check_shared_sources(subscriptions: Iterable[SubscriptionSettings], diagnostics: Diagnostics) -> None:
    """Check that subscriptions to the same topic or queue have the same settings; only their events may differ."""
    first: dict[tuple[object, ...], SubscriptionSettings] = {}
    for one in subscriptions:
        other = first.setdefault((one.integration, one.topic, one.queue, one.group), one)
        for key in ("ack", "qos", "prefetch", "visibility", "max_deliveries", "listener", "singleton"):
            if getattr(one, key) != getattr(other, key):
                message = f'reads the same as subscription "{other.name}" ({other.location}), with another `{key}`'
                subject, code = f'subscription "{one.name}"', Code.DIFFERENT_SETTINGS
                diagnostics.add(one.location, subject, message, code=code)
                break
        else:
            if other is not one and _emitted_by(one) == _emitted_by(other):
                message = f'emits the same as subscription "{other.name}", so each message comes twice'
                subject, code = f'subscription "{one.name}"', Code.REPEATED_MESSAGES
                related = (Related(other.location, "the same source and event"),)
                diagnostics.warn(one.location, subject, message, code=code, related=related)


def _emitted_by(subscription: SubscriptionSettings) -> str | None:
    return None if subscription.emit is None else subscription.emit.text


def _computed(data: Data, reader: BlockReader, root: str, keys: tuple[str, ...]) -> dict[str, Expression]:
    found: dict[str, Expression] = {}
    for attribute in data.block.attributes:
        if attribute.name not in keys:
            continue
        expression = reader.compile(attribute, data.subject, root)
        if expression is None:
            continue
        found[attribute.name] = expression
        fault, hint = _fault_of_value(attribute, expression)
        if fault:
            code = Code.NO_CONDITION if attribute.name == "where" else Code.INVALID_VALUE
            subject = f"{data.subject} > {attribute.name}"
            reader.diagnostics.add(attribute.value, subject, fault, code=code, hint=hint)
    return found


def _fault_of_value(attribute: Attribute, expression: Expression) -> tuple[str, str]:
    """Return what is wrong with a value as far as it is known, with a hint; empty strings where it is valid."""
    name, term = attribute.name, attribute.term
    if name == "where":
        known = {"value": expression.evaluate({})} if expression.constant else {}
        return condition_fault(term, **known) or ("", "")
    if expression.constant:
        fault = _constant_fault(name, expression.evaluate({}))
        return SecretValue.of(expression).hidden(fault) if expression.secret else fault, ""
    wanted, found = _KINDS.get(name), kinds(term)
    if wanted is not None and found.isdisjoint(wanted):
        return f"must be {named(wanted)}, not {named(found)}", ""
    return "", ""


def _constant_fault(key: str, value: Any) -> str:
    """Return what is wrong with a value that does not depend on the message; the empty string where it is valid."""
    match key:
        case "method" | "topic" | "queue" if not isinstance(value, str) or not value:
            return "must be a string that is not empty"
        case "qos" if type(value) is not int or value not in {0, 1, 2}:
            return "must be 0, 1 or 2"
        case "retain" if not isinstance(value, bool):
            return "must be true or false"
        case "emit":
            try:
                to_emitted_type(value)
            except InvalidError as error:
                return error.message
    return ""
