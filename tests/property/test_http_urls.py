"""Show that paths and hosts are written as httpx writes them."""

import httpx
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters._common.http.url import ascii_host, raw_path

PIECES = ["/", ".", "..", "?", "%2F", "%", "a", "B", "é", "中", " ", '"', "{", "`", "&", "=", "\x07", "\x7f", "^", "|"]
LABELS = ["a", "B", "1", "255", "999", ".", "-", "_", "é", "ß", "中", "\u200d", "%", "<", "^", "~", "{", "|", "!"]


@given(st.sampled_from("/?"), st.lists(st.sampled_from(PIECES), max_size=12))
def test_paths(first: str, pieces: list[str]) -> None:
    """A path with its query is encoded the same way, or refused by both."""
    path = first + "".join(pieces)
    try:
        wanted = httpx.URL(f"http://host:1{path}").raw_path
    except httpx.InvalidURL:
        wanted = None
    try:
        found = raw_path(path)
    except ValueError:
        found = None
    assert found == wanted


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=8).map("".join) | st.ip_addresses().map(str))
def test_hosts(host: str) -> None:
    """A host is written in ASCII in the same way, or refused by both."""
    try:
        wanted = httpx.URL(f"http://[{host}]:1/" if ":" in host else f"http://{host}:1/").raw_host.decode()
    except httpx.InvalidURL:
        wanted = None
    try:
        found = ascii_host(host)
    except ValueError:
        found = None
    assert found == wanted
