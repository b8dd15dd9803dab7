"""Files → `Configuration`, or every complaint at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bridge.config.blocks import BlockReader, Model
from bridge.config.bus import read_bus
from bridge.config.compiler import Names
from bridge.config.diagnostics import Complaints, near
from bridge.config.hcl import find_files, read_blocks
from bridge.config.integrations import read_integration
from bridge.config.models import (
    AdapterProvider,
    BridgeSettings,
    BusSettings,
    Configuration,
    Integration,
    LogSettings,
)
from bridge.config.routes import check_same_place, read_route, read_subscription
from bridge.config.secrets import hidden
from bridge.config.syntax import Block
from bridge.config.variables import read_variables

_SINGLE: Final = ("bridge", "log", "bus")
_LABELLED: Final = ("variable", "integration", "route", "subscription")
_OURS: Final = frozenset((*_SINGLE, *_LABELLED))


def load(
    paths: Sequence[Path],
    *,
    adapters: AdapterProvider,
    environ: Mapping[str, str],
    variables: Mapping[str, str] | None = None,
) -> Configuration:
    """Read, resolve and check a configuration.

    Args:
        paths: Files, or directories of `*.hcl`.
        adapters: The types of integrations that exist.
        environ: For `env.NAME`.
        variables: `--var` values, which go before a `variable` block's own.

    Raises:
        ConfigError: It has faults; all of them are in its `complaints`.
    """
    complaints = Complaints()
    ignored: dict[str, int] = {}
    found: dict[str, list[Block]] = {kind: [] for kind in _OURS}
    for path in find_files(paths, complaints):
        for block in read_blocks(path, _OURS, complaints, ignored):
            if _labels_fit(block, complaints):
                found[block.type].append(block)
    for kind in _OURS:
        found[kind] = _unique(found[kind], complaints)
    names = read_variables(found["variable"], BlockReader(Names(environ), complaints), variables or {})
    reader = BlockReader(names, complaints)
    secrets: set[tuple[str, ...]] = set()
    bridge = _single(found["bridge"], BridgeSettings, reader, secrets)
    log = _single(found["log"], LogSettings, reader, secrets)
    bus, bus_places = read_bus(found["bus"][0], reader, secrets) if found["bus"] else (BusSettings(), {})
    names.hidden.clear()  # what those blocks say is of the sidecar itself, and is to be seen
    integrations = {block.labels[0]: read_integration(block, reader, adapters) for block in found["integration"]}
    routes = [read_route(block, reader, integrations) for block in found["route"]]
    subscriptions = [read_subscription(block, reader, integrations) for block in found["subscription"]]
    check_same_place(filter(None, subscriptions), complaints)
    if complaints:
        complaints.fail()
    return Configuration(
        bridge=bridge or BridgeSettings(),
        log=log or LogSettings(),
        bus=bus or BusSettings(),
        integrations={name: integration for name, integration in integrations.items() if integration},
        routes=tuple(route for route in routes if route),
        subscriptions=tuple(subscription for subscription in subscriptions if subscription),
        ignored=dict(sorted(ignored.items())),
        warnings=(*_warnings(ignored), *_unsafe(integrations)),
        secrets=frozenset(secrets),
        bus_places=bus_places,
        hidden=hidden(filter(None, integrations.values()), names.hidden),
    )


def _labels_fit(block: Block, complaints: Complaints) -> bool:
    if block.type in _SINGLE and block.labels:
        complaints.add(block.where, str(block), f"takes no label; write `{block.type} {{ … }}`")
        return False
    if block.type in _LABELLED and len(block.labels) != 1:
        complaints.add(block.where, str(block), f'takes one label; write `{block.type} "name" {{ … }}`')
        return False
    return True


def _unique(blocks: list[Block], complaints: Complaints) -> list[Block]:
    first: dict[tuple[str, ...], Block] = {}
    for block in blocks:
        earlier = first.setdefault(block.labels, block)
        if earlier is not block:
            complaints.add(block.where, str(block), f"given twice; the first is at {earlier.where}")
    return list(first.values())


def _single(
    blocks: list[Block], model: type[Model], reader: BlockReader, secrets: set[tuple[str, ...]]
) -> Model | None:
    if not blocks:
        return None
    block = blocks[0]
    data = reader.data(block, model, block.type)
    secrets.update((block.type, *key) for key in data.secret)
    return reader.model(model, data, data.values)


def _warnings(ignored: Mapping[str, int]) -> list[str]:
    found = [(kind, near(kind, _OURS)) for kind in sorted(ignored)]
    return [f"`{kind}` was left alone, it is none of the bridge's blocks{hint}" for kind, hint in found if hint]


def _unsafe(integrations: Mapping[str, Integration | None]) -> list[str]:
    return [
        f'{one.where}: integration "{one.id}" > tls: {warning}'
        for one in integrations.values()
        if one is not None
        for warning in one.tls.warnings
    ]
