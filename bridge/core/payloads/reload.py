"""Payloads of `response.bridge.reload` and `response.bridge.configuration`."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from bridge.core.model import UInt
from bridge.core.payloads.base import Payload

RestartBlock = Literal["bridge", "log", "bus"]

KeyChange = Annotated[list[Any], Meta(min_length=2, max_length=2)]
"""The value before and the value after."""
KeyChanges = dict[str, KeyChange]
"""The keys of one block that change; a key inside of a block has a dot: `resilience.timeout`."""


class Changes(Payload, frozen=True):
    """What changes in the blocks of one kind.

    Attributes:
        added: Blocks that are new.
        removed: Blocks that are gone.
        changed: Blocks that are in both, with the keys that change: `{"resilience.timeout": ["2s", "5s"]}`. Values are
            written as in a file, expressions as text. A key that one side lacks is null there. A secret is `"***"` on
            both sides.
    """

    added: list[str]
    removed: list[str]
    changed: dict[str, KeyChanges]


class Reloaded(Payload, frozen=True):
    """What reloading the configuration has changed; with `dry_run`, what it would change.

    Attributes:
        added: Integrations that were added; those that a `fabric` block uses, too.
        changed: Integrations that were changed: their blocks, their subscriptions, files that they name, or the fabric
            over which they are used.
        removed: Integrations that were removed.
        unchanged: Integrations that stay as they were.
        integrations: What changes in `integration` blocks.
        routes: What changes in `route` blocks.
        subscriptions: What changes in `subscription` blocks.
        fabrics: What changes in `fabric` blocks.
        needs_restart: Blocks that have changed, too, but take effect only at the next start.
        settings: The changed keys of these blocks.
        stranded: How many events wait in the outbox for each integration that does not exist then. They stay there
            until an integration of that name is back.
    """

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]
    integrations: Changes
    routes: Changes
    subscriptions: Changes
    fabrics: Changes
    needs_restart: list[RestartBlock]
    settings: dict[str, KeyChanges]
    stranded: dict[str, UInt]


BlockValues = dict[str, dict[str, Any]]
"""The values of the keys of blocks, by the label of the block."""


class LoadedConfiguration(Payload, frozen=True):
    """The configuration with which the bridge runs: all keys with their values, defaults too, secrets as `"***"`.

    Attributes:
        files: The files and directories from which it was read; empty where it did not come from files.
        integrations: The `integration` blocks by label, each with its keys; one inside of a block has a dot.
        routes: The `route` blocks by label.
        subscriptions: The `subscription` blocks by label.
        fabrics: The `fabric` blocks by label.
        settings: The blocks `bridge`, `log` and `bus`.
        pending: How many events wait in the outbox, by integration.
    """

    files: list[str]
    integrations: BlockValues
    routes: BlockValues
    subscriptions: BlockValues
    fabrics: BlockValues
    settings: BlockValues
    pending: dict[str, UInt]
