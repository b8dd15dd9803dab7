"""The settings in the `config { … }` block of an HTTP integration."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from bridge.adapters._common.content import CodecName
from bridge.adapters._common.http.client import check_header_name
from bridge.core.endpoint import Strict
from bridge.core.units import PositiveDuration, Size


def _path(path: str) -> str:
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or any(sign in path for sign in " #\\"):
        raise ValueError(
            f'{path!r} is not a path: it must start with "/", and what is not ASCII must be percent-encoded'
        )
    return path


Path = Annotated[str, AfterValidator(_path)]


class HttpConfig(Strict):
    """`config { … }` of an HTTP integration. Paths are below the endpoint's own."""

    idempotent: Annotated[
        tuple[str, ...],
        Field(
            description='Methods, written as in commands ("POST /search"), that may be called again although the first '
            "call may have been acted on. GET, HEAD, PUT, DELETE and OPTIONS always may."
        ),
    ] = ()
    max_response: Annotated[
        Size,
        Field(
            description="The largest response body, decompressed, and the largest single server-sent event, in bytes. "
            "A larger one is an error."
        ),
    ] = 16 * 1024 * 1024
    allow_headers: Annotated[
        tuple[Annotated[str, AfterValidator(check_header_name)], ...],
        Field(
            description="Headers that commands may give, and headers of events that are sent along, besides `hop` and "
            "the context of a trace. Default: none."
        ),
    ] = ()
    codec: Annotated[
        CodecName,
        Field(
            description="How bodies are written and read. `auto` writes text as text and all else as JSON, and reads "
            "by the content type."
        ),
    ] = "auto"
    poll: Annotated[
        PositiveDuration | None,
        Field(description='The interval of the topic "poll", which brings what is at `path` whenever it has changed.'),
    ] = None
    path: Annotated[Path | None, Field(description="The path that is polled. Default: the endpoint's own.")] = None
    events: Annotated[
        Path | None, Field(description='The path of the server-sent events that the topic "events" brings.')
    ] = None
    health_path: Annotated[
        Path | None,
        Field(
            description="The path that a health check requests by GET; the answer must be a success. Default: the "
            "endpoint's own, where any answer but 401 shows that the server lives."
        ),
    ] = None

    @model_validator(mode="after")
    def _whole(self) -> "HttpConfig":
        if self.path is not None and self.poll is None:
            raise ValueError("`path` goes with `poll`, the interval")
        return self
