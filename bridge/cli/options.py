"""Define the options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Use the bus addresses and keys of this configuration.")
]
PublishTo = Annotated[
    str | None, typer.Option("--publish", envvar="NEMO_BUS_PUBLISH", help="The address to which programs publish.")
]
SubscribeTo = Annotated[
    str | None,
    typer.Option("--subscribe", envvar="NEMO_BUS_SUBSCRIBE", help="The address from which programs receive events."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key", envvar="NEMO_BUS_KEY", help="Your key pair for a closed bus: the file NAME.key_secret."),
]
ServerKeyFile = Annotated[
    Path | None,
    typer.Option("--server-key", envvar="NEMO_BUS_SERVER_KEY", help="The public key of the closed bus: a .key file."),
]
