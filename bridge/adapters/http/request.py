"""Make the HTTP request of a command; it never goes to another server, or above the path, that was configured."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from bridge.adapters._common.content import Codec
from bridge.core.errors import InvalidError

#: Methods that may be repeated, by their definition (RFC 9110, 9.2.2).
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
#: Methods that turn the connection into a tunnel, or return our credentials in the body (RFC 9110, 9.3.6 and 9.3.8).
_REFUSED: Final = frozenset({"CONNECT", "TRACE"})
#: Methods in whose requests a body means nothing (RFC 9110, 9.3.1 and 9.3.2).
_BODILESS: Final = frozenset({"GET", "HEAD"})
#: Methods that send `Content-Length: 0` where there is no body (RFC 9110, 8.6).
_EXPECTS_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_METHOD: Final = re.compile(r"([A-Z]+(?:-[A-Z]+)*) (/[^\s#\\]*)", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")
_SEPARATORS: Final = re.compile(r"[/\\]")

Scalar = str | int | float | bool


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The command's `params`.

    Attributes:
        path: Values for the `{names}` in the method's path.
        query: Values for the query; a list gives the name several times.
        headers: HTTP headers, of those that `allow_headers` names.
        body: The body's value, encoded by the codec of the configuration; UNSET for a request without a body.
    """

    path: dict[str, str | int] = {}
    query: dict[str, Scalar | list[Scalar]] = {}
    headers: dict[str, str] = {}
    body: Any = msgspec.UNSET


class HttpRequest(msgspec.Struct, frozen=True):
    """A request of a command, checked and encoded.

    Attributes:
        method: In upper case.
        target: Path and query in origin form, percent-encoded (RFC 9112, 3.2.1).
        headers: Those of the command, not yet checked for what HTTP can carry.
        body: None for no body.
        content_type: That of the body; empty for none.
    """

    method: str
    target: bytes
    headers: Mapping[str, str]
    body: bytes | None
    content_type: str

    @classmethod
    def make(cls, method: str, params: Any, base: bytes, codec: Codec, allowed: Collection[str]) -> "HttpRequest":
        """Make the request of a command.

        Args:
            method: As in `GET /items/{id}`.
            params: As `Params` has it, or UNSET.
            base: The endpoint's own path, to which the command's is appended.
            codec: Encodes the body.
            allowed: Header names that may be given, in lower case.

        Raises:
            InvalidError: Method or params are wrong; the message says where.
        """
        name, template = split_method(method)
        try:
            given = Params() if params is msgspec.UNSET else msgspec.convert(params, Params)
        except msgspec.ValidationError as error:
            raise InvalidError(f"params: {error}") from None
        body, content_type = None, ""
        if given.body is not msgspec.UNSET:
            if name in _BODILESS:
                raise InvalidError(f"params.body: a {name} request has no body")
            body, content_type = codec.encode(given.body, "params.body")
        elif name in _EXPECTS_BODY:
            body = b""
        for header in given.headers:
            if header.lower() not in allowed:
                raise InvalidError(f"params.headers: {header!r} is not in `allow_headers` of the configuration")
        path, mark, query = template.partition("?")
        target = join_path(base, _fill(path, given.path))
        pairs = ([quote(query, safe="!$&'()*+,;=:@/?-._~%")] if query else []) + _query(given.query)
        if mark and "{" in query:
            raise InvalidError("method: {names} may be in the path only; give the query's values in `params.query`")
        if pairs:
            target += b"?" + "&".join(pairs).encode("ascii")
        return cls(name, target, given.headers, body, content_type)


def split_method(method: str) -> tuple[str, str]:
    """Split a method as in `GET /items/{id}` into HTTP's method and the path. Raises InvalidError."""
    found = _METHOD.fullmatch(method)
    if found is None:
        raise InvalidError('method: write an HTTP method and a path, as in "GET /items/{id}"')
    if found[1] in _REFUSED:
        raise InvalidError(f"method: {found[1]} is not allowed")
    return found[1], found[2]


def join_path(base: bytes, path: str) -> bytes:
    """Append a path to the endpoint's own."""
    return base.rstrip(b"/") + path.encode("ascii")


def http_method(method: str) -> str:
    """Return the HTTP method in a command's `method`: the word before the path."""
    return method.partition(" ")[0]


def _fill(template: str, values: Mapping[str, str | int]) -> str:
    names = _PLACEHOLDER.findall(template)
    missing, unknown = [name for name in names if name not in values], values.keys() - set(names)
    if missing:
        raise InvalidError(f"params.path: {missing[0]!r} is missing")
    if unknown:
        raise InvalidError(f"params.path: there is no {{{min(unknown)}}} in the path")
    for name, value in values.items():
        if value == "":
            raise InvalidError(f"params.path.{name}: must not be empty, which would be another path")
    parts = _PLACEHOLDER.split(template)
    parts[::2] = [_quoted(part, "/:@!$&'()*+,;=-._~%", "method") for part in parts[::2]]
    parts[1::2] = [_quoted(str(values[name]), "", f"params.path.{name}") for name in parts[1::2]]
    path = "".join(parts)
    # Some servers decode before they resolve dots, take a backslash for a slash, or cut parameters off (`..;x`).
    if any(part.partition(";")[0] in {".", ".."} for part in _SEPARATORS.split(unquote(unquote(path)))):
        raise InvalidError("params.path: `.` and `..` are not allowed as segments")
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
