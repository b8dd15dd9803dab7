"""The command `nemo-bridge fleet`: show the fabrics of a bridge and their nodes, and forget a node."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from bridge.cli.options import ConfigFile, KeyFile, PublishTo, ServerKeyFile, SubscribeTo
from bridge.cli.terminal import say
from bridge.core.errors import InvalidError
from bridge.core.printable import printable

if TYPE_CHECKING:
    from bridge.cli.talk import BusOptions

#: Seconds in which a bridge may forget a node: it asks its broker.
_PATIENCE: Final = 30.0
#: How the source of an option is called that stands on the command line.
_GIVEN: Final = "COMMANDLINE"
_HELP: Final = """\
Show the fabrics of the bridge, and all nodes of each as this bridge sees them.

Exit with 0 if all is well, with 1 if a fabric is not connected, a node is lost or nobody offers an integration \
that is used, and with 3 if no bridge answers.
"""

app = typer.Typer()


@app.callback(invoke_without_command=True, help=_HELP)
def fleet(
    context: typer.Context,
    json: Annotated[
        bool, typer.Option("--json", help="Print the answer of `bridge.fleet` as one JSON object.")
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
    """Show the fleet, where no command follows.

    Raises:
        InvalidError: An option stands before the name of a command, which would not get it.
    """
    if context.invoked_subcommand is not None:
        for name in context.params:
            source = context.get_parameter_source(name)
            if source is not None and source.name == _GIVEN:
                option = f"--{name.replace('_', '-')}"
                raise InvalidError(f"{option}: the options of `{context.invoked_subcommand}` are written behind it")
        return
    from bridge.cli import fleet_view  # noqa: PLC0415 - each command imports only what it needs
    from bridge.cli.talk import BusOptions  # noqa: PLC0415

    options = BusOptions(config, publish, subscribe, key_file, server_key)
    raise typer.Exit(fleet_view.fleet(options, as_json=json, watch=watch, timeout=timeout))


@app.command()
def forget(
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node's name, as `fleet` shows it.")],
    fabric: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only in this fabric; by default in all that know the node.")
    ] = None,
    config: ConfigFile = None,
    publish: PublishTo = None,
    subscribe: SubscribeTo = None,
    key_file: KeyFile = None,
    server_key: ServerKeyFile = None,
) -> None:
    """Give up the place of a node that will not come back: nothing is kept for it any more. One that lives is refused.

    If it does come back, it is a new node: it gets what is exported from then on.
    """
    import asyncio  # noqa: PLC0415 - this file is also imported for `--help`

    from bridge.cli.talk import BusOptions  # noqa: PLC0415

    options = BusOptions(config, publish, subscribe, key_file, server_key)
    fabrics = asyncio.run(_forget(options, node, fabric))
    say(printable(f"forgotten in {', '.join(fabrics)}: {node}"))


async def _forget(options: "BusOptions", node: str, fabric: str | None) -> list[str]:
    from bridge.cli.talk import ask  # noqa: PLC0415
    from bridge.core.payloads import Forgotten  # noqa: PLC0415

    wanted = {"node": node} if fabric is None else {"node": node, "fabric": fabric}
    async with options.client(("response.bridge.",)) as bus:
        return (await ask(bus, "bridge.forget_node", wanted, Forgotten, _PATIENCE)).fabrics
