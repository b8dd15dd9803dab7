"""Define the command line `nemo-bridge`: its commands and their arguments. Errors are one line, without a traceback."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from bridge import __version__
from bridge.cli import completion, dead_letters, fleet, keys, terminal
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import ConfigFile, KeyFile, PublishTo, ServerKeyFile, SubscribeTo, examples, only, unwrap_help
from bridge.core.errors import (
    BridgeError,
    BusError,
    ConfigError,
    InvalidError,
    KeyFileError,
    NoBusError,
    OutboxError,
)

app = typer.Typer(
    name="nemo-bridge",
    cls=terminal.Commands,
    help="The sidecar that connects a Nemo application's event bus with services and message brokers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(keys.app, name="keys")

Files = Annotated[list[Path], typer.Argument(help="HCL files, or directories of `*.hcl`.", metavar="FILE")]
Variables = Annotated[
    list[str],
    typer.Option(
        "--var", metavar="NAME=VALUE", help="The value of a variable, such as api_url=https://…; may be repeated."
    ),
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"nemo-bridge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog=examples("nemo-bridge init", "nemo-bridge init nats --into bridge.hcl"))
def init(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="What to begin with; --list shows all.", autocompletion=completion.recipe_names
        ),
    ] = "json-rpc",
    into: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it: a new file, or a folder. Default: here.")
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="Print the names of all recipes.")] = False,
) -> None:
    """Write a configuration to begin with, and say what to do next. It never overwrites a file."""
    from bridge.cli import init as recipes  # noqa: PLC0415

    if names:
        recipes.show_names()
    else:
        recipes.write(recipe, into)


@app.command(
    epilog=examples(
        "nemo-bridge mock shop.hcl",
        "nemo-bridge mock shop.hcl --fail shop=3 --delay shop=500ms",
        "nemo-bridge mock shop.hcl --answer shop='{\"number\": 7}'",
    )
)
def mock(
    files: Files,
    var: Variables = [],  # noqa: B006 - typer copies it
    fail: Annotated[
        list[str], typer.Option(metavar="NAME[=COUNT]", help="Fail the next calls, as in shop=3, or all of them: shop.")
    ] = [],  # noqa: B006
    delay: Annotated[
        list[str], typer.Option(metavar="NAME=DURATION", help="Wait before each answer, as in shop=500ms.")
    ] = [],  # noqa: B006
    answer: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=JSON", help="Answer this, as in shop='{\"number\": 7}', and not what fits the call."
        ),
    ] = [],  # noqa: B006
    port: Annotated[
        list[str],
        typer.Option(metavar="NAME=PORT", help="Listen at this port of 127.0.0.1, and not where the endpoint is."),
    ] = [],  # noqa: B006
) -> None:
    """Stand in for the JSON-RPC and HTTP remotes of a configuration, to try it without them.

    Each stand-in listens where the endpoint of its integration is, if that is on this machine. It answers plausibly,
    and shows what it gets.
    """
    from bridge.cli import mock as stand_ins  # noqa: PLC0415

    stand_ins.run(files, var, stand_ins.Options(fail, delay, answer, port))


@app.command()
def run(
    files: Files,
    var: Variables = [],  # noqa: B006 - typer copies it
    watch: Annotated[
        bool, typer.Option("--watch", help="Reload when the files change, or certificates and keys that they name.")
    ] = False,
) -> None:
    """Run the sidecar until SIGTERM, Ctrl-C or the application's `system.shutdown`."""
    from bridge.cli import sidecar  # noqa: PLC0415 - each command imports only what it needs

    sidecar.run(files, var, watch=watch)


@app.command(
    epilog=examples(
        "nemo-bridge check shop.hcl",
        "nemo-bridge check bridge.d --var api_url=https://api.example.com",
        "nemo-bridge check --connect shop.hcl",
    )
)
def check(
    files: Files,
    var: Variables = [],  # noqa: B006 - typer copies it
    connect: Annotated[
        bool, typer.Option("--connect", help="Also connect to each endpoint and test the credentials.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 also if there are warnings.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the errors and warnings as a JSON array, for editors.")
    ] = False,
) -> None:
    """Check a configuration; print all its errors and warnings, and exit with 2 if there are errors.

    With --connect, also connect to each endpoint, and exit with 1 if one of them fails.
    """
    from bridge.cli import check as command  # noqa: PLC0415

    raise typer.Exit(command.check(files, var, connect=connect, strict=strict, as_json=json))


@app.command()
def explain(
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE",
            help="The code of an error or warning; by default all are listed.",
            autocompletion=completion.explained_codes,
        ),
    ] = "",
) -> None:
    """Explain what a code such as NB012 means, with an example."""
    from bridge.cli import explain as view  # noqa: PLC0415

    if code:
        view.show(code)
    else:
        view.show_all()


@app.command("test", epilog=examples("nemo-bridge test shop.hcl", "nemo-bridge test shop.hcl -k order --timeline"))
def run_tests(
    files: Files,
    var: Variables = [],  # noqa: B006 - typer copies it
    chosen: Annotated[
        str, typer.Option("-k", metavar="NAME", help="Only the tests with this text in their names.")
    ] = "",
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Show all that happened in each test, also in those that pass.")
    ] = False,
) -> None:
    """Run the `test` blocks of a configuration on virtual time, with stand-ins for remotes. Nothing is connected.

    Exit with 1 if a test fails, and with 2 if the configuration has errors or no test.
    """
    from bridge.cli import simulation  # noqa: PLC0415

    raise typer.Exit(simulation.run_tests(files, var, chosen=chosen, timeline=timeline))


@app.command(
    epilog=examples(
        "nemo-bridge tap --record trace.bin",
        "nemo-bridge simulate shop.hcl --trace trace.bin",
        "nemo-bridge simulate shop.hcl --trace trace.bin --seeds 1000",
    )
)
def simulate(
    files: Files,
    trace: Annotated[Path, typer.Option("--trace", metavar="RECORDING", help="A recording of `tap --record`.")],
    var: Variables = [],  # noqa: B006 - typer copies it
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file of `step` and `remote` blocks that happen, too.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="NUMBER", help="The seed of random faults; with --seeds the first.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="NUMBER", help="Try so many seeds and show the first that breaks an invariant."),
    ] = None,
) -> None:
    """Play a recording of the bus through a configuration on virtual time, and show what happens. Nothing is connected.

    The bridge's own events in the recording are left out. Exit with 1 if an invariant does not hold.
    """
    from bridge.cli import simulation  # noqa: PLC0415

    raise typer.Exit(simulation.simulate(files, var, trace=trace, faults=faults, seed=seed, seeds=seeds))


@app.command(
    epilog=examples(
        "nemo-bridge plan shop.hcl",
        "nemo-bridge plan --json",
        "nemo-bridge plan old.hcl new.hcl --exit-code",
    )
)
def plan(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="New files, or directories of *.hcl; two of them: OLD and NEW."),
    ] = None,
    running: Annotated[
        bool, typer.Option("--running", help="Compare with the running bridge, also if there are two files.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as one JSON object.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 4 if something would change.")] = False,
    var: Variables = [],  # noqa: B006
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="How long to wait for an answer of the bridge, such as 500ms or 2.")
    ] = "30s",
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Show what a reload would change, key by key, and change nothing.

    `plan FILE` compares the running bridge with files, `plan` with the files that it was started with, and
    `plan OLD NEW` two files or directories, without a bridge.
    """
    from bridge.cli import plan as view  # noqa: PLC0415
    from bridge.cli.talk import BusOptions  # noqa: PLC0415

    options = BusOptions(config, publish, subscribe, key_file, server_key)
    changes = view.plan(options, files or [], var, running=running, as_json=json, timeout=timeout)
    if exit_code and changes:
        raise typer.Exit(ExitCode.CHANGES)


@app.command(epilog=examples("nemo-bridge adapters mqtt", "nemo-bridge adapters --json"))
def adapters(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="TYPE",
            help="Only this one, by its `type` in the configuration, such as mqtt.",
            autocompletion=completion.adapter_names,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print an array of JSON objects.")] = False,
) -> None:
    """Show the adapters: operations, kinds of auth, ports, and configuration keys with their defaults.

    With --json, an adapter has the keys `type`, `summary`, `operations`, `auth`, `endpoint` and `config`. `endpoint`
    has for each URL scheme its `port`, `tls` and `operations`; it is null where there is no remote. Each key of
    `config` has `key`, `type`, `required`, `default` and `description`. An adapter that cannot be loaded has `type` and
    `error`.
    """
    from bridge.cli import adapters as listing  # noqa: PLC0415

    raise typer.Exit(listing.show(name, as_json=json))


@app.command()
def schema(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name of --list, or an event type.",
            autocompletion=completion.schema_names,
        ),
    ] = "asyncapi",
    names: Annotated[bool, typer.Option("--list", help="Print the names of all schemas.")] = False,
) -> None:
    """Print a JSON Schema of the bus contract, or the whole contract as an AsyncAPI document (`asyncapi`)."""
    from bridge.cli import schema as view  # noqa: PLC0415

    if names:
        view.show_names()
    else:
        raise typer.Exit(view.show(name))


@app.command(
    epilog=examples(
        """nemo-bridge emit order.created '{"id": 7, "total": 3.5}' --wait""",
        """nemo-bridge emit integration.shop.request '{"method": "orders.get", "params": {"id": 7}}' --wait""",
        "nemo-bridge emit order.created - < order.json",
    )
)
def emit(
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="The event type, such as order.created.")],
    payload: Annotated[
        str, typer.Argument(metavar="JSON", help='The payload, such as {"id": 7}; "-" reads standard input.')
    ] = "null",
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Show what comes of it, until everything that takes the event has answered."),
    ] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to --wait, such as 500ms or 2.")] = "30s",
    json: Annotated[bool, typer.Option("--json", help="With --wait: print one JSON object per line.")] = False,
    correlation_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Request a response with this correlation id.")
    ] = None,
    header: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="A header, such as traceparent=00-…; may be repeated.")
    ] = [],  # noqa: B006
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Publish one event on the bus. If nothing takes it, say so.

    With --wait, show the responses and, as they come, retries, changes of the circuit, receipts and the events of
    routes. Exit with 0 if all succeed, and with 1 if one fails, does not come in time, or if nothing takes the event.
    """
    from bridge.cli import emit as sending  # noqa: PLC0415
    from bridge.cli.talk import BusOptions  # noqa: PLC0415

    options = BusOptions(config, publish, subscribe, key_file, server_key)
    code = sending.emit(options, event_type, payload, correlation_id, header, wait=wait, timeout=timeout, as_json=json)
    raise typer.Exit(code)


@app.command(
    epilog=examples(
        """nemo-bridge call shop orders.get '{"id": 7}' --timeout 2s""",
        """nemo-bridge call api 'GET /items/{id}' '{"path": {"id": 7}}'""",
    )
)
def call(
    integration: Annotated[str, typer.Argument(metavar="INTEGRATION", help="The integration's label.")],
    method: Annotated[str, typer.Argument(metavar="METHOD", help="The remote's method.")],
    params: Annotated[
        str, typer.Argument(metavar="JSON", help="The parameters: an array or an object; default: none.")
    ] = "",
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="The time limit for the call with all retries, such as 500ms or 2.")
    ] = "30s",
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="With such a key the call may be repeated safely.")
    ] = None,
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Call a method through the bridge and print its result as JSON; exit with 1 if it fails."""
    from bridge.cli import talk  # noqa: PLC0415

    talk.call(
        talk.BusOptions(config, publish, subscribe, key_file, server_key),
        integration,
        method,
        params,
        timeout,
        idempotency_key,
    )


@app.command()
def status(
    json: Annotated[
        bool, typer.Option("--json", help="Print the answer of `bridge.status` as one JSON object.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Update the output every second until interrupted.")] = False,
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="How long to wait for an answer of the bridge, such as 500ms or 2.")
    ] = "5s",
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Show the state of the bridge and its integrations, and what is wrong with its fabrics.

    Exit with 0 if all is well, with 1 if the bridge, an integration or a fabric is not, and with 3 if no bridge
    answers. A fabric is well while it is connected; nodes that are lost do not count.
    """
    from bridge.cli import status as view  # noqa: PLC0415
    from bridge.cli import talk  # noqa: PLC0415

    options = talk.BusOptions(config, publish, subscribe, key_file, server_key)
    raise typer.Exit(view.status(options, as_json=json, watch=watch, timeout=timeout))


@app.command(epilog=examples("nemo-bridge top", "nemo-bridge top --every 500ms --config shop.hcl"))
def top(
    every: Annotated[
        str, typer.Option(metavar="DURATION", help="How often to ask the bridge, such as 500ms or 5.")
    ] = "2s",
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Show what the bridge does, and what is wrong, on the whole terminal until q is pressed.

    It lists integrations, problems, routes and subscriptions; enter opens an integration with its last failures, its
    circuit, its dead letters and its configuration. The key ? shows all keys.
    """
    if sys.platform == "win32":
        raise InvalidError("top needs a Unix terminal; `nemo-bridge status --watch` works here")
    from bridge.cli import talk  # noqa: PLC0415
    from bridge.cli import top as view  # noqa: PLC0415

    options = talk.BusOptions(config, publish, subscribe, key_file, server_key)
    raise typer.Exit(view.top(options, every))


@app.command(
    epilog=examples(
        "nemo-bridge tap",
        "nemo-bridge tap 'health.**' 'resilience.shop.**'",
        "nemo-bridge tap 'order.**' --json --count 1",
        "nemo-bridge tap --record events.msgpack",
        "nemo-bridge tap --from events.msgpack 'response.**'",
    )
)
def tap(
    patterns: Annotated[
        list[str],
        typer.Argument(
            metavar="PATTERN",
            help="Patterns of event types, as `health.*` or `order.**`: `*` is one segment, `**` any number of them.",
            autocompletion=completion.event_patterns,
        ),
    ] = ["**"],  # noqa: B006
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    count: Annotated[int, typer.Option(metavar="NUMBER", help="Exit after this many events; 0: never.")] = 0,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also append the events to this file, in MessagePack.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Show the events of a recording instead of the bus.")
    ] = None,
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Show the events on the bus as they pass. It only observes: what waits for a listener goes on waiting."""
    from bridge.cli import talk  # noqa: PLC0415

    options = talk.BusOptions(config, publish, subscribe, key_file, server_key)
    talk.tap(options, patterns, as_json=json, count=count, record=record, replay=replay)


app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(fleet.app, name="fleet")


@app.command()
def demo() -> None:
    """Show in 20 seconds a call, a killed service, retries, the circuit breaker, and recovery."""
    from bridge.cli import demo as show  # noqa: PLC0415

    raise typer.Exit(show.run())


def main() -> None:
    """Run a command. Print errors that the user can fix on standard error, without a traceback.

    Raises:
        SystemExit: Always, with an exit code of `ExitCode`.
    """
    terminal.prepare()
    completion.prepare()
    if "--help" in sys.argv or not sys.argv[1:]:
        terminal.prepare_help()
    called = only(app, sys.argv[1:])
    unwrap_help(called)
    try:
        with terminal.output_written():
            # Not `app()`: it would print tracebacks in its own way, as they are.
            get_command(called)(prog_name="nemo-bridge")
    except ConfigError as error:
        from bridge.cli import complaints  # noqa: PLC0415

        complaints.show(error.diagnostics)
        sys.exit(ExitCode.INVALID)
    except (InvalidError, KeyFileError) as error:
        terminal.complain(error)
        sys.exit(ExitCode.INVALID)
    except NoBusError as error:
        terminal.complain(error)
        sys.exit(ExitCode.NO_ANSWER)
    except (BusError, OutboxError, BridgeError) as error:
        terminal.complain(error)
        sys.exit(ExitCode.FAILED)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
