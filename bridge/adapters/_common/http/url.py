"""Write host and path of a URL as they are sent: in ASCII."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

#: Characters of a whole URL.
_LONGEST: Final = 65_536
_IPV4: Final = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
#: What is percent-encoded in the path, in the query and in a host name (url.spec.whatwg.org, percent-encoded bytes).
_NOT_IN_PATH: Final = re.compile(r'[^!-~]|["#<>?`{}]')
_NOT_IN_QUERY: Final = re.compile(r'[^!-~]|["#<>]')
_NOT_IN_HOST: Final = re.compile(r"[^!-~]|[#/:<>?@\[\]^]")


def ascii_host(host: str) -> str:
    """Return a host in small letters and in ASCII: letters beyond that by IDNA (RFC 5891).

    Args:
        host: A name or an IP address, without brackets.

    Raises:
        ValueError: It is neither.
    """
    try:
        if _IPV4.fullmatch(host):
            return str(IPv4Address(host))
        if ":" in host:
            IPv6Address(host)
            return host
    except AddressValueError:
        raise ValueError(f"{host!r} is no IP address") from None
    if host.isascii():
        return _encoded(host.lower(), _NOT_IN_HOST)
    import idna  # noqa: PLC0415 - its tables are large, and few hosts need them

    try:
        return idna.encode(host.lower()).decode("ascii")
    except idna.IDNAError:
        raise ValueError(f"{host!r} is no host name by IDNA") from None


def raw_path(path: str) -> bytes:
    """Return the path and query of a request, percent-encoded, without the segments `.` and `..`.

    Args:
        path: What was written; it begins with `/` or `?`, or is empty. What is encoded already stays.

    Raises:
        ValueError: It has a control character, or is too long.
    """
    if len(path) > _LONGEST:
        raise ValueError(f"it has more than {_LONGEST:,} characters")
    wrong = next((letter for letter in path if letter.isascii() and not letter.isprintable()), None)
    if wrong is not None:
        raise ValueError(f"it has the control character {wrong!r}")
    before, mark, query = path.partition("?")
    return (_encoded(_without_dots(before) or "/", _NOT_IN_PATH) + mark + _encoded(query, _NOT_IN_QUERY)).encode()


def _without_dots(path: str) -> str:
    """Take out `.`, and `..` with the segment before it (RFC 3986, 5.2.4)."""
    segments = path.split("/")
    if "." not in segments and ".." not in segments:
        return path
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            if kept not in ([], [""]):
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept)


def _encoded(text: str, wrong: re.Pattern[str]) -> str:
    return wrong.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)
