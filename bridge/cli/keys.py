"""`nemo-bridge keys`: the CURVE keys of a closed bus. A secret key is written to its file and never shown."""

from pathlib import Path
from typing import Annotated, Final

import typer

app = typer.Typer(help="Make, list and look at the keys of a closed bus.", no_args_is_help=True)

_BLOCK: Final = """  bus {{
    curve {{
      secret_key      = "{}"
      authorized_keys = "{}"
    }}
  }}"""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the key is for, as in bridge or till.")],
    into: Annotated[Path, typer.Option(help="The folder; made with mode 0700.")] = Path("keys"),
) -> None:
    """Make a key pair: NAME.key_secret, which stays where it is, and NAME.key, which may be given away."""
    from bridge.bus import new_pair  # noqa: PLC0415 - each command pays only for what it needs
    from bridge.core.curve_keys import check_name, fingerprint, write_key_file  # noqa: PLC0415

    public_file, secret_file = into / f"{check_name(name)}.key", into / f"{name}.key_secret"
    public, secret = new_pair()
    write_key_file(public_file, public)
    try:
        write_key_file(secret_file, public, secret=secret)
    except BaseException:
        public_file.unlink()
        raise
    typer.echo(f"{secret_file}: the key pair; it never leaves this machine")
    typer.echo(f"{public_file}: the public key, fingerprint {fingerprint(public)}")
    typer.echo("next, for the bridge that hosts the bus:")
    typer.echo(_BLOCK.format(secret_file, into / "authorized"))
    typer.echo("or, for a program on it: list the public key where the bridge runs,")
    typer.echo(f"  nemo-bridge keys authorize {public_file} --publish 'order.**' --subscribe '**'")


@app.command()
def show(
    paths: Annotated[list[Path], typer.Argument(help="Key files, or folders of *.key.", metavar="PATH…")],
) -> None:
    """Show name, fingerprint, public key and rights."""
    from bridge.core.curve_keys import KeyFileError, fingerprint, read_grant, read_pair  # noqa: PLC0415

    files = [file for path in paths for file in (sorted(path.glob("*.key")) if path.is_dir() else [path])]
    if not files:
        raise KeyFileError(f"{paths[0]}: there is no *.key in it")
    for file in files:
        if file.suffix == ".key_secret":
            pair = read_pair(file)
            typer.echo(f"{pair.name}  {fingerprint(pair.public)}  {pair.public}")
            continue
        grant = read_grant(file)
        typer.echo(f"{grant.name}  {fingerprint(grant.public)}  {grant.public}{'  a bridge' if grant.bridge else ''}")
        typer.echo(f"  publish:   {', '.join(grant.publish) or 'nothing'}")
        typer.echo(f"  subscribe: {', '.join(grant.subscribe) or 'nothing'}")


@app.command()
def authorize(
    public_key: Annotated[Path, typer.Argument(help="The public key file, NAME.key.")],
    into: Annotated[Path, typer.Option(help="The list: the folder that `authorized_keys` names.")] = Path(
        "keys/authorized"
    ),
    publish: Annotated[list[str], typer.Option(help="What it may publish, as in order.**; may be repeated.")] = ["**"],  # noqa: B006
    subscribe: Annotated[list[str], typer.Option(help="What it may hear, as in health.**.")] = ["**"],  # noqa: B006
    name: Annotated[str | None, typer.Option(help="Its name in the list; the file's by default.")] = None,
    bridge: Annotated[
        bool, typer.Option("--bridge", help="A bridge that joins: it may say what else only this one may.")
    ] = False,
) -> None:
    """Let a key in, with its rights."""
    from bridge.core.curve_keys import (  # noqa: PLC0415
        Grant,
        KeyFileError,
        check_name,
        fingerprint,
        read_access_list,
        read_public,
        write_key_file,
    )

    public = read_public(public_key)
    name = check_name(name or public_key.stem)
    try:
        Grant(name, public, tuple(publish), tuple(subscribe))
    except ValueError as error:
        raise KeyFileError(f"not authorized: {error}") from None
    for other in read_access_list(into).values() if into.is_dir() else ():
        if other.public == public:
            raise KeyFileError(f"{into / other.name}.key: lists this key already; remove it first")
    rights = {"publish": ", ".join(publish), "subscribe": ", ".join(subscribe)}
    if bridge:
        rights["role"] = "bridge"
    file = into / f"{name}.key"
    write_key_file(file, public, rights=rights)
    typer.echo(f"{file}: {fingerprint(public)} may publish {rights['publish']}, and hear {rights['subscribe']}")
    typer.echo("next: a running bridge reads its list again on SIGHUP, or when told")
    typer.echo("  nemo-bridge emit bridge.reload '{}'")
    typer.echo("The program needs the bus' public key, too: the bridge's own .key file, which is no secret.")
