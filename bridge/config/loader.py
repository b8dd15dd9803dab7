"""Load a configuration from files, or raise all its diagnostics at once."""

import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.config.blocks import BlockReader, Model
from bridge.config.bus import read_bus
from bridge.config.compiler import Names
from bridge.config.diagnostics import Diagnostics
from bridge.config.fabrics import check_fabrics, imported_types, read_fabric, used_integrations
from bridge.config.grammar import Budget
from bridge.config.hcl import find_files, read_blocks
from bridge.config.integrations import read_integration
from bridge.config.loops import check_loops
from bridge.config.models import (
    LABELLED_BLOCKS,
    SINGLE_BLOCKS,
    BridgeSettings,
    BusSettings,
    Configuration,
    Integration,
    LogSettings,
    SubscriptionSettings,
)
from bridge.config.routes import check_shared_sources, read_route, read_subscription
from bridge.config.secrets import collect_secrets
from bridge.config.syntax import Block
from bridge.config.triggers import Emitted, own_messages
from bridge.config.variables import read_variables
from bridge.core.diagnostic import Code, Location, Related
from bridge.core.ports import AdapterSpec
from bridge.core.redaction import Redactor
from bridge.core.settings import parse_listen

if TYPE_CHECKING:
    from bridge.config.case_models import Case

_LABELLED: Final = frozenset((*LABELLED_BLOCKS, "test"))
_OURS: Final = _LABELLED | SINGLE_BLOCKS.keys()


def load(
    paths: Sequence[Path],
    *,
    adapters: Mapping[str, AdapterSpec],
    environ: Mapping[str, str],
    variables: Mapping[str, str] | None = None,
    with_placeholders: bool = False,
    faults: Path | None = None,
    host: str | None = None,
) -> Configuration:
    """Read, resolve and check a configuration.

    Args:
        paths: Files, or directories of `*.hcl`.
        adapters: The adapters by the `type` of integrations. A look-up raises ImportError for one that cannot be
            imported. `core.fabric.USED` need not be listed, but can be looked up.
        environ: The environment, for `env.NAME`.
        variables: Values from `--var`; they override those of the `variable` blocks.
        with_placeholders: Whether an environment variable that is not set has a placeholder, so that tests of the
            configuration need no secret. Such a configuration must not be connected.
        faults: A file of `step` and `remote` blocks, for a simulation.
        host: The name of this machine, for the names of nodes in fabrics; None: what the system says.

    Raises:
        ConfigError: The configuration has faults; its `diagnostics` hold all of them.
    """
    diagnostics = Diagnostics()
    ignored: dict[str, int] = {}
    found: dict[str, list[Block]] = {kind: [] for kind in _OURS}
    budget = Budget()
    for path in find_files(paths, diagnostics):
        for block in read_blocks(path, _OURS, diagnostics, ignored, budget):
            if _labels_fit(block, diagnostics):
                found[block.type].append(block)
    for kind in _OURS:
        found[kind] = _unique(found[kind], diagnostics)
    names = read_variables(
        found["variable"],
        BlockReader(Names(environ, with_placeholders=with_placeholders, complete=diagnostics.complete), diagnostics),
        variables or {},
    )
    reader = BlockReader(names, diagnostics)
    secret_keys: set[tuple[str, ...]] = set()
    bridge = _single(found["bridge"], BridgeSettings, reader, secret_keys)
    log = _single(found["log"], LogSettings, reader, secret_keys)
    bus, bus_locations = read_bus(found["bus"][0], reader, secret_keys) if found["bus"] else (BusSettings(), {})
    written = [read_fabric(block, reader) for block in found["fabric"]]
    names.secrets.clear()  # those blocks are about the sidecar itself; most of their values may be shown
    integrations = {block.labels[0]: read_integration(block, reader, adapters) for block in found["integration"]}
    integrations |= used_integrations(written, integrations, reader, adapters)
    named = socket.gethostname() if host is None else host
    fabrics = check_fabrics(written, integrations, reader, bridge or BridgeSettings(), named)
    messages = own_messages([*found["route"], *found["subscription"]])
    emitted = Emitted((bridge or BridgeSettings()).stop_with, messages, fabrics, [*imported_types(fabrics)])
    routes = [read_route(block, reader, integrations, emitted) for block in found["route"]]
    subscriptions = [read_subscription(block, reader, integrations, fabrics) for block in found["subscription"]]
    check_shared_sources(filter(None, subscriptions), diagnostics)
    by_label = {block.labels[0]: one for block, one in zip(found["subscription"], subscriptions, strict=True)}
    cases = _cases(found["test"], reader, integrations, by_label)
    simulated = None if faults is None else _faults(faults, reader, integrations, by_label)
    if diagnostics:
        diagnostics.fail()
    # Only where all else is right: a circle goes through names and patterns that must be valid.
    check_loops(list(filter(None, routes)), list(filter(None, subscriptions)), integrations, diagnostics)
    if diagnostics:
        diagnostics.fail()
    secrets = collect_secrets(filter(None, integrations.values()), names.secrets, bridge)
    _warn_of_unsafe(integrations, secrets, diagnostics)
    if bridge is not None:
        _warn_of_console(bridge, found["bridge"][0].location, diagnostics)
    return Configuration(
        bridge=bridge or BridgeSettings(),
        log=log or LogSettings(),
        bus=bus or BusSettings(),
        integrations={name: integration for name, integration in integrations.items() if integration},
        routes=tuple(route for route in routes if route),
        subscriptions=tuple(subscription for subscription in subscriptions if subscription),
        fabrics={name: fabric for name, fabric in fabrics.items() if fabric},
        cases=cases,
        faults=simulated,
        ignored=dict(sorted(ignored.items())),
        warnings=tuple(diagnostics.warnings()),
        secret_keys=frozenset(secret_keys),
        bus_locations=bus_locations,
        secrets=secrets,
    )


def _cases(
    blocks: Sequence[Block],
    reader: BlockReader,
    integrations: Mapping[str, Integration | None],
    subscriptions: Mapping[str, SubscriptionSettings | None],
) -> "tuple[Case, ...]":
    if not blocks:
        return ()
    from bridge.config.cases import read_case  # noqa: PLC0415 - most configurations that run have no tests

    return tuple(read_case(block, reader, integrations, subscriptions) for block in blocks)


def _faults(
    path: Path,
    reader: BlockReader,
    integrations: Mapping[str, Integration | None],
    subscriptions: Mapping[str, SubscriptionSettings | None],
) -> "Case":
    from bridge.config.cases import read_faults  # noqa: PLC0415 - see above

    others: dict[str, int] = {}
    location = Location(str(path))
    blocks = tuple(read_blocks(path, frozenset({"step", "remote"}), reader.diagnostics, others, Budget()))
    for kind in others:
        hint = "a file of faults has `step` and `remote` blocks only"
        reader.diagnostics.add(location, kind, "does not belong here", code=Code.UNKNOWN_BLOCK, hint=hint)
    return read_faults(blocks, location, reader, integrations, subscriptions)


def _labels_fit(block: Block, diagnostics: Diagnostics) -> bool:
    if block.type in SINGLE_BLOCKS and block.labels:
        hint = f"write `{block.type} {{ … }}`"
        diagnostics.add(block.location, str(block), "takes no label", code=Code.INVALID_LABEL, hint=hint)
        return False
    if block.type in _LABELLED and len(block.labels) != 1:
        hint = f'write `{block.type} "name" {{ … }}`'
        diagnostics.add(block.location, str(block), "takes one label", code=Code.INVALID_LABEL, hint=hint)
        diagnostics.lose_block()  # nobody knows by which name it is meant
        return False
    return True


def _unique(blocks: list[Block], diagnostics: Diagnostics) -> list[Block]:
    first: dict[tuple[str, ...], Block] = {}
    for block in blocks:
        earlier = first.setdefault(block.labels, block)
        if earlier is not block:
            message = f"given twice; the first is at {earlier.location}"
            related = (Related(earlier.location, "first given here"),)
            diagnostics.add(block.location, str(block), message, code=Code.GIVEN_TWICE, related=related)
    return list(first.values())


def _single(
    blocks: list[Block], model: type[Model], reader: BlockReader, secret_keys: set[tuple[str, ...]]
) -> Model | None:
    if not blocks:
        return None
    block = blocks[0]
    data = reader.data(block, model, block.type)
    secret_keys.update((block.type, *key) for key in data.secret_keys)
    return reader.model(model, data, data.values)


def _warn_of_unsafe(
    integrations: Mapping[str, Integration | None], secrets: Iterable[str], diagnostics: Diagnostics
) -> None:
    redactor = Redactor(secrets)
    for one in filter(None, integrations.values()):
        for warning in one.warnings:
            subject, message = f'integration "{one.id}"', redactor.text(warning)
            diagnostics.warn(one.location, subject, message, code=Code.UNSAFE)


def _warn_of_console(bridge: BridgeSettings, location: Location, diagnostics: Diagnostics) -> None:
    """Warn of what a console that others can open sends in the clear."""
    if bridge.status is None or parse_listen(bridge.status).is_loopback:
        return
    if bridge.console.actions:
        message = "the token is sent without TLS; listen at 127.0.0.1, behind a proxy with TLS"
        diagnostics.warn(location, "bridge > console > actions", message, code=Code.UNSAFE)
    if bridge.console.tap:
        message = (
            f"everybody who reaches {bridge.status} sees the events of the bus, without a password and without TLS"
        )
        diagnostics.warn(location, "bridge > console > tap", message, code=Code.UNSAFE)
