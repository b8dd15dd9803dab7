"""The settings in the `config { … }` block of a WebSocket integration."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from bridge.adapters._common.content import CodecName
from bridge.core.endpoint import Strict
from bridge.core.units import PositiveDuration, Size

_SIGNS: Final = "!#$%&'*+-.^_`|~"


def _subprotocol(name: str) -> str:
    if not name or not all(sign.isascii() and (sign.isalnum() or sign in _SIGNS) for sign in name):
        raise ValueError(
            f"{name!r} is not a subprotocol: it may hold letters, digits and {_SIGNS} only (RFC 6455, 4.1)"
        )
    return name


class WebSocketConfig(Strict):
    """`config { … }` of a WebSocket integration."""

    subprotocol: Annotated[
        Annotated[str, AfterValidator(_subprotocol)] | None,
        Field(
            description="The subprotocol that is asked for. A server that does not choose it is an error. Default: "
            "none."
        ),
    ] = None
    ping: Annotated[
        PositiveDuration,
        Field(description="The interval of pings. Without an answer until the next one the connection is given up."),
    ] = 20.0
    max_message: Annotated[
        Size,
        Field(
            description="The largest message that is read, decompressed, in bytes. A larger one ends the connection."
        ),
    ] = 1024 * 1024
    codec: Annotated[
        CodecName,
        Field(
            description="How messages are written and read. `auto` sends text as text, bytes as a binary frame and all "
            "else as JSON; it reads a text frame as JSON where it parses, else as text, and a binary one as bytes."
        ),
    ] = "auto"
