"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Take the bus' endpoints and keys from this configuration.")
]
PublishTo = Annotated[
    str | None, typer.Option("--publish", envvar="NEMO_BUS_PUBLISH", help="Endpoint that publishers connect to.")
]
SubscribeTo = Annotated[
    str | None, typer.Option("--subscribe", envvar="NEMO_BUS_SUBSCRIBE", help="Endpoint that subscribers connect to.")
]
KeyFile = Annotated[
    Path | None, typer.Option("--key", envvar="NEMO_BUS_KEY", help="Our key pair, for a closed bus: NAME.key_secret.")
]
ServerKeyFile = Annotated[
    Path | None, typer.Option("--server-key", envvar="NEMO_BUS_SERVER_KEY", help="The closed bus' public key.")
]
