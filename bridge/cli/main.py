"""`nemo-bridge`: the commands, their arguments, and how their failures look to a person: one line, no traceback."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bridge import __version__
from bridge.cli import dead_letters, keys
from bridge.cli.options import ConfigFile, KeyFile, PublishTo, ServerKeyFile, SubscribeTo
from bridge.core.curve_keys import KeyFileError
from bridge.core.errors import BridgeError, BusError, ConfigError, OutboxError

app = typer.Typer(
    name="nemo-bridge",
    help="The sidecar between a Nemo application's event bus and the outside world.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(keys.app, name="keys")

Files = Annotated[list[Path], typer.Argument(help="HCL files, or directories of *.hcl.", metavar="FILE…")]
Variables = Annotated[list[str], typer.Option("--var", help="Value of a variable, as in api_url=https://…")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"nemo-bridge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
def run(files: Files, var: Variables = []) -> None:  # noqa: B006 - typer copies it
    """Run the sidecar until SIGTERM, Ctrl-C or the application's `system.shutdown`."""
    from bridge.cli import sidecar  # noqa: PLC0415 - each command pays only for what it needs

    sidecar.run(files, var)


@app.command()
def check(
    files: Files,
    var: Variables = [],  # noqa: B006 - typer copies it
    connect: Annotated[bool, typer.Option("--connect", help="Also try each endpoint and its credentials.")] = False,
) -> None:
    """Check a configuration; print every fault at once and exit with 2 if there are any.

    Nothing is connected to, unless --connect asks for it; an endpoint that fails then makes it exit with 1.
    """
    from bridge.cli import sidecar  # noqa: PLC0415

    raise typer.Exit(sidecar.check(files, var, connect=connect))


@app.command()
def adapters() -> None:
    """List the adapters with their operations, kinds of auth and configuration keys."""
    from bridge.cli import adapters as listing  # noqa: PLC0415

    listing.show()


@app.command()
def emit(
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="As in order.created.")],
    payload: Annotated[str, typer.Argument(metavar="JSON", help='As in {"id": 7}; "-" reads standard input.')] = "null",
    correlation_id: Annotated[str | None, typer.Option(help="Ask for a response with this id.")] = None,
    header: Annotated[list[str], typer.Option(help="As in traceparent=00-….")] = [],  # noqa: B006
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Put one event on the bus."""
    from bridge.cli import talk  # noqa: PLC0415

    talk.emit(talk.Place(config, publish, subscribe, key_file, server_key), event_type, payload, correlation_id, header)


@app.command()
def call(
    integration: Annotated[str, typer.Argument(help="The integration's label.")],
    method: Annotated[str, typer.Argument(help="The remote's method.")],
    params: Annotated[str, typer.Argument(metavar="JSON", help="An array or an object; none by default.")] = "",
    timeout: Annotated[str, typer.Option(help="Total time, retries included.")] = "30s",
    key: Annotated[str | None, typer.Option(help="Idempotency key: the call may be repeated safely.")] = None,
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Call a method through the bridge and print its result as JSON; exits with 1 if it fails."""
    from bridge.cli import talk  # noqa: PLC0415

    talk.call(talk.Place(config, publish, subscribe, key_file, server_key), integration, method, params, timeout, key)


@app.command()
def status(
    json: Annotated[bool, typer.Option("--json", help="The answer of `bridge.status` as one JSON object.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second until interrupted.")] = False,
    timeout: Annotated[str, typer.Option(help="How long to wait for the bridge.")] = "5s",
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Show how the bridge and its integrations are.

    Exits with 0 if all is well, with 1 if anything is not, with 2 if no bridge answers.
    """
    from bridge.cli import status as view  # noqa: PLC0415
    from bridge.cli import talk  # noqa: PLC0415

    place = talk.Place(config, publish, subscribe, key_file, server_key)
    raise typer.Exit(view.status(place, as_json=json, watch=watch, timeout=timeout))


@app.command()
def tap(
    patterns: Annotated[list[str], typer.Argument(metavar="PATTERN…", help="As in health.* or order.**.")] = ["**"],  # noqa: B006
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
    count: Annotated[int, typer.Option(help="Leave after so many events; 0: never.")] = 0,
    record: Annotated[Path | None, typer.Option(help="Also append them to this file, in MessagePack.")] = None,
    replay: Annotated[Path | None, typer.Option("--from", help="Show a recording in place of the bus.")] = None,
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Show the events on the bus as they pass."""
    from bridge.cli import talk  # noqa: PLC0415

    place = talk.Place(config, publish, subscribe, key_file, server_key)
    talk.tap(place, patterns, as_json=json, count=count, record=record, replay=replay)


app.add_typer(dead_letters.app, name="dead-letters")


@app.command()
def demo() -> None:
    """Show all of it in 20 seconds: a call, a dead remote, retries, the circuit breaker, and recovery."""
    from bridge.cli import demo as show  # noqa: PLC0415

    raise typer.Exit(show.run())


def main() -> None:
    """Run a command; every failure that a person can mend is one line on standard error."""
    try:
        app()
    except ConfigError as error:
        for diagnostic in error.diagnostics:
            typer.echo(diagnostic, err=True)
        sys.exit(2)
    except (BusError, OutboxError, BridgeError, KeyFileError) as error:
        typer.echo(f"nemo-bridge: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
