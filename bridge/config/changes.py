"""Find what changes from one configuration to another, key by key, for the plan of a reload.

A value is compared as it is and shown with secrets masked, so that a secret that has changed is reported and neither of
its values is. A file counts as changed when its content has changed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import SecretStr

from bridge.config.expressions import Expression
from bridge.config.models import Configuration, FabricSettings, Integration, Route, SubscriptionSettings
from bridge.config.show import INTEGRATION_PARTS, MASK, SINGLE_BLOCKS, Source, key_of, masked, masked_integration
from bridge.core.payloads import Changes, Reloaded
from bridge.core.payloads.reload import BlockValues, KeyChanges, RestartBlock

Versions = Mapping[str, object]
"""Files by their paths, each with a value that changes with the file's content."""

#: The most blocks of one kind that a summary names.
_MOST_LINES: Final = 20
#: The most characters that are shown of one value.
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True)
class Value:
    """The value of one key.

    Attributes:
        shown: JSON that a person may see: secrets masked, in the units of a file, expressions as text.
        exact: What is compared.
        is_file: Whether it is the path of a file.
    """

    shown: Any
    exact: Any = field(repr=False)
    is_file: bool = False


Blocks = Mapping[str, Mapping[str, Value]]
"""Blocks by label, each with the values of its keys; a key inside of a block has a dot: `resilience.timeout`."""


class Snapshot(msgspec.Struct, frozen=True):
    """All values of a configuration, ready to be compared with those of another one.

    Attributes:
        integrations: The `integration` blocks.
        routes: The `route` blocks.
        subscriptions: The `subscription` blocks.
        fabrics: The `fabric` blocks.
        settings: The blocks `bridge`, `log` and `bus`.
    """

    integrations: Blocks
    routes: Blocks
    subscriptions: Blocks
    fabrics: Blocks
    settings: Blocks

    @classmethod
    def of(
        cls,
        configuration: Configuration,
        versions: Mapping[str, Versions] | None = None,
        base: Path | None = None,
        *,
        own: Versions | None = None,
    ) -> "Snapshot":
        """Return the values of a configuration.

        Args:
            configuration: The configuration.
            versions: For each integration, the files that it names.
            base: A directory; a file inside of it is the same as one at the same place in the `base` of another
                snapshot. None to compare paths as they are.
            own: The files that the blocks of the bridge itself name.
        """
        shown = masked(configuration)
        files = {name: _Files(found, base) for name, found in (versions or {}).items()}
        unknown, settings_files = _Files({}, base), _Files(own or {}, base)
        return cls(
            integrations={
                name: dict(_of_integration(one, shown["integration"][name], files.get(name, unknown)))
                for name, one in configuration.integrations.items()
                if not one.is_used
            },
            routes={one.name: dict(_fields(one, shown["route"][one.name])) for one in configuration.routes},
            subscriptions={
                one.name: dict(_fields(one, shown["subscription"][one.name])) for one in configuration.subscriptions
            },
            fabrics={name: dict(_fields(one, shown["fabric"][name])) for name, one in configuration.fabrics.items()},
            settings={
                name: dict(_values(_plain(getattr(configuration, name)), shown[name], settings_files))
                for name in SINGLE_BLOCKS
            },
        )

    @classmethod
    def from_shown(
        cls,
        *,
        integrations: BlockValues,
        routes: BlockValues,
        subscriptions: BlockValues,
        fabrics: BlockValues,
        settings: BlockValues,
    ) -> "Snapshot":
        """Return the values of which only what may be shown is known, as from `bridge.configuration`."""
        return cls(
            integrations=_known_as_shown(integrations),
            routes=_known_as_shown(routes),
            subscriptions=_known_as_shown(subscriptions),
            fabrics=_known_as_shown(fabrics),
            settings=_known_as_shown(settings),
        )

    def as_shown(self) -> "Snapshot":
        """Return the same without what may not be shown, to be compared with one that was made by `from_shown`."""
        return Snapshot.from_shown(
            integrations=shown_values(self.integrations),
            routes=shown_values(self.routes),
            subscriptions=shown_values(self.subscriptions),
            fabrics=shown_values(self.fabrics),
            settings=shown_values(self.settings),
        )

    @property
    def used(self) -> dict[str, str]:
        """Return the integrations of other nodes that the bridge uses, each with its fabric."""
        return {
            str(label): fabric
            for fabric, values in self.fabrics.items()
            if "use" in values and isinstance(values["use"].exact, list | tuple)
            for label in values["use"].exact
        }


def shown_integration(integration: Integration) -> dict[str, Any]:
    """Return what may be shown of an integration's values, by their keys."""
    values = _of_integration(integration, masked_integration(integration), _Files({}, None))
    return {key: value.shown for key, value in values}


def shown_values(blocks: Blocks) -> BlockValues:
    """Return what may be shown of the values of some blocks."""
    return {name: {key: value.shown for key, value in values.items()} for name, values in blocks.items()}


def plan_of(old: Snapshot, new: Snapshot, pending: Mapping[str, int] | None = None) -> Reloaded:
    """Return what changes from one configuration to another.

    Args:
        old: The configuration before.
        new: The configuration after.
        pending: How many events wait in the outbox, by integration.
    """
    integrations = _changes(old.integrations, new.integrations)
    before, after = old.integrations.keys() | old.used.keys(), new.integrations.keys() | new.used.keys()
    subscriptions = _changes(old.subscriptions, new.subscriptions)
    settings = _changes(old.settings, new.settings).changed
    moved = {name for name, fabric in new.used.items() if old.used.get(name) != fabric}
    touched = {*integrations.changed, *moved, *_owners(old, subscriptions), *_owners(new, subscriptions)}
    touched |= before & after & (old.used.keys() - new.used.keys())
    stay = before & after
    blocks: tuple[RestartBlock, ...] = ("bridge", "log", "bus")
    return Reloaded(
        added=sorted(after - before),
        changed=sorted(stay & touched),
        removed=sorted(before - after),
        unchanged=sorted(stay - touched),
        integrations=integrations,
        routes=_changes(old.routes, new.routes),
        subscriptions=subscriptions,
        fabrics=_changes(old.fabrics, new.fabrics),
        needs_restart=[name for name in blocks if name in settings],
        settings=settings,
        stranded={name: count for name, count in sorted((pending or {}).items()) if count and name not in after},
    )


def summary(plan: Reloaded) -> dict[str, list[str]]:
    """Return a plan in short, for the log: `{"routes": ["+ orders", "~ payments: where, method"]}`.

    What does not change is left out.
    """
    found = {}
    for kind in ("integrations", "routes", "subscriptions", "fabrics"):
        changes: Changes = getattr(plan, kind)
        lines = [f"+ {name}" for name in changes.added] + [f"- {name}" for name in changes.removed]
        lines += [f"~ {name}: {', '.join(keys)}" for name, keys in changes.changed.items()]
        if len(lines) > _MOST_LINES:
            lines[_MOST_LINES:] = [f"… and {len(lines) - _MOST_LINES} more"]
        if lines:
            found[kind] = lines
    if plan.settings:
        found["needs_restart"] = [f"{name}: {', '.join(keys)}" for name, keys in plan.settings.items()]
    if plan.stranded:
        found["stranded"] = [f"{name}: {count}" for name, count in plan.stranded.items()]
    return found


def without_values(plan: Reloaded) -> Reloaded:
    """Return a plan that names the keys that change without their values: those are too long for one answer."""

    def names(changed: Mapping[str, KeyChanges]) -> dict[str, KeyChanges]:
        return {name: {key: ["…", "…"] for key in keys} for name, keys in changed.items()}

    def only_names(changes: Changes) -> Changes:
        return Changes(added=changes.added, removed=changes.removed, changed=names(changes.changed))

    return Reloaded(
        added=plan.added,
        changed=plan.changed,
        removed=plan.removed,
        unchanged=plan.unchanged,
        integrations=only_names(plan.integrations),
        routes=only_names(plan.routes),
        subscriptions=only_names(plan.subscriptions),
        fabrics=only_names(plan.fabrics),
        needs_restart=plan.needs_restart,
        settings=names(plan.settings),
        stranded=plan.stranded,
    )


def _plain(model: Any) -> Any:
    """Return the values of a block as plain data; secrets are still `SecretStr`."""
    return None if model is None else model.model_dump(mode="python", by_alias=True, exclude_none=True)


class _Files(msgspec.Struct, frozen=True):
    """The files that a block names, and the directory at which their paths begin; see `Snapshot.of`."""

    versions: Versions
    base: Path | None

    def place(self, path: Path) -> Path:
        """Return the path from the base; all of it where it is not inside."""
        return path if self.base is None or not path.is_relative_to(self.base) else path.relative_to(self.base)

    def exact(self, value: Any) -> Any:
        """Return a value in which each path has the version of its file beside it."""
        if isinstance(value, Path):
            return (self.place(value), self.versions.get(str(value)))
        if isinstance(value, dict):
            return {key: self.exact(one) for key, one in value.items()}
        if type(value) in {list, tuple}:
            return type(value)(map(self.exact, value))
        return value


def _values(exact: Any, shown: Any, files: _Files, prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Yield the keys of a block with their values; an empty block and a value that is null yield nothing."""
    if isinstance(exact, dict) and (isinstance(shown, dict) or not exact):
        for key, value in exact.items():
            yield from _values(value, shown.get(str(key), MASK), files, _inner(prefix, key))
        if isinstance(shown, dict):  # a secret that is not known here has no value, and is there all the same
            for key in (key for key, value in shown.items() if value == MASK and key not in exact):
                yield _inner(prefix, key), Value(MASK, None)
    elif exact is not None:
        if isinstance(exact, SecretStr):
            shown = MASK
        elif isinstance(exact, Path) and shown != MASK:
            shown = str(files.place(exact))
        yield prefix, Value(_short(shown), files.exact(exact), is_file=isinstance(exact, Path))


def _of_integration(integration: Integration, shown: Mapping[str, Any], files: _Files) -> Iterator[tuple[str, Value]]:
    """Yield the keys of an integration with their values."""
    parts = {part: _plain(getattr(integration, part)) for part in INTEGRATION_PARTS}
    return _values({"type": integration.type} | parts, shown, files)


def _inner(prefix: str, key: object) -> str:
    return f"{prefix}.{key}" if prefix else str(key)


def _fields(
    settings: Route | SubscriptionSettings | FabricSettings, shown: Mapping[str, Any]
) -> Iterator[tuple[str, Value]]:
    """Yield the keys of a route, a subscription or a fabric."""
    for attribute in settings.__struct_fields__:
        name = key_of(attribute)
        if name not in shown:
            continue
        value, visible = getattr(settings, attribute), shown[name]
        if isinstance(value, Expression):
            visible = value.resolved if isinstance(visible, Source) else visible
            value = value.signature
        yield name, Value(_short(visible), value)


def _short(value: Any) -> Any:
    """Return a value that may be shown; of a long one only its beginning, as text."""
    if isinstance(value, bool | int | float):
        return value
    text = str(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > _LONGEST:
        return f"{text[:_LONGEST]}… ({len(text)} characters)"
    return text if isinstance(value, str) else json.loads(text)


def _known_as_shown(blocks: BlockValues) -> Blocks:
    return {name: {key: Value(value, value) for key, value in values.items()} for name, values in blocks.items()}


def _changes(old: Blocks, new: Blocks) -> Changes:
    changed = {}
    for name in sorted(old.keys() & new.keys()):
        before, after = old[name], new[name]
        keys = list(dict.fromkeys((*after, *before)))
        found = {
            key: _pair(before.get(key), after.get(key)) for key in keys if _differ(before.get(key), after.get(key))
        }
        if found:
            changed[name] = found
    return Changes(added=sorted(new.keys() - old.keys()), removed=sorted(old.keys() - new.keys()), changed=changed)


def _differ(before: Value | None, after: Value | None) -> bool:
    if before is None or after is None:
        return before is not after
    return not _same(before.exact, after.exact)


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are the same on every wire: `1`, `1.0` and `true` are not."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _pair(before: Value | None, after: Value | None) -> list[Any]:
    pair = [None if before is None else before.shown, None if after is None else after.shown]
    if after is not None and after.is_file and pair[0] == pair[1] != MASK:
        pair[1] = f"{pair[1]} (its content has changed)"
    return pair


def _owners(snapshot: Snapshot, subscriptions: Changes) -> Iterator[str]:
    """Yield the integrations of the subscriptions that change."""
    for name in (*subscriptions.added, *subscriptions.removed, *subscriptions.changed):
        if name in snapshot.subscriptions:
            yield str(snapshot.subscriptions[name]["integration"].exact)
