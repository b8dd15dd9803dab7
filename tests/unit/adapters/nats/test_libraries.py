"""What the NATS adapter uses of nats-py and nkeys. A new version that behaves otherwise fails here."""

import json
from typing import Any

import nkeys
import pytest
from nats.aio.client import ServerVersion
from nats.aio.msg import Msg
from nats.js import JetStreamManager
from nats.js.api import AckPolicy
from nats.js.errors import NotFoundError
from nats.nuid import NUID

from bridge.adapters.nats.api import Metadata, read_metadata
from bridge.core.errors import ProtocolError

SEED = b"SUAP4ZTY3VNCZRUZZT4QBB5P3AEXMGIBNRHA7GFT4ADF5UZW6XAOERYG3U"  # of no account anywhere


class Requests:
    """All of a client that JetStream's management may use; anything else is an AttributeError."""

    connected_server_version = ServerVersion("2.9.10")

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    async def request(self, subject: str, payload: bytes = b"", timeout: float = 0.5) -> Msg:
        self.asked.append((subject, json.loads(payload) if payload else None))
        return Msg(None, data=json.dumps(self.answers[subject.split(".")[3]]).encode())  # type: ignore[arg-type]


CONSUMER = {
    "stream_name": "S",
    "name": "c",
    "created": "2026-11-27T10:00:00Z",
    "config": {"durable_name": "c", "ack_policy": "explicit", "ack_wait": 2_500_000_000, "deliver_policy": "all"},
    "delivered": {"consumer_seq": 0, "stream_seq": 0},
    "ack_floor": {"consumer_seq": 0, "stream_seq": 0},
    "num_ack_pending": 0,
    "num_redelivered": 0,
    "num_waiting": 0,
    "num_pending": 0,
}
STREAM = {
    "config": {"name": "S", "subjects": ["a", "b"]},
    "created": "2026-11-27T10:00:00Z",
    "state": {"messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0, "consumer_count": 0},
}


async def test_management_uses_two_names_of_its_client() -> None:
    """`request` and `connected_server_version`; this is what the adapter's own connection offers it."""
    client = Requests(INFO=STREAM, CREATE=STREAM, NAMES={"streams": ["S"]})
    manager = JetStreamManager(client)  # type: ignore[arg-type]
    assert (await manager.stream_info("S")).config.subjects == ["a", "b"]
    await manager.add_stream(name="S", subjects=["a"])
    assert await manager.find_stream_name_by_subject("a") == "S"
    (info, _), (create, config), names = client.asked
    assert (info, create) == ("$JS.API.STREAM.INFO.S", "$JS.API.STREAM.CREATE.S")
    assert (config["name"], config["subjects"]) == ("S", ["a"])
    assert names == ("$JS.API.STREAM.NAMES", {"subject": "a"})


async def test_management_of_consumers() -> None:
    """A durable pull consumer that is acknowledged message by message; times are seconds."""
    client = Requests(INFO=CONSUMER, DURABLE=CONSUMER)
    manager = JetStreamManager(client)  # type: ignore[arg-type]
    info = await manager.consumer_info("S", "c")
    assert (info.config.ack_policy, info.config.ack_wait, info.config.deliver_subject) == (
        AckPolicy.EXPLICIT,
        2.5,
        None,
    )
    await manager.add_consumer("S", durable_name="c", ack_policy=AckPolicy.EXPLICIT)
    subject, asked = client.asked[-1]
    assert subject == "$JS.API.CONSUMER.DURABLE.CREATE.S.c"
    assert asked["config"]["ack_policy"] == "explicit"
    assert "deliver_subject" not in asked["config"]


async def test_management_knows_what_is_not_there() -> None:
    """By the answer's code, and by an empty list of streams."""
    missing = {"error": {"code": 404, "err_code": 10059, "description": "stream not found"}}
    manager = JetStreamManager(Requests(INFO=missing, NAMES={"streams": None}))  # type: ignore[arg-type]
    for call in (manager.stream_info("S"), manager.consumer_info("S", "c"), manager.find_stream_name_by_subject("a")):
        with pytest.raises(NotFoundError):
            await call


@pytest.mark.parametrize("version", ["", "x", "2", "2.9"])
def test_versions_that_are_none(version: str) -> None:
    """A ValueError, when it is parsed."""
    with pytest.raises(ValueError, match="not a valid"):
        ServerVersion(version).parse_version()


def test_tokens_for_inboxes() -> None:
    """Letters and digits, another one each time."""
    made = NUID()
    tokens = [made.next().decode() for _ in range(1000)]
    assert len(set(tokens)) == 1000
    assert all(token.isalnum() and len(token) == 22 for token in tokens)


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.S.c.3.77.5.1700000000000000000.9",
        "$JS.ACK.domain.hash.S.c.3.77.5.1700000000000000000.9",
        "$JS.ACK.domain.hash.S.c.3.77.5.1700000000000000000.9.random",
    ],
)
def test_metadata_is_read_as_nats_py_reads_it(reply: str) -> None:
    """The old form of the reply subject, and the new one."""
    theirs = Msg(None, reply=reply).metadata  # type: ignore[arg-type]
    nanoseconds = str(round(theirs.timestamp.timestamp()) * 10**9)
    assert read_metadata(reply) == Metadata(
        theirs.stream,
        theirs.consumer,
        theirs.num_delivered,
        theirs.sequence.stream,
        nanoseconds,
        theirs.sequence.consumer,
        theirs.num_pending,
    )


@pytest.mark.parametrize(
    "reply",
    [
        *("", "$JS.ACK.", "$JS.ACK.S.c.1.2.3.4", "x.ACK.S.c.3.77.5.1.9", "$JS.ACK.S.c.-3.77.5.1.9"),
        *("$JS.ACK.S.c.x.77.5.1.9", "$JS.ACK.S.c.3.²7.5.1.9", "$JS.ACK.S.c.3." + "9" * 5000 + ".5.1.9"),
    ],
)
def test_reply_subjects_without_metadata(reply: str) -> None:
    """Whoever may publish to an inbox may send them."""
    with pytest.raises(ProtocolError):
        read_metadata(reply)


def test_nkeys_does_not_look_at_the_checksum() -> None:
    """Which is why a seed is packed again and compared; its key signs, and has a public half."""
    pair = nkeys.from_seed(bytearray(SEED))
    assert pair.public_key.startswith(b"U")
    assert len(pair.sign(b"nonce")) == 64
    assert nkeys.from_seed(bytearray(SEED[:-1] + b"A"))
    prefix, raw = nkeys.decode_seed(bytearray(SEED))
    assert prefix == nkeys.PREFIX_BYTE_USER
    assert nkeys.encode_seed(raw, prefix) == SEED
    with pytest.raises(nkeys.NkeysError):
        nkeys.from_seed(bytearray(b"XXAP4ZTY"))
