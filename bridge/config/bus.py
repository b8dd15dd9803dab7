"""Read the `bus` block: the addresses of the bus, and the keys of a closed one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.config.blocks import BlockReader, Data, anchored
from bridge.config.models import BusSettings, CurveSettings
from bridge.config.syntax import Block
from bridge.core.curve_keys import read_access_list, read_pair, read_public
from bridge.core.diagnostic import Code, Location
from bridge.core.errors import KeyFileError


def read_bus(
    block: Block, reader: BlockReader, secret_keys: set[tuple[str, ...]]
) -> tuple[BusSettings | None, dict[str, Location]]:
    """Read the block.

    Args:
        block: The `bus` block.
        reader: Reads blocks; takes the diagnostics.
        secret_keys: Takes the keys whose value came from the environment.

    Returns:
        The settings, None where they are faulty; and the location of each key.
    """
    data = reader.data(block, BusSettings, block.type)
    secret_keys.update((block.type, *key) for key in data.secret_keys)
    values: dict[str, Any] = dict(data.values)
    for key in ("publish", "subscribe"):
        text = values.get(key)
        if isinstance(text, str) and text.startswith("ipc://") and not text.startswith(("ipc:///", "ipc://@")):
            try:
                values[key] = "ipc://" + anchored(text.removeprefix("ipc://"), data.location((key,)))
            except ValueError as error:
                location = data.location((key,))
                reader.diagnostics.add(location, f"bus > {key}", str(error), code=Code.INVALID_ADDRESS)
    bus = reader.model(BusSettings, data, values)
    if bus is not None and bus.curve is not None and not data.placeholders:
        _check_keys(bus.mode, bus.curve, data, reader)
    return bus, {key[0]: location for key, location in data.locations.items() if len(key) == 1}


def _check_keys(mode: str, curve: CurveSettings, data: Data, reader: BlockReader) -> None:
    """Check that each key file is valid, and that the mode has the files it needs and no others."""

    def report(key: str, message: str, code: Code) -> None:
        reader.diagnostics.add(data.location(("curve", key)), f"bus > curve > {key}", message, code=code)

    def try_out(key: str, read: Callable[[Path], object], path: Path | None) -> None:
        if path is not None:
            try:
                read(path)
            except KeyFileError as error:
                report(key, str(error), Code.UNUSABLE_FILE)

    wanted, other = ("authorized_keys", "server_key") if mode == "host" else ("server_key", "authorized_keys")
    if getattr(curve, wanted) is None and not data.is_consequence(("curve", wanted), missing=True):
        report(wanted, f'is missing; with `mode = "{mode}"` a bus needs it', Code.MISSING_KEY)
    if getattr(curve, other) is not None:
        report(other, f'is not used with `mode = "{mode}"`; leave it out', Code.CONFLICTING_KEYS)
    try_out("secret_key", read_pair, curve.secret_key)
    try_out("authorized_keys", read_access_list, curve.authorized_keys)
    try_out("server_key", read_public, curve.server_key)
