"""The load: callers on the bus, each with one request outstanding; the same, and as cheap, for every bridge."""

import time
from collections.abc import Sequence
from typing import Any, Final, Self

import msgspec
import zmq

from bench_lib.processes import BenchError, Place
from bench_lib.rows import Sample

TYPE: Final = "integration.bench.request"
_RESPONSE: Final = f"response.{TYPE}"
# Seconds: until a bridge must have answered for the first time; for one answer; for a second one to show.
_JOIN: Final = 10.0
_PATIENCE: Final = 10.0
_LATE: Final = 0.05


class _Body(msgspec.Struct):
    ok: bool
    result: Any = None


class _Response(msgspec.Struct):
    correlation_id: str
    payload: _Body


class Callers:
    """One PUB and one SUB that stand for many callers; `with` closes them."""

    def __init__(self, place: Place) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pub = self._context.socket(zmq.PUB)
        self._sub = self._context.socket(zmq.SUB)
        for socket in (self._pub, self._sub):
            socket.set(zmq.LINGER, 0)
        self._sub.subscribe(_RESPONSE)
        self._sub.connect(place.subscribe)
        self._pub.connect(place.publish)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(_Response).decode
        self._last = 0
        self._right = 0
        self._frame = TYPE.encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pub.close()
        self._sub.close()
        self._context.term()

    def send(self, count: int) -> None:
        """Ask so often, without a look at what is answered; see `flow.Source`."""
        for _ in range(count):
            self._send()

    def fileno(self) -> int | None:
        """See `flow.Sink`."""
        return self._sub.fileno()

    def seen(self, wait: float) -> int:
        """How many right answers there were so far; see `flow.Sink`."""
        while (response := self._receive(wait)) is not None:
            number = response.correlation_id
            self._right += response.payload.ok and response.payload.result["n"] == number
            wait = 0.0
        return self._right

    def _send(self) -> str:
        self._last += 1
        number = str(self._last)
        event = {
            "id": self._last,
            "event_type": TYPE,
            "payload": {"method": "echo", "params": {"n": number, "name": "lamp", "value": 21.5}},
            "timestamp": time.time_ns() // 1_000_000,
            "source": "bench",
            "correlation_id": number,
        }
        self._pub.send(self._frame, zmq.SNDMORE)
        self._pub.send(self._encode(event))
        return number

    def _receive(self, seconds: float) -> _Response | None:
        self._sub.set(zmq.RCVTIMEO, int(seconds * 1000))
        try:
            return self._decode(self._sub.recv_multipart()[1])
        except zmq.Again:
            return None

    def join(self) -> None:
        """Ask until there is an answer, then wait until all is quiet.

        Raises:
            BenchError: Nobody answers.
        """
        until = time.monotonic() + _JOIN
        while time.monotonic() < until:
            self._send()
            if self._receive(0.1) is not None:
                while self._receive(0.2) is not None:
                    pass
                return
        raise BenchError("the bridge does not answer")

    def run(self, callers: int, seconds: float) -> Sample:
        """Let so many callers ask for so long; each answer sets off that caller's next request.

        The requests that are under way in the end are waited for; they count as answered, not for the rate.
        """
        waiting = {self._send(): time.perf_counter_ns() for _ in range(callers)}
        started = time.perf_counter_ns()
        end = started + int(seconds * 1e9)
        latencies: list[int] = []
        strange = wrong = inside = 0
        asked = callers
        self._sub.set(zmq.RCVTIMEO, int(_PATIENCE * 1000))
        recv, decode, send, now = self._sub.recv_multipart, self._decode, self._send, time.perf_counter_ns
        while waiting:
            try:
                response = decode(recv()[1])
            except zmq.Again:
                break
            at = now()
            sent = waiting.pop(response.correlation_id, None)
            if sent is None:
                strange += 1
                continue
            latencies.append(at - sent)
            if not response.payload.ok or response.payload.result["n"] != response.correlation_id:
                wrong += 1
            if at < end:
                inside += 1
                asked += 1
                at = now()
                waiting[send()] = at
        while self._receive(_LATE) is not None:
            strange += 1
        return _sample(latencies, inside, seconds, asked=asked, lost=len(waiting), strange=strange, wrong=wrong)


def _sample(
    latencies: Sequence[int], inside: int, seconds: float, *, asked: int, lost: int, strange: int, wrong: int
) -> Sample:
    problems = [
        text
        for count, text in (
            (lost, f"{lost} of {asked} requests got no answer"),
            (strange, f"{strange} answers to nothing that was asked, or a second time"),
            (wrong, f"{wrong} of {asked} answers were errors or another's"),
        )
        if count
    ]
    return sample_of(latencies, inside, seconds, problems)


def sample_of(latencies_ns: Sequence[int], inside: int, seconds: float, problems: Sequence[str] = ()) -> Sample:
    """A sample from latencies in nanoseconds, and how many ended within the time."""
    if not latencies_ns:
        return Sample(0.0, problems=(*problems, "nothing was answered"))
    ordered = sorted(latencies_ns)
    return Sample(
        rate=inside / seconds,
        p50=ordered[len(ordered) // 2] / 1e6,
        p99=ordered[len(ordered) * 99 // 100] / 1e6,
        done=len(ordered),
        problems=tuple(problems),
    )
