"""Paths that stay below the root, and globs like those of a shell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.file.paths import Glob, split_path
from bridge.core.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ("a",)),
        ("a/b.txt", ("a", "b.txt")),
        ("./a//b/", ("a", "b")),
        (".", ()),
        ("", ()),
        ("a..b/...", ("a..b", "...")),
    ],
)
def test_good_paths(text: str, parts: tuple[str, ...]) -> None:
    """Dots and doubled slashes in a path mean nothing."""
    assert split_path(text) == parts


@pytest.mark.parametrize("text", ["/etc/passwd", "..", "../x", "a/../../x", "a/..", "a\0b", "/", "x/" * 65])
def test_bad_paths(text: str) -> None:
    """A path that is absolute, climbs, holds NUL or is too deep is `invalid`."""
    with pytest.raises(InvalidError, match="path: "):
        split_path(text)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "\0", "..."]), max_size=8))
def test_no_path_climbs(segments: list[str]) -> None:
    """Every path that is accepted has plain names only."""
    try:
        parts = split_path("/".join(segments))
    except InvalidError:
        return
    assert not {"", ".", ".."} & set(parts)
    assert not any("/" in part or "\0" in part for part in parts)


@pytest.mark.parametrize(
    ("glob", "good", "bad"),
    [
        ("*.txt", ["a.txt"], ["a/b.txt", ".a.txt", "a.txtx"]),
        ("a/*", ["a/b"], ["a", "a/b/c", "b/a"]),
        ("**/*.log", ["x.log", "a/x.log", "a/b/x.log"], ["a/x.txt", ".a/x.log", "a/.b/c/x.log"]),
        ("**", ["a", "a/b", "a/b/c"], [".a", "a/.b"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["z", "a/b"]),
        ("**/a/**/b", ["a/b", "x/a/y/b", "a/a/b/b"], ["a", "b/a"]),
        ("[ab]?", ["ax", "b."], ["cx", "a"]),
        (".env", [".env"], ["env"]),
        ("**/.*", [".a", "x/.a"], ["a"]),
    ],
)
def test_globs(glob: str, good: list[str], bad: list[str]) -> None:
    """Stars match within a segment, hidden names only if asked for; directories on the way to a match are entered."""
    pattern = Glob(glob)
    for path in good:
        parts = path.split("/")
        assert pattern.matches(parts), path
        assert all(pattern.enters(parts[:depth]) for depth in range(1, len(parts))), path
    for path in bad:
        assert not pattern.matches(path.split("/")), path


@pytest.mark.parametrize("text", ["", ".", "/a", "../*", "a/../*"])
def test_bad_globs(text: str) -> None:
    """A glob that is empty or leaves the root is `invalid`."""
    with pytest.raises(InvalidError, match="glob: "):
        Glob(text)


def test_many_stars_cost_little() -> None:
    """No pattern makes matching slow."""
    assert not Glob("**/a/" * 15 + "b").matches(["a"] * 60)


def test_what_cannot_match_is_not_entered() -> None:
    """Directories in which nothing can match are not entered."""
    assert not Glob("a/*.txt").enters(["b"])
    assert not Glob("a/*.txt").enters(["a", "b"])
    assert not Glob("**/x").enters([".git"])
