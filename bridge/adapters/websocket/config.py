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
        Field(description="the subprotocol to ask for; a server that does not take it is an error"),
    ] = None
    ping: Annotated[
        PositiveDuration,
        Field(description="the interval of pings; without an answer until the next the session is over"),
    ] = 20.0
    max_message: Annotated[
        Size, Field(description="the largest message that is read, decompressed; a larger one ends the session")
    ] = 1024 * 1024
    codec: Annotated[
        CodecName,
        Field(
            description="how messages are written and read; auto sends text as text, bytes as a binary frame and all "
            "else as JSON, and reads text frames as JSON where they parse and binary ones as bytes"
        ),
    ] = "auto"
