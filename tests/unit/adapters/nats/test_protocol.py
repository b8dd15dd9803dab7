"""What a server sends is read as it was meant, and nothing in a message can make reading fail."""

import json

import pytest

from bridge.adapters.nats.protocol import (
    Info,
    MalformedError,
    NatsMessage,
    Parser,
    ServerError,
    Signal,
    connect_line,
    publish_line,
    read_headers,
    subscribe_line,
    unsubscribe_line,
)

HEADERS = b"NATS/1.0\r\na: 1\r\nB:2\r\n\r\n"


def test_each_operation() -> None:
    """All that a server may send, in one piece, in order."""
    data = b'INFO {"version":"2.9.10","max_payload":100,"new":[1]}\r\nPING\r\nPONG\r\n+OK\r\n'
    data += b"-ERR 'Stale Connection'\r\nMSG a.b 7 3\r\nxyz\r\nMSG a 1 r.1 0\r\n\r\n"
    data += b"HMSG a 2 %d %d\r\n%bxy\r\n" % (len(HEADERS), len(HEADERS) + 2, HEADERS)
    data += b"HMSG a 2 r %d %d\r\n%b\r\n" % (len(HEADERS), len(HEADERS), HEADERS)
    parser = Parser()
    assert list(parser.feed(data)) == [
        Info(version="2.9.10", max_payload=100),
        *(Signal.PING, Signal.PONG, Signal.OK, ServerError("Stale Connection")),
        NatsMessage(7, "a.b", "", b"xyz"),
        NatsMessage(1, "a", "r.1", b""),
        NatsMessage(2, "a", "", b"xy", {"a": "1", "B": "2"}),
        NatsMessage(2, "a", "r", b"", {"a": "1", "B": "2"}),
    ]
    assert parser.is_empty


def test_spaces_and_tabs() -> None:
    """The protocol allows several between the parts of a line."""
    data = b"MSG \t a  1\tr  2 \r\nab\r\nPING \r\n"
    assert list(Parser().feed(data)) == [NatsMessage(1, "a", "r", b"ab"), Signal.PING]


def test_line_ends_and_operations_in_a_payload() -> None:
    """Only its length says where it ends."""
    payload = b"\r\nMSG a 1 0\r\n\r\nPING\r\n"
    assert list(Parser().feed(b"MSG a 1 %d\r\n%b\r\n" % (len(payload), payload))) == [NatsMessage(1, "a", "", payload)]


def test_a_large_message_in_small_pieces() -> None:
    """It is not looked at again with each piece: 8 MB in pieces of 1 kB would take minutes."""
    parser, size = Parser(), 8 << 20
    assert not list(parser.feed(b"MSG a 1 %d\r\n" % size))
    got = [operation for _ in range(size // 1024) for operation in parser.feed(b"x" * 1024)]
    assert not got
    assert not parser.is_empty
    assert list(parser.feed(b"\r\nPING\r\n")) == [NatsMessage(1, "a", "", b"x" * size), Signal.PING]


@pytest.mark.parametrize(
    ("subject", "shown", "reply"),
    [(b"in.\xff", "in.\\xff", b"r"), (b"in", "in", b"r.\xfe"), ("ä.\v\x01".encode(), "ä.\v\x01", b"r")],
)
def test_subjects_of_any_bytes(subject: bytes, shown: str, reply: bytes) -> None:
    """Whoever may publish chooses them: they are shown, and the flaw is named; control characters separate nothing."""
    (message,) = Parser().feed(b"MSG %b 1 %b 0\r\n\r\n" % (subject, reply))
    assert isinstance(message, NatsMessage)
    assert message.subject == shown
    assert bool(message.flaw) == (b"\xff" in subject or b"\xfe" in reply)


@pytest.mark.parametrize(
    ("block", "headers", "flawed", "status"),
    [
        (b"NATS/1.0\r\n\r\n", {}, False, ""),
        (b"NATS/1.0 503\r\n\r\n", {}, False, "503"),
        (b"NATS/1.0 404 No Messages\r\n\r\n", {}, False, "404 No Messages"),
        (b"NATS/1.0 100 Idle\r\nA: b\r\n\r\n", {"A": "b"}, False, "100 Idle"),
        (b"NATS/1.0 100\r\nStatus: 503\r\n\r\n", {"Status": "503"}, False, "100"),
        (
            b"NATS/1.0\r\na:b\r\nb: 1\r\na: c: d \r\nA: x\r\na:\r\n\r\n",
            {"a": "b, c: d, ", "b": "1", "A": "x"},
            False,
            "",
        ),
        (b"NATS/1.0\r\na: \xc3\xa4 \xff\r\n\r\n", {"a": "ä \ufffd"}, False, ""),
        (b"NATS/1.0 \xb2\xff\r\nA: b\r\n\r\n", {"A": "b"}, True, ""),
        (b"NATS/1.0 \xc2\xb2\r\n\r\n", {}, True, ""),
        (b"NATS/1.0 503 \xff\r\n\r\n", {}, False, "503 \ufffd"),
        (b"NATS/1.0\r\n\xff: 1\r\nb: 2\r\n\r\n", {"b": "2"}, True, ""),
        (b"NATS/1.0\r\nno colon\r\n: empty\r\na b: 1\r\nb: 2\r\n\r\n", {"b": "2"}, True, ""),
        (b"HTTP/1.1 503\r\nb: 2\r\n\r\n", {"b": "2"}, True, ""),
        (b"\xff", {}, True, ""),
        (b"\r\n", {}, True, ""),
    ],
)
def test_headers_of_any_bytes(block: bytes, headers: dict[str, str], flawed: bool, status: str) -> None:
    """What can be read is there, repeated names joined in their order; where something cannot, the message says so."""
    got, flaw, got_status = read_headers(block)
    assert (got, got_status) == (headers, status)
    assert bool(flaw) == flawed


def test_a_header_that_repeats_very_often() -> None:
    """200,000 repetitions, as many as a message may have, are joined once and not again with each."""
    headers, flaw, _ = read_headers(b"NATS/1.0\r\n" + b"a:x\r\n" * 200_000)
    assert (headers, flaw) == ({"a": ", ".join("x" * 200_000)}, "")


@pytest.mark.parametrize(
    ("block", "data", "nobody"),
    [
        (b"NATS/1.0 503\r\n\r\n", b"", True),
        (b"NATS/1.0 503\r\n\r\n", b"x", False),
        (b"NATS/1.0\r\nStatus: 503\r\n\r\n", b"", False),
        (b"NATS/1.0 408 Request Timeout\r\n\r\n", b"", False),
    ],
)
def test_no_responders(block: bytes, data: bytes, nobody: bool) -> None:
    """The server says it by a status without content. A header `Status` of an answer is the answer's own."""
    (message,) = Parser().feed(b"HMSG a 1 %d %d\r\n%b%b\r\n" % (len(block), len(block) + len(data), block, data))
    assert isinstance(message, NatsMessage)
    assert message.says_no_responders == nobody


@pytest.mark.parametrize(
    "data",
    [
        *(b"HTTP/1.1 400 Bad Request\r\n", b"\r\n", b"MSG\r\n", b"MSG a 1\r\n", b"MSG a b c d e\r\n", b"\xff\xfe\r\n"),
        *(
            b"MSG a x 0\r\n\r\n",
            b"MSG a 1 -1\r\n",
            b"MSG a 1 1_0\r\n",
            b"MSG a 1 +1\r\nx\r\n",
            b"MSG a 1 99999999999\r\n",
        ),
        *(b"MSG a 1 0\r\nxx", b"HMSG a 1 5 3\r\nxyz\r\n", b"HMSG a 1 0\r\n\r\n", b"MSG a 1 900000000\r\n"),
        *(b"INFO\r\n", b"INFO {\r\n", b"INFO []\r\n", b'INFO {"max_payload":"x"}\r\n', b'INFO {"version":"\xff"}\r\n'),
        *(b"PINGPONG\r\n", b"x" * 70_000, b"MSG a 1 " + b" " * 70_000 + b"0\r\n"),
    ],
)
def test_what_is_not_the_protocol(data: bytes) -> None:
    """Told after what came before it."""
    operations = Parser().feed(b"PING\r\n" + data)
    assert next(operations) is Signal.PING
    with pytest.raises(MalformedError):
        list(operations)


def test_a_line_without_an_end_in_pieces() -> None:
    """It is not gathered for ever."""
    parser = Parser()
    for _ in range(65):
        assert not list(parser.feed(b"x" * 1000))
    with pytest.raises(MalformedError):
        list(parser.feed(b"x" * 1000))


def test_an_error_of_any_bytes() -> None:
    """Quotes are taken off; what is not UTF-8 is shown."""
    data = b"-ERR 'Bad \xff'\r\n-ERR\r\n-ERR text\r\n"
    assert list(Parser().feed(data)) == [ServerError("Bad \\xff"), ServerError(""), ServerError("text")]


def test_what_is_written() -> None:
    """Each line as the protocol has it."""
    assert publish_line("a", b"xy") == b"PUB a 2\r\nxy\r\n"
    assert publish_line("ä", b"xy", reply="r") == "PUB ä r 2\r\nxy\r\n".encode()
    assert publish_line("a", b"xy", HEADERS) == b"HPUB a %d %d\r\n%bxy\r\n" % (len(HEADERS), len(HEADERS) + 2, HEADERS)
    assert publish_line("a", b"", HEADERS, "r") == b"HPUB a r %d %d\r\n%b\r\n" % (len(HEADERS), len(HEADERS), HEADERS)
    assert subscribe_line(3, "a.*") == b"SUB a.* 3\r\n"
    assert subscribe_line(3, "a.>", "group") == b"SUB a.> group 3\r\n"
    assert unsubscribe_line(3) == b"UNSUB 3\r\n"


@pytest.mark.parametrize("headers", [True, False])
def test_connect(headers: bool) -> None:
    """Headers, and with them the answer that nobody is there, only where the server has them."""
    line = connect_line(Info(headers=headers), {"user": "u", "pass": 'p"\r\nPUB x 0'}, "me", "1.2")
    assert line.startswith(b"CONNECT {")
    assert line.endswith(b"}\r\n")
    assert line.count(b"\r\n") == 1
    options = json.loads(line[8:])
    assert (options["headers"], options["no_responders"]) == (headers, headers)
    assert (options["verbose"], options["pedantic"], options["echo"], options["protocol"]) == (False, False, True, 1)
    assert (options["user"], options["pass"], options["name"]) == ("u", 'p"\r\nPUB x 0', "me")
