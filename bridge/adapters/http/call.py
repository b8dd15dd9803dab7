"""One HTTP request from a command, which never leads elsewhere than configured, and the result in its response."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from bridge.adapters._common.content import BYTES, MSGPACK, Codec
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.pool import WIRE_HEADERS
from bridge.adapters._common.http.status import bare_status_error
from bridge.core.errors import InvalidError, ProtocolError, RejectedError

#: Methods that may be repeated by their definition (RFC 9110, 9.2.2).
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
#: Methods that turn a connection into something else, or show credentials (RFC 9110, 9.3.6 and 9.3.8).
_REFUSED: Final = frozenset({"CONNECT", "TRACE"})
#: Methods whose request has no meaning for a body.
_BODILESS: Final = frozenset({"GET", "HEAD"})
#: Methods that say so where the body is empty (RFC 9110, 8.6).
_EXPECTS_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_METHOD: Final = re.compile(r"([A-Z]+(?:-[A-Z]+)*) (/[^\s#\\]*)", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")
#: The charsets besides UTF-8 that text is read in; in others it comes as text if it is UTF-8 all the same.
_CHARSET: Final = re.compile(r"charset=\"?(us-ascii|iso-8859-1|iso-8859-15|windows-1252|utf-16)\b")
_SEPARATORS: Final = re.compile(r"[/\\]")
#: What a server says back in a refusal is told on up to this, in bytes.
_MAX_REFUSAL: Final = 16 * 1024
_NOT_TOLD: Final = WIRE_HEADERS | {b"set-cookie", b"connection", b"keep-alive"}

Scalar = str | int | float | bool


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The command's `params`.

    Attributes:
        path: Values for the `{names}` in the method's path.
        query: Values for the query; a list gives the name several times.
        headers: HTTP headers, of those that `allow_headers` names.
        body: By the codec of the configuration; left out, there is none.
    """

    path: dict[str, str | int] = {}
    query: dict[str, Scalar | list[Scalar]] = {}
    headers: dict[str, str] = {}
    body: Any = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Call:
    """A request, ready but for its headers."""

    method: str
    target: bytes
    headers: Mapping[str, str]
    body: bytes | None
    content_type: str


def join_path(base: bytes, path: str) -> bytes:
    """A path below the endpoint's own."""
    return base.rstrip(b"/") + path.encode("ascii")


def verb(method: str) -> str:
    """The HTTP method in a command's `method`."""
    return method.partition(" ")[0]


def make_call(method: str, params: Any, base: bytes, codec: Codec, allowed: Collection[str]) -> Call:
    """The request that a command means.

    Args:
        method: `GET /items/{id}`.
        params: As `Params` has it, or UNSET.
        base: The endpoint's own path.
        codec: For the body.
        allowed: Header names that may be given, in lower case.

    Raises:
        InvalidError: It means none; the message says where.
    """
    found = _METHOD.fullmatch(method)
    if found is None:
        raise InvalidError('method: write an HTTP method and a path, as in "GET /items/{id}"')
    name, template = found[1], found[2]
    if name in _REFUSED:
        raise InvalidError(f"method: {name} is not for applications")
    try:
        given = Params() if params is msgspec.UNSET else msgspec.convert(params, Params)
    except msgspec.ValidationError as error:
        raise InvalidError(f"params: {error}") from None
    body, content_type = None, ""
    if given.body is not msgspec.UNSET:
        if name in _BODILESS:
            raise InvalidError(f"params.body: {name} has none")
        body, content_type = codec.encode(given.body, "params.body")
    elif name in _EXPECTS_BODY:
        body = b""
    for header in given.headers:
        if header.lower() not in allowed:
            raise InvalidError(f"params.headers: `allow_headers` of the configuration does not name {header!r}")
    path, mark, query = template.partition("?")
    target = join_path(base, _fill(path, given.path))
    pairs = ([quote(query, safe="!$&'()*+,;=:@/?-._~%")] if query else []) + _query(given.query)
    if mark and "{" in query:
        raise InvalidError("method: {names} stand in the path only; the query's values go into `params.query`")
    if pairs:
        target += b"?" + "&".join(pairs).encode("ascii")
    return Call(name, target, given.headers, body, content_type)


def _fill(template: str, values: Mapping[str, str | int]) -> str:
    names = _PLACEHOLDER.findall(template)
    missing, unknown = [name for name in names if name not in values], values.keys() - set(names)
    if missing:
        raise InvalidError(f"params.path: {missing[0]!r} is missing")
    if unknown:
        raise InvalidError(f"params.path: the path has no {{{min(unknown)}}}")
    for name, value in values.items():
        if value == "":
            raise InvalidError(f"params.path.{name}: an empty value would mean another path")
    parts = _PLACEHOLDER.split(template)
    parts[::2] = [_quoted(part, "/:@!$&'()*+,;=-._~%", "method") for part in parts[::2]]
    parts[1::2] = [_quoted(str(values[name]), "", f"params.path.{name}") for name in parts[1::2]]
    path = "".join(parts)
    # Some servers decode before they resolve dots, take a backslash for a slash, or cut parameters off (`..;x`).
    if any(part.partition(";")[0] in {".", ".."} for part in _SEPARATORS.split(unquote(unquote(path)))):
        raise InvalidError("params.path: `.` and `..` would leave the path that was meant")
    return path


def _quoted(text: str, safe: str, name: str) -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError:
        raise InvalidError(f"{name}: text with half of a surrogate pair has no UTF-8") from None


def _query(values: Mapping[str, Scalar | list[Scalar]]) -> list[str]:
    pairs = []
    for name, value in values.items():
        where = f"params.query.{name}"
        for one in value if isinstance(value, list) else [value]:
            text = ("true" if one else "false") if isinstance(one, bool) else str(one)
            pairs.append(f"{_quoted(name, '', where)}={_quoted(text, '', where)}")
    return pairs


def headers_of(response: Response) -> dict[str, str]:
    """A response's headers by their names in lower case; repeated ones joined by commas (RFC 9110, 5.3).

    Cookies stay away from the bus, and what describes the body as it was on the wire is no longer true. The hop count
    has the name that it has on the bus.
    """
    headers: dict[str, str] = {}
    for name, value in response.headers:
        if name not in _NOT_TOLD:
            key, text = "hop" if name == b"nemo-hop" else name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def body_of(response: Response, codec: Codec) -> Any:
    """The value in a body; None where it is empty.

    With the codec `auto` it is JSON where the content type says so, else text where that and its charset do or where
    it says nothing and the bytes are UTF-8, else bytes.

    Raises:
        ProtocolError: It is not what its type, or the codec, says.
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
    if kind in {MSGPACK, "application/x-msgpack", "application/vnd.msgpack"}:
        return Codec("msgpack").decode(body, name="the body")
    if kind == BYTES or kind.startswith(("image/", "audio/", "video/", "font/")):
        return body
    charset = _CHARSET.search(parameters)
    try:
        return body.decode("utf-8" if charset is None else charset[1])
    except UnicodeDecodeError:
        return body


def check_status(response: Response, codec: Codec) -> None:
    """See that it is a success.

    Raises:
        BridgeError: As the contract's table has it; a refusal (RejectedError) has the body as `data`, unless it is
            long or unreadable.
    """
    error = bare_status_error(response)
    if error is None:
        return
    body = response.body
    if isinstance(error, RejectedError) and body and len(body) <= _MAX_REFUSAL:
        try:
            error.data = body_of(response, codec)
        except ProtocolError:
            error.data = None
    raise error
