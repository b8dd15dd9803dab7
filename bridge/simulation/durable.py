"""A durable consumer of a broker in memory, and who reads it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from bridge.core.cluster import Handle, OnEnded, Received
from bridge.core.errors import BridgeError
from bridge.core.ports import Clock
from bridge.core.timer import Timer
from bridge.simulation.line import Line
from bridge.simulation.stream import StoredMessage, StoredStream


class Reader(Protocol):
    """The session that reads a consumer.

    Attributes:
        node: Whose it is.
        lines: What goes to the broker, and what comes from it.
    """

    node: str
    lines: tuple[Line, ...]


@dataclass(eq=False)
class Delivery:
    """A message that was delivered and not acknowledged.

    Attributes:
        message: The message.
        reading: Who has it.
        deliveries: How often it was delivered.
        heard: When it was delivered, or was last known to be in progress.
    """

    message: StoredMessage
    reading: "Reading"
    deliveries: int
    heard: float


class DurableConsumer:
    """A durable consumer at the broker.

    Attributes:
        subject: What it reads of the stream.
    """

    def __init__(
        self,
        stream: StoredStream,
        clock: Clock,
        ack_wait: float,
        is_silent: Callable[[Literal["to", "from"], str], bool],
        is_up: Callable[[], bool],
    ) -> None:
        """Begin with what is stored from now on.

        Args:
            stream: What it reads.
            clock: All time.
            ack_wait: Seconds after which a message is delivered again that nobody has called in progress.
            is_silent: Returns whether nothing passes to the broker, or from it, for a node.
            is_up: Returns whether JetStream works.
        """
        self.subject = ">"
        self._stream = stream
        self._clock = clock
        self._ack_wait = ack_wait
        self._is_silent = is_silent
        self._is_up = is_up
        self._cursor = stream.state.last
        self._unacknowledged: dict[int, Delivery] = {}
        self._again: dict[int, int] = {}
        self._readings: list[Reading] = []
        self._timer = Timer(clock)

    @property
    def acknowledged(self) -> int:
        """See `ConsumerState.acknowledged`."""
        waiting = (*self._unacknowledged, *self._again)
        return min(waiting) - 1 if waiting else self._cursor

    @property
    def pending(self) -> int:
        """See `ConsumerState.pending`."""
        return sum(1 for _ in self._stream.after(self._cursor, self.subject))

    def read(self, reading: "Reading") -> None:
        """Let somebody read it, too."""
        self._readings.append(reading)
        self.pump()

    def leave(self, session: Reader, reading: "Reading | None" = None) -> None:
        """End what a session reads, or one reading of it."""
        self._readings = [
            one for one in self._readings if one.session is not session or (reading is not None and one is not reading)
        ]

    def end(self, error: BridgeError) -> None:
        """Tell all who read it that it is gone."""
        self._timer.cancel()
        self._unacknowledged.clear()
        readings, self._readings = self._readings, []
        for reading in readings:
            reading.session.lines[1].send(partial(reading.end, error))

    def pump(self) -> None:
        """Deliver what there is to those who have room for it."""
        while self._is_up():
            # Whoever is not heard of gets nothing while another one asks: its pulls end.
            readings = sorted(self._readings, key=lambda one: self._is_silent("to", one.session.node))
            reading = next((one for one in readings if self._in_hand(one) < one.prefetch), None)
            found = None if reading is None else self._next()
            if reading is None or found is None:
                break
            message, deliveries = found
            self._unacknowledged[message.sequence] = Delivery(message, reading, deliveries, self._clock.elapsed())
            reading.session.lines[1].send(partial(reading.take, message, deliveries))
        if self._unacknowledged and not self._timer.is_set:
            self._timer.set(self._ack_wait / 3, self._look)

    def _in_hand(self, reading: "Reading") -> int:
        return sum(one.reading is reading for one in self._unacknowledged.values())

    def _next(self) -> tuple[StoredMessage, int] | None:
        """Return the next message to deliver, and how often it is delivered then: those of before come first."""
        while self._again:
            sequence = min(self._again)
            deliveries = self._again.pop(sequence)
            message = self._stream.get(sequence)
            if message is not None:
                return message, deliveries + 1
        message = next(self._stream.after(self._cursor, self.subject), None)
        if message is None:
            return None
        self._cursor = message.sequence
        return message, 1

    def acknowledge(self, sequence: int) -> None:
        """A message is done with."""
        self._unacknowledged.pop(sequence, None)
        self._again.pop(sequence, None)
        self.pump()

    def _look(self) -> None:
        """Take back what nobody has in progress."""
        now = self._clock.elapsed()
        for sequence, delivery in tuple(self._unacknowledged.items()):
            reading = delivery.reading
            node = reading.session.node
            if reading in self._readings and reading.has(sequence) and not self._is_silent("to", node):
                delivery.heard = now
            elif now - delivery.heard >= self._ack_wait - 0.001:
                del self._unacknowledged[sequence]
                self._again[sequence] = delivery.deliveries
        self.pump()


class Reading:
    """One `consume` of a session."""

    def __init__(
        self,
        session: Reader,
        handle: Handle,
        on_ended: OnEnded,
        prefetch: int,
        acknowledge: Callable[[int], None],
    ) -> None:
        self.session = session
        self.prefetch = prefetch
        self._handle = handle
        self._on_ended = on_ended
        self._acknowledge = acknowledge
        self._in_hand: set[int] = set()
        self._tasks: set[asyncio.Future[None]] = set()
        self._is_over = False

    def has(self, sequence: int) -> bool:
        """Return whether a message is here, and not done with."""
        return sequence in self._in_hand

    def take(self, message: StoredMessage, deliveries: int) -> None:
        """Hand a message over."""
        if self._is_over:
            return
        self._in_hand.add(message.sequence)
        received = Received(
            subject=message.subject,
            body=message.body,
            headers=message.headers,
            message_id=message.message_id,
            sequence=message.sequence,
            deliveries=deliveries,
        )
        waiting = self._handle(received)
        if waiting is None:
            self._done(message.sequence)
            return
        future = asyncio.ensure_future(waiting)
        self._tasks.add(future)
        future.add_done_callback(partial(self._finished, message.sequence))

    def _finished(self, sequence: int, future: "asyncio.Future[None]") -> None:
        self._tasks.discard(future)
        error = None if future.cancelled() else future.exception()
        if self._is_over:
            return
        if error is None and not future.cancelled():
            self._done(sequence)
            return
        self._in_hand.discard(sequence)
        if error is not None and not isinstance(error, BridgeError):
            raise error

    def _done(self, sequence: int) -> None:
        self._in_hand.discard(sequence)
        self.session.lines[0].send(partial(self._acknowledge, sequence))

    def end(self, error: BridgeError) -> None:
        """It has ended by itself."""
        if not self._is_over:
            self.close()
            self._on_ended(error)

    def close(self) -> None:
        """Hand over and acknowledge nothing more."""
        self._is_over = True
        self._in_hand.clear()
        for task in self._tasks:
            if isinstance(task, asyncio.Task):
                task.cancel()
        self._tasks.clear()
