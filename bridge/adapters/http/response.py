"""Read the result of a request in its HTTP response: headers, body, and the error of its status."""

import re
from typing import Any, Final

from bridge.adapters._common.content import BYTES, MSGPACK_TYPES, Codec
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.pool import WIRE_HEADERS
from bridge.adapters._common.http.status import status_error
from bridge.core.errors import ProtocolError, RejectedError

#: The charsets besides UTF-8 in which text is decoded; in others it is text if it is UTF-8 all the same.
_CHARSET: Final = re.compile(r"charset=\"?(us-ascii|iso-8859-1|iso-8859-15|windows-1252|utf-16)\b")
#: The largest body that becomes the `data` of an error, in bytes.
_MAX_ERROR_DATA: Final = 16 * 1024
_LEFT_OUT: Final = WIRE_HEADERS | {b"set-cookie", b"connection", b"keep-alive"}


def headers_of(response: Response) -> dict[str, str]:
    """Return a response's headers by their names in lower case; repeated ones joined by commas (RFC 9110, 5.3).

    Cookies are left out, because they are credentials, and so are headers that describe the encoded body. The hop count
    gets the name that it has on the bus.
    """
    headers: dict[str, str] = {}
    for name, value in response.headers:
        if name not in _LEFT_OUT:
            key, text = "hop" if name == b"nemo-hop" else name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def body_of(response: Response, codec: Codec) -> Any:
    """Decode the body of a response; None where it is empty.

    With the codec `auto` the content type decides: JSON and MessagePack are decoded; binary types stay bytes; all else
    is text in the type's charset or UTF-8, or bytes where it cannot be decoded so.

    Raises:
        ProtocolError: The body is not what its type, or the codec, names.
    """
    body = response.body
    if not body:
        return None
    if codec.name != "auto":
        return codec.decode(body, name="the body")
    kind, _, parameters = (response.header(b"content-type") or "").lower().partition(";")
    kind = kind.strip()
    if kind == "application/json" or kind.endswith("+json"):
        return Codec("json").decode(body, name="the body")
    if kind in MSGPACK_TYPES:
        return Codec("msgpack").decode(body, name="the body")
    if kind == BYTES or kind.startswith(("image/", "audio/", "video/", "font/")):
        return body
    charset = _CHARSET.search(parameters)
    try:
        return body.decode("utf-8" if charset is None else charset[1])
    except UnicodeDecodeError:
        return body


def check_status(response: Response, codec: Codec) -> None:
    """Raise the error of a status that is not a success.

    Raises:
        BridgeError: As in the bus contract, "Commands". RejectedError has the body as `data`, unless it is above
            16 KiB or cannot be decoded.
    """
    error = status_error(response)
    if error is None:
        return
    body = response.body
    if isinstance(error, RejectedError) and body and len(body) <= _MAX_ERROR_DATA:
        try:
            error.data = body_of(response, codec)
        except ProtocolError:
            error.data = None
    raise error
