"""Read `fabric "name" { … }` blocks, check them, and make integrations of what they use."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from bridge.config.blocks import BlockReader, Data
from bridge.config.diagnostics import one_of
from bridge.config.integrations import is_integration
from bridge.config.models import (
    MOST_LABEL,
    MOST_NODE,
    NAME_PATTERN,
    RESERVED,
    RESERVED_BY_FABRICS,
    BridgeSettings,
    FabricBlock,
    FabricSettings,
    Integration,
)
from bridge.config.routes import Integrations, is_pattern
from bridge.config.syntax import Block
from bridge.core.diagnostic import Code, Location, Related
from bridge.core.endpoint import NO_AUTH, Tls
from bridge.core.fabric import NEVER_SHARED, USED
from bridge.core.ports import AdapterSpec
from bridge.core.settings import (
    CircuitBreakerSettings,
    HealthSettings,
    LimitSettings,
    ResilienceSettings,
    RetrySettings,
)

#: The keys that take one text or a list.
_LISTS: Final = ("export", "import", "offer", "use")
#: What has a meaning only where a stream stores the events.
_OF_A_STREAM: Final = ("max_age", "max_bytes", "receipts")
#: What no node may be called. The source of an event from another node begins with that node's name.
_NO_NODE: Final = "bridge"
#: What a node can do for others.
_OPERATIONS: Final = ("request", "publish", "enqueue")
#: The guard of an integration that other nodes offer. The guard of the node that executes a command has the retries and
#: the breaker; two of each would multiply attempts. The adapter knows how long that one may take, so that the limit
#: here is beyond all of these.
_RESILIENCE: Final = ResilienceSettings(
    timeout=86_400.0,
    retry=RetrySettings(max_attempts=1),
    circuit_breaker=CircuitBreakerSettings(failure_threshold=1_000_000_000),
    limit=LimitSettings(max_in_flight=1_000),
)
#: Whether another node offers it is known here, so that asking costs nothing.
_HEALTH: Final = HealthSettings(interval=1.0)


class WrittenFabric(msgspec.Struct, frozen=True):
    """A `fabric` block, before it is compared with the integrations.

    Attributes:
        name: Its label.
        data: What is written in it.
        settings: The same, checked; None where it is faulty.
    """

    name: str
    data: Data
    settings: FabricBlock | None

    def labels(self, key: str) -> list[tuple[int, str]]:
        """Return the labels of integrations under `offer` or `use` that are texts, each with its position."""
        found = self.data.with_lists(key).get(key)
        return [(at, one) for at, one in enumerate(found if isinstance(found, list) else []) if isinstance(one, str)]


def read_fabric(block: Block, reader: BlockReader) -> WrittenFabric:
    """Read one `fabric` block; add diagnostics of what is wrong with it by itself."""
    name, subject = block.labels[0], str(block)
    if not re.fullmatch(NAME_PATTERN, name):
        message = "a label has letters, digits, `_` and `-` only"
        reader.diagnostics.add(block.location, subject, message, code=Code.INVALID_LABEL)
    if len(name) > MOST_NODE:
        message = f"the label of a fabric has {MOST_NODE} characters at most"
        reader.diagnostics.add(block.location, subject, message, code=Code.INVALID_LABEL)
    data = reader.data(block, FabricBlock, subject)
    settings = reader.model(FabricBlock, data, data.with_lists(*_LISTS))
    if settings is not None and settings.delivery == "at_most_once":
        for key in _OF_A_STREAM:
            if (key,) in data.locations:
                message = 'belongs to `delivery = "at_least_once"`: without a stream nothing is kept'
                reader.diagnostics.add(data.location((key,)), f"{subject} > {key}", message, code=Code.CONFLICTING_KEYS)
    return WrittenFabric(name, data, settings)


def used_integrations(
    fabrics: Sequence[WrittenFabric], own: Integrations, reader: BlockReader, adapters: Mapping[str, AdapterSpec]
) -> dict[str, Integration | None]:
    """Return an integration for each label under `use`; add diagnostics.

    Args:
        fabrics: All `fabric` blocks.
        own: The integrations that have blocks of their own.
        reader: Takes the diagnostics.
        adapters: The adapters; that of integrations which other nodes offer is looked up, not listed.

    Returns:
        The integrations by label; None for one of a fabric that is faulty.
    """
    found: dict[str, Integration | None] = {}
    first: dict[str, Related] = {
        name: Related(one.location, "the integration of this bridge") for name, one in own.items() if one is not None
    }
    for fabric in fabrics:
        for position, label in fabric.labels("use"):
            location = fabric.data.item_location("use", position)
            message = _fault_of_use(label, own, found)
            if message:
                code = Code.GIVEN_TWICE if label in own or label in found else Code.INVALID_LABEL
                related = (first[label],) if label in first else ()
                shown = "one of them cannot be used" if ("use",) in fabric.data.secret_keys else message
                subject = f"{fabric.data.subject} > use"
                reader.diagnostics.add(location, subject, shown, code=code, related=related)
                continue
            first[label] = Related(location, "first named here")
            found[label] = None if fabric.settings is None else _used(label, fabric.name, location, adapters[USED])
    return found


def _fault_of_use(label: str, own: Integrations, others: Integrations) -> str:
    """Return why a label cannot stand under `use`; empty where it can."""
    if label in own:
        return (
            f"`{label}` is an integration of this bridge, which needs no other one for it; leave it out, or give the "
            "own one another label"
        )
    if label in others:
        return f"`{label}` is named twice; a command goes to the nodes of one fabric"
    if not re.fullmatch(NAME_PATTERN, label) or len(label) > MOST_LABEL:
        return f"a label has letters, digits, `_` and `-` only, {MOST_LABEL} at most"
    return f"the label `{label}` is reserved" if label in RESERVED | RESERVED_BY_FABRICS else ""


def _used(label: str, fabric: str, location: Location, spec: AdapterSpec) -> Integration:
    return Integration(
        id=label,
        type=spec.protocol,
        spec=spec,
        endpoint=None,
        auth=NO_AUTH,
        tls=Tls(),
        config=spec.config.model_validate({"fabric": fabric, "integration": label}),
        resilience=_RESILIENCE,
        health=_HEALTH,
        location=location,
    )


def check_fabrics(
    fabrics: Sequence[WrittenFabric], integrations: Integrations, reader: BlockReader, bridge: BridgeSettings, host: str
) -> dict[str, FabricSettings | None]:
    """Compare all `fabric` blocks with the rest of the configuration; add diagnostics.

    Args:
        fabrics: All `fabric` blocks.
        integrations: All integrations, those that fabrics use as well.
        reader: Takes the diagnostics.
        bridge: The `bridge` block.
        host: The name of this machine, for the default of `node`.

    Returns:
        The fabrics by label; None for one that is faulty.
    """
    if fabrics:
        _check_reserved(integrations.values(), reader)
    found = {one.name: _check(one, integrations, reader, bridge, host) for one in fabrics}
    _check_nodes(fabrics, found, reader)
    return found


def _check_nodes(
    fabrics: Iterable[WrittenFabric], settings: Mapping[str, FabricSettings | None], reader: BlockReader
) -> None:
    """Check that this bridge is another node in each fabric: a topic of health has the node's name alone."""
    first: dict[str, Related] = {}
    for fabric in fabrics:
        found, data = settings[fabric.name], fabric.data
        if found is None:
            continue
        location = data.location(("node",)) if ("node",) in data.locations else data.block.location
        other = first.setdefault(found.node, Related(location, "the other fabric"))
        if other.location == location:
            continue
        shown = "the name of the node" if ("node",) in data.secret_keys else f"`{found.node}`"
        message = (
            f"{shown} is the node of another fabric, too; give each fabric of a bridge its own `node`, because "
            "`health.node.<node>` is one topic"
        )
        subject = f"{data.subject} > node"
        reader.diagnostics.add(location, subject, message, code=Code.GIVEN_TWICE, related=(other,))


def _check_reserved(integrations: Iterable[Integration | None], reader: BlockReader) -> None:
    for one in integrations:
        if one is not None and one.id in RESERVED_BY_FABRICS and not one.is_used:
            message = (
                f"the label `{one.id}` is reserved where there is a fabric, because `health.{one.id}.<{one.id}>` is a "
                "topic of it"
            )
            reader.diagnostics.add(one.location, f'integration "{one.id}"', message, code=Code.INVALID_LABEL)


def _check(
    fabric: WrittenFabric, integrations: Integrations, reader: BlockReader, bridge: BridgeSettings, host: str
) -> FabricSettings | None:
    data, settings = fabric.data, fabric.settings
    carrier = data.values.get("integration")
    if isinstance(carrier, str):
        _check_carrier(carrier, data, reader, integrations)
    _check_offers(fabric, reader, integrations)
    if settings is None:
        return None
    for key, patterns in (("export", settings.exports), ("import", settings.imports)):
        for position, pattern in enumerate(patterns):
            if is_pattern(key, position, pattern, data, reader) and (why := _never_shared(pattern, bridge.stop_with)):
                secret = (key,) in data.secret_keys
                message = "one of them matches only what is never exported nor imported" if secret else why
                location, subject = data.item_location(key, position), f"{data.subject} > {key}"
                reader.diagnostics.warn(location, subject, message, code=Code.NEVER_SHARED)
    node = settings.node or _default_node(data, reader, bridge, host)
    if node == _NO_NODE:
        location = data.location(("node",)) if ("node",) in data.locations else data.block.location
        message = (
            f"a node cannot be called `{_NO_NODE}`: sources that begin with it are those of the bridges themselves"
        )
        reader.diagnostics.add(location, f"{data.subject} > node", message, code=Code.INVALID_LABEL)
    return FabricSettings(
        name=fabric.name,
        integration=settings.integration,
        node=node,
        exports=settings.exports,
        imports=settings.imports,
        offers=settings.offers,
        uses=settings.uses,
        delivery=settings.delivery,
        max_age=settings.max_age,
        max_bytes=settings.max_bytes,
        replicas=settings.replicas,
        receipts=settings.receipts,
        location=data.block.location,
        secret_keys=frozenset(key[0] for key in data.secret_keys),
    )


def _own(integrations: Integrations) -> list[str]:
    """Return the labels of the integrations that have blocks of their own."""
    return [label for label, one in integrations.items() if one is None or not one.is_used]


def _check_carrier(name: str, data: Data, reader: BlockReader, integrations: Integrations) -> None:
    """Check that there is such an integration, and that a fabric can use its sessions."""
    if name not in integrations and not is_integration(name, "integration", data, reader, _own(integrations)):
        return
    integration = integrations[name]
    if integration is None or integration.spec.carries_fabrics:
        return
    kind = "offered by other nodes" if integration.is_used else f"`{integration.type}`"
    able = [label for label, one in integrations.items() if one is not None and one.spec.carries_fabrics]
    message, subject = f"`{name}` is {kind}, which cannot carry a fabric", f"{data.subject} > integration"
    hint = f"write {one_of(able)}" if able else "a fabric needs NATS with JetStream, an integration of the type `nats`"
    location, code = data.location(("integration",)), Code.UNSUPPORTED_BY_PROTOCOL
    reader.diagnostics.add(location, subject, message, code=code, hint=hint)


def _check_offers(fabric: WrittenFabric, reader: BlockReader, integrations: Integrations) -> None:
    """Check that this bridge can do for others what is under `offer`."""
    data, subject, seen = fabric.data, f"{fabric.data.subject} > offer", set[str]()
    for position, label in fabric.labels("offer"):
        known = label in integrations
        if not known and not is_integration(label, "offer", data, reader, _own(integrations), position=position):
            continue
        found = integrations[label]
        message, code = "", Code.UNSUPPORTED_BY_PROTOCOL
        if label in seen:
            message, code = f"`{label}` is named twice", Code.GIVEN_TWICE
        elif found is not None and found.is_used:
            message = f"`{label}` is offered by other nodes; a bridge offers what it has an `integration` block for"
        elif found is not None and found.spec.operations.isdisjoint(_OPERATIONS):
            message = f"`{label}` is `{found.type}`, which has no {one_of(_OPERATIONS)} that others could ask for"
        seen.add(label)
        if message:
            shown = "one of them cannot be offered" if ("offer",) in data.secret_keys else message
            reader.diagnostics.add(data.item_location("offer", position), subject, shown, code=code)


def _never_shared(pattern: str, stop_with: str | None) -> str:
    """Return why a pattern matches only what is never exported nor imported; empty where it may match more."""
    head = pattern.partition(".")[0]
    if head in NEVER_SHARED:
        return f"what begins with `{head}.` is about one bridge, and is never exported nor imported"
    return "this event stops the bridge, and is never exported nor imported" if pattern == stop_with else ""


def _default_node(data: Data, reader: BlockReader, bridge: BridgeSettings, host: str) -> str:
    """Return the name of the node that is made of the host's and the bridge's; add a diagnostic where it is none."""
    name = host if bridge.name == BridgeSettings().name else f"{host}-{bridge.name}"
    name = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    if not host or len(name) > MOST_NODE:
        made = f"it would be made of the host's name and the bridge's, and be `{name}`" if host else "the host has none"
        message = f"needs `node`, the name of this bridge in the fabric, {MOST_NODE} characters at most: {made}"
        reader.diagnostics.add(data.block.location, data.subject, message, code=Code.MISSING_KEY)
    return name


def imported_types(fabrics: Mapping[str, FabricSettings | None]) -> Iterator[str]:
    """Yield the patterns of what comes onto the bus from other bridges."""
    for one in fabrics.values():
        if one is not None:
            yield from one.imports
