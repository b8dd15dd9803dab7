"""What a terminal sends becomes names of keys."""

import pytest

from bridge.cli.keyboard import KeyDecoder


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"qG/", ["q", "G", "/"]),
        (b"\x1b[A\x1b[B\x1bOA\x1bOB", ["up", "down", "up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~", ["page up", "page down", "home", "end", "home", "end"]),
        (b"\r\n\t\x1b[Z\x7f\x08", ["enter", "enter", "tab", "back tab", "backspace", "backspace"]),
        ("é→".encode(), ["é", "→"]),
        (b"a\xffb", ["a", "b"]),  # not UTF-8
        (b"\x1b[1;5C\x1b[200~x\x01\x00", ["x"]),  # sequences and controls that mean nothing here
    ],
)
def test_keys(sent: bytes, keys: list[str]) -> None:
    """Characters stand for themselves; sequences are one key each; what is not known is left out."""
    decoder = KeyDecoder()
    assert decoder.feed(sent) == keys
    assert not decoder.waits


@pytest.mark.parametrize("sent", [b"\x1b[A", b"\x1bOB", b"\x1b[5~", "é".encode(), b"\x1b[1;5Cq"])
def test_a_sequence_may_come_in_pieces(sent: bytes) -> None:
    """Byte by byte the keys are the same, as on a slow line."""
    decoder = KeyDecoder()
    whole = KeyDecoder().feed(sent)
    assert [key for at in range(len(sent)) for key in decoder.feed(sent[at : at + 1])] == whole
    assert whole


def test_escape_alone_is_a_key() -> None:
    """It is held back, since a sequence may follow, and told when nothing has come."""
    decoder = KeyDecoder()
    assert decoder.feed(b"x\x1b") == ["x"]
    assert decoder.waits
    assert decoder.flush() == ["escape"]
    assert not decoder.waits
    assert decoder.flush() == []
