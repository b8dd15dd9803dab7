"""The settings in the `config { … }` block of a JSON-RPC integration, over HTTP and over WebSocket."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from bridge.adapters._common.http.client import check_header_name
from bridge.core.endpoint import Strict
from bridge.core.units import PositiveDuration, Size

PROTOCOL: Final = "json-rpc"


class JsonRpcConfig(Strict):
    """`config { … }` of a JSON-RPC integration."""

    idempotent: Annotated[
        tuple[str, ...],
        Field(description="methods that may be called again although the first call may have been acted on"),
    ] = ()
    batch: Annotated[
        bool,
        Field(description="join calls that wait at the same moment into one JSON-RPC array; the server must take it"),
    ] = False
    max_response: Annotated[
        Size,
        Field(
            description="the largest response body that is read, decompressed; a larger one is an error. "
            "Over WebSocket the largest message; a larger one ends the session"
        ),
    ] = 16 * 1024 * 1024
    allow_headers: Annotated[
        tuple[Annotated[str, AfterValidator(check_header_name)], ...],
        Field(description="event headers that travel as HTTP headers, besides hop and the trace's; HTTP only"),
    ] = ()
    health_method: Annotated[
        str | None,
        Field(
            min_length=1,
            description="method to call as health check, which must not answer with an error; "
            "without it the check is a GET of the endpoint, and any answer but 401 shows a living server; "
            "over WebSocket it is a ping",
        ),
    ] = None
    ping: Annotated[
        PositiveDuration,
        Field(
            description="the interval of pings, WebSocket only; without an answer until the next the session is over"
        ),
    ] = 20.0

    def refuse(self, *names: str, transport: str) -> None:
        """Raise ValueError where one of these keys is given, which have no meaning over `transport`."""
        for name in names:
            if name in self.model_fields_set:
                raise ValueError(f"config.{name} has no meaning over {transport}; leave it out")
