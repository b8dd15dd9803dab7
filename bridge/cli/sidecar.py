"""The command `nemo-bridge run`, and the reading of the configuration for it and others."""

import asyncio
import gc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.cli.exit_codes import ExitCode
from bridge.cli.process import Process
from bridge.cli.stand_ins import hint
from bridge.config import Configuration, load
from bridge.core.diagnostic import Code, Diagnostic, Location
from bridge.core.errors import ConfigError
from bridge.core.redaction import Redactor
from bridge.registry import AdapterRegistry

if TYPE_CHECKING:
    from bridge.config.watch import FolderState


def _variables(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    wrong: list[Diagnostic] = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if equals and name:
            found[name] = value
        else:
            wrong.append(Diagnostic(Location("--var"), name, "write it as NAME=VALUE", Code.UNKNOWN_VARIABLE))
    if wrong:
        raise ConfigError(wrong)
    return found


def read(
    files: Sequence[Path], pairs: Sequence[str] = (), *, with_placeholders: bool = False, faults: Path | None = None
) -> Configuration:
    """Load a configuration with the installed adapters and this process' environment.

    Args:
        files: HCL files, or directories of them.
        pairs: Variables, as `NAME=VALUE`.
        with_placeholders: See `bridge.config.load`.
        faults: See `bridge.config.load`.

    Raises:
        ConfigError: With all diagnostics at once.
    """
    return load(
        files,
        adapters=AdapterRegistry(),
        variables=_variables(pairs),
        environ=os.environ,
        with_placeholders=with_placeholders,
        faults=faults,
    )


def run(files: Sequence[Path], pairs: Sequence[str], *, watch: bool) -> None:
    """Run the sidecar until a signal or the application ends it.

    Args:
        files: HCL files, or directories of them.
        pairs: Variables, as `NAME=VALUE`.
        watch: Whether to reload when the files have changed.
    """
    load_again = partial(read, files, pairs)
    seen = _state_of(files) if watch else None  # before they are read, so that no change is missed
    configuration = load_again()
    # All objects so far stay. A burst of events makes many objects that live until they are answered. If Python's
    # garbage collector looked through them as often as by default, this would cost a third of the throughput.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    from bridge.observe import logs  # noqa: PLC0415 - errors in the configuration are reported before the rest is imported

    redactor = Redactor(configuration.secrets)
    logs.configure(configuration.log.level, configuration.log.format, redactor)
    with Process(_loop_factory()) as process:
        stand_in = shlex.join(["nemo-bridge", "mock", *map(str, files), *(f"--var={pair}" for pair in pairs)])
        process.run(_serve(configuration, load_again, files, seen, redactor, process, stand_in))
        process.exit_code = ExitCode.OK


def _state_of(files: Sequence[Path]) -> "FolderState":
    from bridge.config.watch import files_state  # noqa: PLC0415 - only `--watch` needs it

    return files_state(files)


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - there is none on Windows

    return uvloop.Loop


async def _serve(
    configuration: Configuration,
    load_again: "partial[Configuration]",
    files: Sequence[Path],
    seen: "FolderState | None",
    redactor: Redactor,
    process: Process,
    stand_in: str,
) -> None:
    from bridge.core.clock import RealClock  # noqa: PLC0415
    from bridge.gateway import LONGEST_CLOSE, IntegrationGateway  # noqa: PLC0415

    clock = RealClock()
    seconds = configuration.bridge.drain_timeout + LONGEST_CLOSE
    limit_end = partial(process.end_within, seconds, ExitCode.FAILED, f"stopping took longer than {seconds:g} s")
    gateway = IntegrationGateway(
        configuration, load=load_again, files=files, watch=seen, clock=clock, redactor=redactor, on_end=limit_end
    )
    loop = asyncio.get_running_loop()
    signals: list[str] = []

    # Not `loop.add_signal_handler`: it would not get the signal while the event loop hangs.
    def on_signal(number: int, _: object) -> None:
        name = signal.Signals(number).name
        signals.append(name)
        if len(signals) > 1:
            process.end_within(0, 128 + number, f"{name}, after {signals[0]}")
            return
        limit_end()
        if not loop.is_closed():
            loop.call_soon_threadsafe(gateway.stop, name)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, gateway.reload_soon)
    with clock.steady():
        hinting = loop.create_task(hint(configuration.integrations.values(), gateway.status, stand_in, clock))
        try:
            await gateway.run()
        finally:
            hinting.cancel()
