"""The command `nemo-bridge check`."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bridge.cli.exit_codes import ExitCode
from bridge.cli.sidecar import read
from bridge.cli.terminal import failure, say
from bridge.config import Configuration
from bridge.core.clock import RealClock
from bridge.core.diagnostic import Code, Diagnostic
from bridge.core.errors import BusError, ConfigError
from bridge.core.printable import printable
from bridge.core.redaction import Redactor
from bridge.core.setup import setup_of


def check(files: Sequence[Path], pairs: Sequence[str], *, connect: bool, strict: bool, as_json: bool) -> ExitCode:
    """Check a configuration; print what is wrong with it on standard error, and a summary.

    Args:
        files: HCL files, or directories of them.
        pairs: Variables, as `NAME=VALUE`.
        connect: Also try each endpoint, and print whether it can be reached.
        strict: Warnings are as bad as errors.
        as_json: Print nothing but errors and warnings, as JSON on standard output.

    Returns:
        `ExitCode.INVALID` where there are errors, `ExitCode.FAILED` where an endpoint fails.

    Raises:
        ConfigError: The configuration has errors, and they are not printed as JSON.
        typer.Exit: There are warnings, and the check is strict.
    """
    try:
        configuration = read(files, pairs)
        check_adapters(configuration)
    except ConfigError as error:
        if not as_json:
            raise
        say(_to_json(error.diagnostics))
        return ExitCode.INVALID
    if as_json:
        return _check_as_json(configuration, connect=connect, strict=strict)
    if configuration.warnings:
        from bridge.cli.complaints import show  # noqa: PLC0415

        show(configuration.warnings)
    if strict and configuration.warnings:
        raise failure("with --strict, a warning is an error", ExitCode.INVALID)
    say(
        f"ok: {_count(len(configuration.integrations), 'integration')}, {_count(len(configuration.routes), 'route')}, "
        f"{_count(len(configuration.subscriptions), 'subscription')}"
        + (f", {_count(len(configuration.fabrics), 'fabric')}" if configuration.fabrics else "")
        + (f", {_count(len(configuration.cases), 'test')}" if configuration.cases else "")
    )
    if connect:
        return _connect(configuration, partial(_show_integrations, configuration))
    _show_integrations(configuration, None)
    return ExitCode.OK


def _check_as_json(configuration: Configuration, *, connect: bool, strict: bool) -> ExitCode:
    """Print warnings, and endpoints that fail, as JSON; return the exit code."""
    warnings = list(configuration.warnings)

    def show_all(failures: Mapping[str, str | None]) -> None:
        found = [
            Diagnostic(configuration.integrations[name].location, f'integration "{name}"', reason, Code.NOT_CONNECTED)
            for name, reason in failures.items()
            if reason
        ]
        say(_to_json(sorted([*warnings, *found])))

    if connect and not (strict and warnings):
        return _connect(configuration, show_all)
    show_all({})
    return ExitCode.INVALID if strict and warnings else ExitCode.OK


def _to_json(diagnostics: Sequence[Diagnostic]) -> str:
    from bridge.cli.complaints import as_json  # noqa: PLC0415 - most configurations have nothing to complain about

    return as_json(diagnostics)


def _connect(configuration: Configuration, report: Callable[[Mapping[str, str | None]], None]) -> ExitCode:
    """Connect to all endpoints, report for each integration what failed, or None, and return the exit code.

    It is reported before the event loop is closed, which may hang.
    """
    from bridge.cli.probe import probe  # noqa: PLC0415 - only `--connect` needs an event loop
    from bridge.cli.process import Process  # noqa: PLC0415

    with Process() as process:
        # What other nodes offer can be asked for only by a bridge that has joined the fabric.
        own = [one for one in configuration.integrations.values() if not one.is_used]
        failures = process.run(probe(own, Redactor(configuration.secrets)))
        report(failures)
        process.exit_code = code = ExitCode.FAILED if any(failures.values()) else ExitCode.OK
    return code


def _show_integrations(configuration: Configuration, failures: Mapping[str, str | None] | None) -> None:
    """Print each integration, and where `failures` is given whether it could be reached."""
    for name, one in configuration.integrations.items():
        state = "" if failures is None or one.is_used else f"  {printable(failures[name] or 'connected')}"
        say(f"  {name}: {'offered by other nodes' if one.is_used else one.type}{state}")
    for name, fabric in configuration.fabrics.items():
        say(f'  fabric "{name}": node {fabric.node}, over {fabric.integration}')
    if configuration.ignored:
        blocks = ", ".join(f"{name} ({count})" for name, count in sorted(configuration.ignored.items()))
        say(f"ignored, because they do not belong to the bridge: {blocks}")


def check_adapters(configuration: Configuration) -> None:
    """Create every adapter without connecting it, and check the bus addresses: settings may be wrong only together.

    Raises:
        ConfigError: With all errors of the adapters and the bus, and all warnings.
    """
    diagnostics: list[Diagnostic] = []
    bus = configuration.bus
    for key, endpoint in (("publish", bus.publish), ("subscribe", bus.subscribe)):
        if endpoint is not None:
            from bridge.bus import parse_endpoint  # noqa: PLC0415 - it needs ZeroMQ, and most files have no `bus` block

            try:
                parse_endpoint(endpoint, closed=bus.curve is not None)
            except BusError as error:
                location = configuration.bus_locations[key]
                diagnostics.append(Diagnostic(location, f"bus > {key}", str(error), Code.INVALID_ADDRESS))
    redactor = Redactor(configuration.secrets)
    clock, rng = RealClock(), random.Random()  # noqa: S311 - jitter needs no secrecy
    for one in configuration.integrations.values():
        if one.is_used:  # it has no settings of its own
            continue
        try:
            one.spec.create(setup_of(one, clock=clock, random=rng))
        except ValueError as error:
            subject, message = f'integration "{one.id}"', redactor.text(str(error))
            diagnostics.append(Diagnostic(one.location, subject, message, Code.INVALID_SETTINGS))
    if diagnostics:
        raise ConfigError(sorted([*diagnostics, *configuration.warnings]))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
