"""Serve the files of the console from memory: `index.html`, and what it loads from `/console/`."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

import msgspec

#: What a browser may do with the console: its own scripts, styles, pictures and connections, and nothing else.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Content types by the endings of the console's files; files with another ending are not served.
_TYPES: Final = MappingProxyType(
    {
        "html": "text/html; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "css": "text/css; charset=utf-8",
        "svg": "image/svg+xml",
    }
)


class StaticFile(msgspec.Struct, frozen=True):
    """A file that a browser loads.

    Attributes:
        content: Its bytes.
        content_type: Its content type.
        etag: Changes with its content.
    """

    content: bytes
    content_type: str
    etag: str


def read_console() -> Mapping[str, StaticFile]:
    """Read the console's files from the package; return them by their paths on the server."""
    found = {}
    for one in files("bridge.observe").joinpath("console").iterdir():
        content_type = _TYPES.get(one.name.rpartition(".")[2])
        if content_type is None or not one.is_file():
            continue
        content = one.read_bytes()
        path = "/" if one.name == "index.html" else f"/console/{one.name}"
        found[path] = StaticFile(content, content_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found
