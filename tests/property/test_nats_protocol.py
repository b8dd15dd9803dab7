"""The NATS protocol: any pieces of the same bytes give the same operations, and any bytes only known errors."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.nats.protocol import MalformedError, NatsMessage, Operation, Parser, publish_line, read_headers

SUBJECTS = st.binary(min_size=1, max_size=20).filter(lambda subject: not set(subject) & set(b" \t\r\n"))
BLOCKS = st.one_of(st.binary(min_size=1, max_size=60), st.binary(max_size=60).map(lambda rest: b"NATS/1.0" + rest))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One message as a server sends it, with or without headers and reply."""
    target = b" ".join([draw(SUBJECTS), b"7", *draw(st.lists(SUBJECTS, max_size=1))])
    payload = draw(st.binary(max_size=60))
    if draw(st.booleans()):
        block = draw(BLOCKS)
        return b"HMSG %b %d %d\r\n%b%b\r\n" % (target, len(block), len(block) + len(payload), block, payload)
    return b"MSG %b %d\r\n%b\r\n" % (target, len(payload), payload)


def _read(parser: Parser, pieces: list[bytes]) -> list[Operation]:
    return [operation for piece in pieces for operation in parser.feed(piece)]


@given(
    stream=st.lists(st.one_of(messages(), st.sampled_from([b"PING\r\n", b"+OK\r\n", b"-ERR 'x'\r\n"]))), data=st.data()
)
def test_cuts_change_nothing(stream: list[bytes], data: st.DataObject) -> None:
    """Messages with any content, in any pieces, are parsed as the same messages."""
    whole = b"".join(stream)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    parser = Parser()
    got = _read(parser, pieces)
    assert parser.is_empty
    assert got == _read(Parser(), [whole])
    assert len(got) == len(stream)


@given(pieces=st.lists(st.binary(max_size=100)))
def test_no_bytes_do_harm(pieces: list[bytes]) -> None:
    """Any bytes give operations or MalformedError, and no other exception."""
    with contextlib.suppress(MalformedError):
        _read(Parser(), pieces)


@given(block=BLOCKS)
def test_no_headers_do_harm(block: bytes) -> None:
    """Any header block gives names and values that can be encoded as text."""
    headers, _, status = read_headers(block)
    for text in (*headers, *headers.values(), status):
        text.encode()


@given(
    subject=st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1),
    payload=st.binary(),
    headers=st.dictionaries(st.from_regex(r"[A-Za-z-]+", fullmatch=True), st.from_regex(r"([!-~]+)?", fullmatch=True)),
)
def test_what_is_written_is_read(subject: str, payload: bytes, headers: dict[str, str]) -> None:
    """A message that was published and is sent on by a server is parsed as it was."""
    block = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    written = publish_line(subject, payload, f"NATS/1.0\r\n{block}\r\n".encode())
    assert written.startswith(b"HPUB ")
    name, _, rest = written[5:].partition(b" ")
    (message,) = Parser().feed(b"HMSG %b 5 %b" % (name, rest))
    assert message == NatsMessage(5, subject, "", payload, headers)
