"""The command `nemo-bridge keys`: create and list the CURVE keys of a closed bus. It never shows a secret key."""

from pathlib import Path
from typing import Annotated, Final

import typer

from bridge.cli.terminal import say
from bridge.core.errors import KeyFileError

app = typer.Typer(help="Create, show and authorize the keys of a closed bus.", no_args_is_help=True)

_BLOCK: Final = """  bus {{
    curve {{
      secret_key      = "{}"
      authorized_keys = "{}"
    }}
  }}"""


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the key, such as bridge or till.")],
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder. It is created with mode 0700.")] = Path(
        "keys"
    ),
) -> None:
    """Create a key pair: NAME.key_secret must stay on this machine; NAME.key may be given to others."""
    from bridge.bus import new_pair  # noqa: PLC0415 - each command imports only what it needs
    from bridge.core.curve_keys import check_name, fingerprint, write_key_file  # noqa: PLC0415

    public_file, secret_file = into / f"{check_name(name)}.key", into / f"{name}.key_secret"
    public, secret = new_pair()
    write_key_file(public_file, public)
    try:
        write_key_file(secret_file, public, secret=secret)
    except BaseException:
        public_file.unlink()
        raise
    say(f"{secret_file}: the key pair; keep it on this machine")
    say(f"{public_file}: the public key, fingerprint {fingerprint(public)}")
    say("next, for the bridge that hosts the bus, configure:")
    say(_BLOCK.format(secret_file, into / "authorized"))
    say("or, for a program on the bus: authorize its public key on the machine of the bridge:")
    say(f"  nemo-bridge keys authorize {public_file} --publish 'order.**' --subscribe '**'")


@app.command()
def show(
    paths: Annotated[list[Path], typer.Argument(help="Key files, or folders of `*.key`.", metavar="PATH")],
) -> None:
    """Show the name, fingerprint, public key and rights of keys."""
    from bridge.core.curve_keys import fingerprint, read_grant, read_pair  # noqa: PLC0415

    files = [file for path in paths for file in (sorted(path.glob("*.key")) if path.is_dir() else [path])]
    if not files:
        raise KeyFileError(f"{paths[0]}: there is no *.key in it")
    for file in files:
        if file.suffix == ".key_secret":
            pair = read_pair(file)
            say(f"{pair.name}  {fingerprint(pair.public)}  {pair.public}")
            continue
        grant = read_grant(file)
        say(f"{grant.name}  {fingerprint(grant.public)}  {grant.public}{'  a bridge' if grant.bridge else ''}")
        say(f"  publish:   {', '.join(grant.publish) or 'nothing'}")
        say(f"  subscribe: {', '.join(grant.subscribe) or 'nothing'}")


@app.command()
def authorize(
    public_key: Annotated[Path, typer.Argument(metavar="FILE", help="The public key file, NAME.key.")],
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder that `authorized_keys` names.")] = Path(
        "keys/authorized"
    ),
    publish: Annotated[
        list[str], typer.Option(metavar="PATTERN", help="Event types that it may publish; may be repeated.")
    ] = ["**"],  # noqa: B006
    subscribe: Annotated[
        list[str], typer.Option(metavar="PATTERN", help="Event types that it may receive; may be repeated.")
    ] = ["**"],  # noqa: B006
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name of the key in the list; default: the file's name.")
    ] = None,
    bridge: Annotated[
        bool, typer.Option("--bridge", help="The key of a bridge: it may also publish what only bridges may publish.")
    ] = False,
) -> None:
    """Add a public key with its rights to the list of a closed bus."""
    from bridge.core.curve_keys import (  # noqa: PLC0415
        Grant,
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
    say(f"{file}: {fingerprint(public)} may publish {rights['publish']}, and subscribe to {rights['subscribe']}")
    say("next: a running bridge reads its list again on SIGHUP, or with")
    say("  nemo-bridge emit bridge.reload '{}'")
    say("The program also needs the public key of the bus: the bridge's own .key file, which is not secret.")
