"""Read the result of a request in its HTTP response: headers, body, and the error of its status."""

import re
from typing import Any, Final

from bridge.adapters._common.content import BYTES, MSGPACK_TYPES, Codec
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.pool import WIRE_HEADERS
from bridge.adapters._common.http.status import status_error
from bridge.core.errors import ProtocolError, RejectedError

_CHARSET: Final = re.compile(r"charset=[\"']?([^\"';,\s]+)")
#: The charsets besides UTF-8 in which text is decoded, and what Python calls them. A table, because Python's own search
#: by name remembers each name that it does not know. In other charsets text is decoded if it is UTF-8 all the same.
_CODECS: Final = {
    **{name: name for name in ("us-ascii", "ascii", "latin1", "koi8-r", "koi8-u", "gbk", "gb2312", "gb18030", "big5")},
    **{name: name for name in ("shift_jis", "euc-jp", "euc-kr", "iso-2022-jp", "iso-2022-kr", "hz-gb-2312")},
    **{name: name for name in ("utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be")},
    **{f"iso-8859-{part}": f"iso-8859-{part}" for part in range(1, 17) if part != 12},
    **{f"windows-{page}": f"cp{page}" for page in (874, *range(1250, 1259))},
    "windows-31j": "cp932",
}
#: Charsets whose bytes look like UTF-8 but mean something else, and which are not decoded.
_NOT_DECODED: Final = frozenset({"utf-7"})
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
    is text in the type's charset or UTF-8, without a byte-order mark, or bytes where it cannot be decoded so.

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
    found = _CHARSET.search(parameters)
    charset = "utf-8" if found is None else found[1]
    if charset in _NOT_DECODED:
        return body
    try:
        return body.decode(_CODECS.get(charset, "utf-8")).removeprefix("\ufeff")
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
