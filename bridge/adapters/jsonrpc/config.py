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
        Field(description="Methods that may be called again although the first call may have been acted on."),
    ] = ()
    batch: Annotated[
        bool,
        Field(
            description="Whether calls that wait at the same moment are sent together as one JSON-RPC array. The "
            "server must know that."
        ),
    ] = False
    max_response: Annotated[
        Size,
        Field(
            description="The largest response body, decompressed, in bytes; a larger one is an error. "
            "Over WebSocket the largest message; a larger one ends the connection."
        ),
    ] = 16 * 1024 * 1024
    allow_headers: Annotated[
        tuple[Annotated[str, AfterValidator(check_header_name)], ...],
        Field(
            description="Headers of events that are sent as HTTP headers, besides `hop` and the context of a trace. "
            "Not over WebSocket. Default: none."
        ),
    ] = ()
    health_method: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The method that a health check calls; the answer must be no error. "
            "Default: a GET of the endpoint, where any answer but 401 shows that the server lives; "
            "over WebSocket a ping.",
        ),
    ] = None
    ping: Annotated[
        PositiveDuration,
        Field(
            description="The interval of pings; only over WebSocket. Without an answer until the next one the "
            "connection is given up."
        ),
    ] = 20.0

    def refuse(self, *names: str, transport: str) -> None:
        """Raise ValueError where one of these keys is given, which have no meaning over `transport`."""
        for name in names:
            if name in self.model_fields_set:
                raise ValueError(f"config.{name} has no meaning over {transport}; leave it out")
