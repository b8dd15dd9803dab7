"""Streams and consumers: found, made again where they are gone, and known again by the time at which they were made."""

import contextlib
import json
from typing import Any

import pytest

from bridge.adapters.nats.config import NatsConfig
from bridge.adapters.nats.consumers import Consumers
from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.errors import ProtocolError, RejectedError
from tests.support.adapters.setup import adapter_setup
from tests.support.adapters.told import Told
from tests.support.clock import FakeClock

CONFIG = NatsConfig.model_validate({"stream": {"name": "S", "subjects": ["a.*"]}, "durable": "c"})
COUNTS = {"messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0, "consumer_count": 0}
SEQUENCES = {"consumer_seq": 0, "stream_seq": 0}


class JetStream:
    """A server's JetStream with one stream and one consumer; a test takes them away and makes them again."""

    server_version = "2.10.0"

    def __init__(self) -> None:
        self.time = 0
        self.stream: dict[str, Any] | None = None
        self.consumer: dict[str, Any] | None = None
        self.ack_wait: Any = 2_000_000_000
        self.made: list[str] = []

    async def ask(self, subject: str, payload: bytes = b"") -> NatsMessage:
        """See `NatsConnection.ask`."""
        kind, what = subject.split(".")[2:4]
        if what in {"CREATE", "DURABLE"}:
            self.make(kind)
        answer = self.stream if kind == "STREAM" else self.consumer
        if subject == "$JS.API.STREAM.NAMES":
            answer = {"streams": [] if self.stream is None else ["S"]}
        missing = {"error": {"code": 404, "err_code": 10059, "description": f"{kind.lower()} not found"}}
        return NatsMessage(1, "", "", json.dumps(missing if answer is None else answer).encode())

    def make(self, kind: str) -> None:
        """Make stream or consumer, at a later time than before."""
        self.time += 1
        self.made.append(kind)
        created = f"2026-11-27T10:00:{self.time:02}.123456789Z"
        if kind == "STREAM":
            self.stream = {"config": {"name": "S", "subjects": ["a.*"]}, "created": created, "state": COUNTS}
        else:
            config = {"durable_name": "c", "ack_policy": "explicit", "deliver_policy": "all", "ack_wait": self.ack_wait}
            self.consumer = {"stream_name": "S", "name": "c", "created": created, "config": config}
            self.consumer |= {"delivered": SEQUENCES, "ack_floor": SEQUENCES}

    def lose(self) -> None:
        """Lose both, as a server without its memory does."""
        self.stream = self.consumer = None


def _consumers(server: JetStream, told: Told, state: dict[str, Any], again: list[str]) -> Consumers:
    setup = adapter_setup("test", clock=FakeClock(), session_state=state, **told.callbacks)
    return Consumers(server, CONFIG, setup, again.append)  # type: ignore[arg-type]


async def test_made_once() -> None:
    """What is there is left as it is."""
    server, told, again = JetStream(), Told(), []
    consumers = _consumers(server, told, {}, again)
    assert [await consumers.prepare() for _ in range(2)] == [True, False]
    assert (server.made, told.warnings, again) == (["STREAM", "CONSUMER"], {}, [])


@pytest.mark.parametrize("queue", ["S/c", "S", "a.*"])
async def test_made_again_when_it_is_needed(queue: str) -> None:
    """A queue of the configuration is there whenever it is asked for, and what was made again is told."""
    server, told, again = JetStream(), Told(), []
    consumers = _consumers(server, told, {}, again)
    await consumers.prepare()
    await consumers.find(queue)
    server.lose()
    consumers.forget()
    consumer = await consumers.find(queue)
    assert (consumer.stream, consumer.name, server.made) == ("S", "c", ["STREAM", "CONSUMER"] * 2)
    assert sorted(told.warnings) == ["consumer S/c", "stream S"]
    assert set(again) == {"S"}


async def test_known_again_in_the_next_session() -> None:
    """Whoever has made it again: the state that sessions leave for each other tells."""
    server, told, again = JetStream(), Told(), []
    state: dict[str, Any] = {}
    await _consumers(server, told, state, again).prepare()
    await _consumers(server, told, state, again).prepare()
    assert (told.warnings, again) == ({}, [])
    server.make("CONSUMER")
    await _consumers(server, told, state, again).find("S/c")
    assert list(told.warnings) == ["consumer S/c"]
    assert "10:00:02.123" in told.warnings["consumer S/c"]
    assert "10:00:03.123" in told.warnings["consumer S/c"]
    assert again == ["S"]


async def test_one_of_others_is_not_made() -> None:
    """A consumer that the configuration does not name belongs to somebody else."""
    server, told = JetStream(), Told()
    consumers = _consumers(server, told, {}, [])
    with pytest.raises(RejectedError, match="not found"):
        await consumers.find("S/other")
    assert server.made == []


@pytest.mark.parametrize(
    ("nanoseconds", "seconds"),
    [(2_000_000_000, 2.0), (0, 30.0), (None, 30.0), (1, 0.2), (-5, 0.2), (10**40, 3600.0), (float("nan"), 3600.0)],
)
async def test_any_ack_wait(nanoseconds: Any, seconds: float) -> None:
    """A server may say anything: it leads neither to a loop without a pause nor to a time that no timer takes."""
    server = JetStream()
    server.ack_wait = nanoseconds
    server.make("CONSUMER")
    assert (await _consumers(server, Told(), {}, []).find("S/c")).ack_wait == seconds


@pytest.mark.parametrize("wrong", ["x", [], {}, True, 10**400])
@pytest.mark.parametrize("part", ["created", "config", "stream_name", "delivered"])
async def test_any_consumer(part: str, wrong: Any) -> None:
    """What a server says of a consumer may have any type: it can be used, or the call fails."""
    server = JetStream()
    server.make("CONSUMER")
    assert server.consumer is not None
    server.consumer[part] = wrong
    consumers = _consumers(server, Told(), {}, [])
    with contextlib.suppress(ProtocolError):
        assert (await consumers.find("S/c")).name == "c"
