"""Messages through a bridge: as fast as it goes, never further ahead than a window, and none may be lost."""

import dataclasses
import mmap
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

import zmq

from bench_lib.processes import BenchError, Place, ProcessorTime
from bench_lib.rows import Sample
from bench_lib.stream import TYPE, event, with_id, without_id
from bench_lib.wires import BATCH

#: Messages sent and not yet seen at the far end. The broker holds 4,000 for a slow subscriber, of which 2,000 are sure:
#: libzmq learns what was read when that is half of it. The queue of an integration holds 10,000. What is beyond is
#: dropped or shed, which is no measurement of speed.
WINDOW: Final = 2_000
#: Of the plan's seconds, since there are many ways.
SHARE: Final = 0.6
# Seconds: until the first message must have come through; without progress until the rest is lost; for a late one.
_JOIN: Final = 10.0
_PATIENCE: Final = 5.0
_QUIET: Final = 0.05
# Where others use the processor, what was sent to join may come that much later than the first.
_JOINED: Final = 0.4
_TICK: Final = 0.002


class Source(Protocol):
    """Where messages are sent."""

    def send(self, count: int) -> None:
        """Send `BATCH` messages at most."""


class Sink(Protocol):
    """The far end."""

    def seen(self, wait: float) -> int:
        """Messages so far; waits at most so many seconds for more."""

    def fileno(self) -> int | None:
        """What becomes readable when more have come, for `select`; None where that has to be asked for."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A running bridge that messages go through.

    Attributes:
        pid: Its process.
        ends: Opens where messages are sent, and where they arrive.
    """

    pid: int
    ends: Callable[[], AbstractContextManager[tuple[Source, Sink]]]


def join(source: Source, sink: Sink) -> None:
    """Send one message after the other until one comes through, then wait until all is quiet.

    Raises:
        BenchError: None comes through.
    """
    until = time.monotonic() + _JOIN
    before = sink.seen(0)
    while time.monotonic() < until:
        source.send(1)
        if sink.seen(0.05) > before:
            settle(sink, _JOINED)
            return
    raise BenchError("nothing comes through")


def settle(sink: Sink, quiet: float = _QUIET) -> int:
    """The count once nothing has come for `quiet` seconds."""
    count, since = sink.seen(0), time.monotonic()
    while time.monotonic() - since < quiet:
        now = sink.seen(_TICK)
        if now != count:
            count, since = now, time.monotonic()
    return count


def run(source: Source, sink: Sink, seconds: float, pids: Sequence[int] = (), *, window: int = WINDOW) -> Sample:
    """Send for so long, wait for the rest; the rate is of everything, from the first sent to the last seen.

    Args:
        source: Where to send.
        sink: Where they arrive.
        seconds: How long to send.
        pids: The processes of the bridge, whose processor time is counted.
        window: Messages sent and not yet seen at the far end, at most.
    """
    base = sink.seen(0)
    processor = ProcessorTime(pids)
    sent = seen = 0
    started = moved = time.perf_counter()
    end = started + seconds
    while True:
        now = time.perf_counter()
        room = min(BATCH, window - (sent - seen)) if now < end else 0
        if room > 0:
            source.send(room)
            sent += room
        elif now >= end and seen >= sent:
            break
        count = sink.seen(0.0 if room == BATCH else _TICK) - base
        if count != seen:
            seen, moved = count, time.perf_counter()
        elif time.perf_counter() - moved > _PATIENCE:
            break
    final = settle(sink) - base
    return Sample(
        rate=seen / (moved - started) if seen else 0.0,
        done=min(final, sent),
        cpu_us=processor.micros(final),
        problems=balance(sent, final),
    )


def balance(sent: int, arrived: int) -> tuple[str, ...]:
    """What is wrong with so many arrived of so many sent, in words; nothing where they are the same."""
    if arrived < sent:
        return (f"{sent - arrived} of {sent} messages did not arrive",)
    return (f"{arrived - sent} messages more than the {sent} that were sent",) if arrived > sent else ()


def measure(source: Source, sink: Sink, seconds: float, pids: Sequence[int] = ()) -> Sample:
    """Join, warm up for a moment, in which nothing may go wrong either, and run."""
    join(source, sink)
    warm = run(source, sink, min(0.2, seconds / 4))
    sample = run(source, sink, seconds, pids)
    return dataclasses.replace(sample, problems=(*warm.problems, *sample.problems))


def flood(candidate: Candidate, seconds: float) -> Sample:
    """Open both ends and measure."""
    with candidate.ends() as (source, sink):
        return measure(source, sink, seconds, [candidate.pid])


class BusSource:
    """A publisher on a bus that sends the stream's events; `with` closes it."""

    def __init__(self, place: Place) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pub = self._context.socket(zmq.PUB)
        self._pub.set(zmq.LINGER, 0)
        self._pub.set(zmq.SNDHWM, 0)
        self._pub.connect(place.publish)
        self._frame = TYPE.encode()
        self._ends = [without_id(event(number)) for number in range(1, BATCH + 1)]
        self._id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pub.close()
        self._context.term()

    def send(self, count: int) -> None:
        """See `Source`."""
        send, frame = self._pub.send, self._frame
        for end in self._ends[:count]:
            # An event that comes again and again sets nothing off.
            self._id += 1
            send(frame, zmq.SNDMORE)
            send(with_id(self._id, end))


class BusSink:
    """A subscriber on a bus that counts events of one type; `with` closes it."""

    def __init__(self, place: Place, event_type: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sub = self._context.socket(zmq.SUB)
        self._sub.set(zmq.LINGER, 0)
        self._sub.set(zmq.RCVHWM, 0)
        self._sub.set(zmq.RECONNECT_IVL, 2)
        self._sub.subscribe(event_type)
        self._sub.connect(place.subscribe)
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sub.close()
        self._context.term()

    def fileno(self) -> int | None:
        """See `Sink`. It is edge-triggered: look with `seen` before each wait."""
        return self._sub.fileno()

    def seen(self, wait: float) -> int:
        """See `Sink`."""
        recv, again = self._sub.recv, zmq.NOBLOCK
        if self._sub.poll(int(wait * 1000)):
            try:
                for _ in range(2 * BATCH):
                    recv(again)
                    recv(again)
                    self._count += 1
            except zmq.Again:
                pass
        return self._count


class Cell:
    """A number in a file that two processes share: the far end of what has no bus; `with` closes it."""

    _FORMAT: Final = struct.Struct("Q")

    def __init__(self, file: Path) -> None:
        """The file is made where it is missing."""
        if not file.exists():
            file.write_bytes(bytes(self._FORMAT.size))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), self._FORMAT.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.close()

    def set(self, count: int) -> None:
        """Say how many there were so far."""
        self._FORMAT.pack_into(self._memory, 0, count)

    def fileno(self) -> int | None:
        """See `Sink`."""
        return None

    def seen(self, wait: float) -> int:
        """See `Sink`."""
        time.sleep(wait)
        return int(self._FORMAT.unpack_from(self._memory, 0)[0])
