"""The outbox against a model: whatever comes, fails and is killed, nothing is lost, doubled or sent too early."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.core.errors import (
    AttemptTimeoutError,
    BridgeError,
    CircuitOpenError,
    DeadlineError,
    NotConnectedError,
    OverloadedError,
    RejectedError,
    ThrottledError,
)
from bridge.outbox import commit_queue, delivery_queue
from bridge.outbox.store import Store
from tests.support.folders import folder_in_memory
from tests.support.guard.outbox import OutboxHarness, numbers

#: What the guard may answer, and how many attempts it made.
ERRORS = st.sampled_from(["timeout", "timeout_sent", "not_connected", "circuit", "throttled", "rejected", "deadline"])


def error(kind: str, *, once: bool) -> tuple[BridgeError, int]:
    """The guard's error; what must not be repeated comes narrowed, as from the guard."""
    match kind:
        case "timeout":
            return AttemptTimeoutError("t", maybe_sent=False), 1
        case "timeout_sent":
            made = AttemptTimeoutError("t")
            made.retryable = not once
            return made, 1
        case "not_connected":
            return NotConnectedError("n"), 3
        case "circuit":
            return CircuitOpenError("c", retry_after_ms=700), 0
        case "throttled":
            return ThrottledError("t", retry_after_ms=300), 1
        case "rejected":
            return RejectedError("r", code=1), 1
        case _:
            return DeadlineError("d", maybe_sent=False), 0


def _is_refusal(event: tuple[str, Any, str | None]) -> bool:
    return event[0] == "response.order" and not event[1]["ok"] and event[1]["error"]["kind"] == "overloaded"


class OutboxMachine(RuleBasedStateMachine):
    """Events of some keys, failures, crashes and time, in any order: each event has exactly one outcome in the end."""

    @initialize(small=st.booleans())
    def begin(self, small: bool) -> None:
        """Begin with an empty outbox, which may hold only a few entries in memory."""
        self.patches = pytest.MonkeyPatch()
        if small:
            self.patches.setattr(delivery_queue, "WINDOW", 6)
            self.patches.setattr(delivery_queue, "_MOST_FOLLOWERS", 2)
        self.patches.setattr(commit_queue, "AGAIN", 0.0)
        self.disk_works, self.has_failed = True, False
        begin = Store.begin
        self.patches.setattr(Store, "begin", lambda store: self.begin_writing(store, begin))
        self.loop = asyncio.new_event_loop()
        self.place = folder_in_memory()
        self.box = OutboxHarness(Path(self.place.name) / "data")
        self.count = 0
        self.keys: dict[int, str | None] = {}
        self.calls: set[int] = set()
        self.own: dict[str, int] = {}
        self.accepted: list[int] = []
        self.ended: dict[int, str] = {}
        self.finished: set[int] = set()
        self.late: dict[int, float] = {}
        self.unwritten: set[int] = set()
        self.told: defaultdict[int, set[str]] = defaultdict(set)
        self.sent: defaultdict[int, set[str | None]] = defaultdict(set)
        self.maybe_done: set[int] = set()
        self.read = 0
        self.run(self.box.open())

    def begin_writing(self, store: Store, begin: Callable[[Store], None]) -> None:
        """Begin a transaction, if the disk works."""
        if not self.disk_works:
            raise sqlite3.OperationalError("disk I/O error")
        begin(store)

    @rule(works=st.booleans())
    def change_disk(self, works: bool) -> None:
        """Break the disk, or mend it, which the thread notices by itself."""
        self.disk_works = works
        self.has_failed = self.has_failed or not works
        if works:
            self.unwritten.clear()
        commits = self.box.outbox._commits
        assert commits is not None
        self.do(lambda: commits.on_thread(lambda _: None, lambda _: None))

    def run(self, what: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine, and check what was submitted and published meanwhile."""
        self.loop.run_until_complete(what)
        self.learn()

    def do(self, act: Callable[[], None]) -> None:
        """Call a function on the loop, and let everything happen that follows."""

        async def acting() -> None:
            act()
            await self.box.settle()

        self.run(acting())

    def learn(self) -> None:
        """Check what was submitted and published since the last time, in order."""
        news, self.read = self.box.log[self.read :], len(self.box.log)
        for entry in news:
            if len(entry) == 2:
                self.submitted(*entry)
            elif entry[0].startswith("receipt."):
                self.receipt(int(entry[2][1:]), entry[0])

    def submitted(self, number: int, key: str | None) -> None:
        """Check that an operation may be submitted now."""
        assert number not in self.ended, "what has ended is not done again"
        assert number not in self.finished, "nor what has ended and could not be written"
        assert number not in self.maybe_done, "what may have been done, and must not be twice, is not"
        if self.keys[number] is not None:
            now = self.box.clock.monotonic()
            over = self.ended.keys() | self.finished | {one for one, due in self.late.items() if due <= now}
            of_key = [one for one in self.accepted if one < number and self.keys[one] == self.keys[number]]
            before = [one for one in of_key if one not in over]
            assert not before, "nothing starts before everything earlier of its key has ended"
        self.sent[number].add(key)
        assert len(self.sent[number]) == 1, "the key stays the same"

    def receipt(self, number: int, event_type: str) -> None:
        """Check that an event has only one outcome."""
        self.told[number].add(event_type)
        assert len(self.told[number]) == 1, "never two different outcomes"
        self.ended[number] = event_type.rpartition(".")[2]

    @rule(keys=st.text("aab-", min_size=1, max_size=8), call=st.booleans(), own=st.booleans(), late=st.booleans())
    def accept(self, keys: str, call: bool, own: bool, late: bool) -> None:
        """Accept events, some without a key; they are committed before anything else happens."""
        for key in keys:
            self.accept_one(None if key == "-" else key, call=call, own=own, deadline=5.0 if late else None)

    def accept_one(self, key: str | None, *, call: bool, own: bool, deadline: float | None) -> None:
        """Accept one event."""
        self.count += 1
        number = self.count
        self.keys[number] = key
        if call and not own:
            self.calls.add(number)
        idempotency_key = f"own-{number}" if own else None
        mark = len(self.box.bus.events)
        try:
            self.do(
                lambda: self.box.accept(number, key=key, call=call, idempotency_key=idempotency_key, deadline=deadline)
            )
        except OverloadedError:
            return
        if any(_is_refusal(event) for event in self.box.bus.events[mark:]):
            return
        if deadline is not None:
            self.late[number] = self.box.clock.monotonic() + deadline
        if idempotency_key is not None:
            self.own[idempotency_key] = number
        self.accepted.append(number)

    @precondition(lambda self: self.own and self.disk_works and self.box.outbox.problem is None)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Repeat a key: it is answered if its event has ended, and starts nothing."""
        key = data.draw(st.sampled_from(sorted(self.own)))
        number, before = self.own[key], len(self.box.api.submitted)
        mark = len(self.box.bus.events)
        self.do(lambda: self.box.accept(number, key=self.keys[number], idempotency_key=key))
        assert len(self.box.api.submitted) == before
        responses = [event for event in self.box.bus.events[mark:] if event[0] == "response.order"]
        assert len(responses) == (1 if number in self.ended else 0)

    @precondition(lambda self: self.box.api.running)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        """End a running operation with a result."""
        number = data.draw(st.sampled_from(numbers(self.box.api)))
        self.finished.add(number)
        self.do(lambda: self.box.api.end(number))
        if self.disk_works:
            assert self.ended[number] == "delivered"

    @precondition(lambda self: self.box.api.running)
    @rule(data=st.data(), kind=ERRORS)
    def fail(self, data: st.DataObject, kind: str) -> None:
        """End a running operation with an error."""
        number = data.draw(st.sampled_from(numbers(self.box.api)))
        made, attempts = error(kind, once=number in self.calls)
        if number in self.calls and made.maybe_sent:
            self.maybe_done.add(number)
        if number in self.maybe_done or kind in {"rejected", "deadline"}:
            self.finished.add(number)
        elif number in self.calls and not self.disk_works:
            self.unwritten.add(number)
        self.do(lambda: self.box.api.end(number, made, attempts=attempts))
        if not self.disk_works:
            return
        if number in self.maybe_done or kind == "rejected":
            assert self.ended[number] == "dead_lettered"
        elif kind == "deadline":
            assert self.ended[number] == "expired"

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.run(self.box.clock.advance(seconds))
        self.run(self.box.settle())

    @rule(usable=st.booleans())
    def switch(self, usable: bool) -> None:
        """Disconnect the integration, or connect it again."""
        self.box.api.usable = self.box.api.well = usable
        self.do(self.box.outbox.wake)

    @rule()
    def crash(self) -> None:
        """Crash and start again: a running call without a key may have been made."""
        in_flight = set(numbers(self.box.api)) | (self.finished - self.ended.keys()) | self.unwritten
        self.maybe_done |= in_flight & self.calls
        self.finished.clear()
        self.unwritten.clear()
        self.disk_works, self.has_failed = True, False
        self.run(self.box.restart())

    @invariant()
    def balanced(self) -> None:
        """Check that the counts add up, and that exactly what has not ended is on disk."""
        if not hasattr(self, "box"):
            return
        sums = self.box.api.accounting
        told = msgspec.structs.asdict(sums.sums())
        assert told.pop("accepted") == sum(told.values())
        if self.disk_works and self.box.outbox.problem is None:
            assert told["queued"] + told["in_flight"] == self.box.pending, "one event counts once, wherever it is"
        assert (told["failed"], told["shed"]) == (0, 0), "what the outbox keeps is neither"
        assert self.box.pending == len(self.accepted) - len(self.ended)
        totals = self.box.store.totals
        self.box.store._count()
        assert self.box.store.totals == totals
        # While nothing can be written, a call that needs a mark before lets the others go first.
        for key in ("a", "b") if self.has_failed else ("a", "b", None):
            self.in_order([number for number, _ in self.box.api.submitted if self.keys[number] == key])

    def in_order(self, submitted: list[int]) -> None:
        """Check that between two crashes events of a key, and those without one, start for the first time in order."""
        first = list(dict.fromkeys(submitted))
        assert first == sorted(first)

    def teardown(self) -> None:
        """Check in the end that with a working remote everything ends."""
        if not hasattr(self, "box"):
            return
        try:
            self.finish()
        finally:
            self.patches.undo()
            self.loop.run_until_complete(self.box.outbox.close())
            self.loop.close()
            self.place.cleanup()

    def finish(self) -> None:
        """Let all operations succeed until nothing is pending."""
        self.box.api.usable = self.box.api.well = True
        self.change_disk(True)
        self.do(self.box.outbox.wake)
        for _ in range(2000):
            if not self.box.pending:
                break
            for number in numbers(self.box.api):
                self.do(partial(self.box.api.end, number))
            self.run(self.box.clock.advance(1.0))
        assert set(self.ended) == set(self.accepted)
        for number in self.maybe_done:
            assert self.ended[number] == "dead_lettered"


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
