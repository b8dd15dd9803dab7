"""The outbox on a fake clock: caps, ages, waiting, receipts, dead letters, a disk that is full."""

import asyncio
import functools
import sqlite3

import msgspec
import pytest

from bridge.core.errors import (
    AuthError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    OverloadedError,
    RejectedError,
    StoppingError,
    ThrottledError,
    UnavailableError,
)
from bridge.core.model import Letters
from bridge.outbox import Selection, commit_queue
from bridge.outbox.folder import Folder
from bridge.outbox.reserve import Reserve
from bridge.outbox.store import Store
from bridge.resilience import Stage
from tests.support.guard.outbox import InlineCommitQueue, OutboxHarness, numbers
from tests.support.guard.tracer import RecordingTracer


class SilentCommitQueue(InlineCommitQueue):
    """A commit queue that never commits."""

    async def close(self) -> None:
        """Close without committing."""
        self._turn = None
        self.store.close()

    def _send(self) -> None:
        pass


@pytest.fixture
def box(tmp_path):
    """An outbox with small caps; a test opens it."""
    made = OutboxHarness(tmp_path / "data", max_bytes=20_000, max_age=60)
    yield made
    made.store.close()
    made.outbox._storage.release()


async def test_a_key_waits_and_others_do_not(box):
    """Of a key nothing starts before the one before has ended, also while that waits; other keys go on."""
    await box.open()
    for number, key in enumerate("aabab", start=1):
        box.accept(number, key=key)
    await box.settle()
    assert numbers(box.api) == [1, 3]
    box.api.end(1, UnavailableError("u"))
    box.api.end(3)
    await box.settle()
    assert numbers(box.api) == [5]
    await box.clock.advance(1.1)
    assert numbers(box.api) == [5, 1]
    box.api.end(1, RejectedError("a dead letter ends it, too"))
    await box.settle()
    assert numbers(box.api) == [5, 2]
    box.api.end(2)
    await box.settle()
    assert numbers(box.api) == [5, 4]


async def test_without_a_key_nothing_waits_for_another(box):
    """Entries of a route without `key` start in the order of arrival, and overtake one that has failed."""
    await box.open()
    box.api.capacity = 2
    for number in range(1, 5):
        box.accept(number, key=None)
    await box.settle()
    assert numbers(box.api) == [1, 2]
    box.api.end(1, UnavailableError("u"))
    await box.settle()
    assert numbers(box.api) == [2, 3]
    box.api.end(2)
    box.api.end(3)
    await box.clock.advance(1.1)
    assert numbers(box.api) == [4, 1]
    await box.restart()
    assert numbers(box.api) == [1, 4], "after a crash, in the order of arrival"


async def test_an_entry_that_expires_behind_another_of_its_key(box):
    """It is ended where it waits, and the next one follows."""
    await box.open()
    for number in (1, 2, 3):
        box.accept(number, deadline=3 if number == 2 else None)
    await box.clock.advance(5)
    assert [event[2] for event in box.bus.of("receipt.api.expired")] == ["c2"]
    assert numbers(box.api) == [1]
    box.api.end(1)
    await box.settle()
    assert numbers(box.api) == [3]


async def test_many_entries_of_one_key_leave_room_for_others(tmp_path, monkeypatch):
    """Only some of them are held in memory, so that those of other keys are read behind them; all come, in order."""
    monkeypatch.setattr("bridge.outbox.delivery_queue.WINDOW", 200)
    box = OutboxHarness(tmp_path / "data")
    await box.open()
    for number in range(1, 601):
        box.accept(number, key="other" if number > 590 else "k")
    await box.settle()
    assert numbers(box.api) == [1, 591]
    order = []
    while box.pending:
        (number, *_) = numbers(box.api)
        order.append(number)
        box.api.end(number)
        await box.settle()
    assert [one for one in order if one <= 590] == list(range(1, 591))
    assert [one for one in order if one > 590] == list(range(591, 601))
    await box.outbox.close()


async def test_no_more_wait_for_another_try_than_are_allowed(box, monkeypatch):
    """What comes after that stays on disk until some of them have ended, and none is lost."""
    monkeypatch.setattr("bridge.outbox.delivery_queue._MOST_BLOCKED", 10)
    await box.open()
    for number in range(1, 31):
        box.accept(number, key=None)
        await box.settle()
        for one in numbers(box.api):
            box.api.end(one, UnavailableError("u"))
        await box.settle()
    assert len(box.outbox._queues["api"]._keys) == 10
    done = []
    while box.pending:
        for one in numbers(box.api):
            done.append(one)
            box.api.end(one)
        await box.clock.advance(1.0)
    assert sorted(done) == list(range(1, 31))


async def test_an_integration_that_is_away_is_probed_by_one(box):
    """After `not_connected` nothing starts for a while, then one, and after its success more and more."""
    await box.open()
    for number in range(1, 8):
        box.accept(number, key=str(number))
    await box.settle()
    assert numbers(box.api) == [1, 2, 3, 4]
    for number in (1, 2, 3, 4):
        box.api.end(number, NotConnectedError("n"))
    await box.settle()
    assert numbers(box.api) == []
    await box.clock.advance(0.3)
    assert len(numbers(box.api)) == 1
    box.api.end(numbers(box.api)[0])
    await box.settle()
    assert len(numbers(box.api)) == 2


async def test_becoming_well_ends_all_waiting(box):
    """When the integration is connected again, neither its pause nor a key's lasts any longer."""
    await box.open()
    box.accept(1, key="a")
    await box.settle()
    box.api.end(1, ThrottledError("t", retry_after_ms=30_000))
    box.api.usable = box.api.well = False
    box.outbox.wake()
    await box.clock.advance(5)
    assert numbers(box.api) == []
    box.api.usable = box.api.well = True
    box.outbox.wake()
    await box.settle()
    assert numbers(box.api) == [1]


async def test_retry_after_is_kept(box):
    """An entry waits as long as the remote's `Retry-After`, not only our own backoff."""
    await box.open()
    box.accept(1)
    await box.settle()
    box.api.end(1, ThrottledError("t", retry_after_ms=8_000))
    await box.clock.advance(7.9)
    assert numbers(box.api) == []
    await box.clock.advance(0.2)
    assert numbers(box.api) == [1]


async def test_refused_credentials_wait_for_a_person_and_then_for_the_age(box):
    """With refused credentials an entry is tried slowly, and in the end is a dead letter with all its attempts."""
    await box.open()
    box.accept(1)
    await box.settle()
    box.api.end(1, AuthError("wrong password"))
    await box.clock.advance(14)
    assert numbers(box.api) == []
    await box.clock.advance(17)
    assert numbers(box.api) == [1]
    box.api.end(1, AuthError("wrong password"))
    await box.clock.advance(60)
    (found,) = (await box.outbox.letters(Selection(), 10)).letters
    assert (found.attempts, found.unknown) == (2, False)
    assert "max_age" in found.error.message
    assert box.api.accounting.count(Stage.DEAD_LETTERED) == box.api.accounting.accepted == 1


async def test_refused_credentials_concern_the_whole_integration(box):
    """Credentials that are refused for one operation would be for all: none starts before the next try."""
    await box.open()
    box.api.capacity = 1
    for number in (1, 2, 3):
        box.accept(number, key=str(number))
    await box.settle()
    box.api.end(1, AuthError("wrong password"))
    await box.clock.advance(14)
    assert numbers(box.api) == []
    assert box.outbox.counts().dead_letters == 0
    await box.clock.advance(17)
    assert len(numbers(box.api)) == 1


@pytest.mark.parametrize("sent", [True, False])
async def test_what_may_have_been_done_is_not_done_again(box, sent):
    """A call without a key that was sent before the connection broke becomes a dead letter; one not sent waits."""
    await box.open()
    box.accept(1, call=True)
    await box.settle()
    error = ConnectionLostError("l", maybe_sent=sent)
    error.retryable = not sent
    box.api.end(1, error)
    await box.clock.advance(2)
    letters = (await box.outbox.letters(Selection(), 10)).letters
    assert [one.unknown for one in letters] == ([True] if sent else [])
    assert numbers(box.api) == ([] if sent else [1])


async def test_a_call_that_an_adapter_may_repeat_is_repeated(box):
    """A call that the adapter may repeat is not marked as begun, and is made again after a crash."""
    await box.open()
    box.api.safe = True
    box.accept(1, call=True)
    await box.settle()
    await box.restart()
    assert numbers(box.api) == [1]


async def test_the_cap_refuses_until_there_is_room(box):
    """A full outbox answers `overloaded`, reports its problem, and accepts again when entries have ended."""
    await box.open()
    box.api.usable = False
    accepted = 0
    while box.outbox.problem is None:
        accepted += 1
        box.accept(accepted, payload="x" * 500)
        await box.settle()
    assert box.pending == accepted - 1
    (refused,) = box.bus.of("response.")
    assert refused[1]["error"]["kind"] == "overloaded"
    assert "max_bytes" in box.outbox.counts().problem
    assert [event[0] for event in box.bus.of("resilience.")] == ["resilience.api.failed"]
    assert not box.bus.of("receipt."), "what was not accepted has no outcome"
    with pytest.raises(OverloadedError, match="max_bytes"):
        box.accept(1000)
    box.api.usable = True
    box.outbox.wake()
    await box.settle()
    for number in range(1, 4):
        box.api.end(number)
        await box.settle()
    assert box.outbox.problem is None
    box.accept(1001)


async def test_a_full_disk_refuses_and_delivers_until_there_is_room(box, monkeypatch):
    """While the database cannot grow no event is accepted, but what is there is delivered, deleted and answered."""
    await box.open()
    monkeypatch.setattr(commit_queue, "AGAIN", 0.0)
    box.accept(1)
    await box.settle()
    size = box.store.execute("PRAGMA page_count").fetchone()[0]
    box.store.execute(f"PRAGMA max_page_count={size}")
    number = 1
    while box.outbox.problem is None:
        number += 1
        box.accept(number, payload="x" * 3000)
        await box.settle()
    assert "full" in box.outbox.problem
    assert box.bus.of("response.")[-1][1]["error"]["kind"] == "overloaded"
    pending = box.pending
    with pytest.raises(OverloadedError, match="full"):
        box.accept(1000)
    box.api.end(1)
    await box.settle()
    assert [event[0] for event in box.bus.of("receipt.")] == ["receipt.api.delivered"]
    assert box.pending == pending - 1
    assert box.outbox.problem is not None
    box.store.execute("PRAGMA max_page_count=100000")
    await _look_at_the_disk(box)
    assert box.outbox.problem is None
    box.accept(1001)
    await box.settle()
    assert box.pending == pending


async def test_a_disk_that_takes_nothing_at_all_does_not_stop_delivery(box, disk):
    """What ended is not sent again, and the next one of its key follows; all is told when it can be written."""
    await box.open()
    box.api.capacity = 10
    for number in range(1, 9):
        box.accept(number, key=None if number > 6 else f"k{number % 2}", call=number == 8)
    await box.settle()
    assert numbers(box.api) == [1, 2, 7, 8]
    box.api.end(8, NotConnectedError("n"))
    disk.works = False
    box.accept(9)
    await box.settle()
    assert box.outbox.problem == "the disk does not take it: disk I/O error"
    sent = []
    for _ in range(5):
        for number in numbers(box.api):
            sent.append(number)
            box.api.end(number)
        await box.clock.advance(1.0)
    assert sorted(sent) == [1, 2, 3, 4, 5, 6, 7], "a call that must not be made twice waits for its mark"
    assert [number for number in sent if number % 2] == [1, 7, 3, 5]
    assert (box.pending, box.bus.of("receipt.")) == (8, [])
    disk.works = True
    await _look_at_the_disk(box)
    assert box.outbox.problem is None
    await box.clock.advance(2.0)
    assert numbers(box.api) == [8]
    box.api.end(8)
    await box.settle()
    assert box.pending == 0
    assert sorted(event[2] for event in box.bus.of("receipt.api.delivered")) == [f"c{number}" for number in range(1, 9)]


async def test_progress_that_cannot_be_written_is_not_forgotten(box, disk):
    """An entry that fails meanwhile waits longer each time, and its attempts are counted."""
    await box.open()
    box.accept(1)
    await box.settle()
    disk.works = False
    for seconds in (1.0, 2.0, 4.0):
        box.api.end(1, UnavailableError("u"))
        await box.clock.advance(seconds / 2 - 0.1)
        assert numbers(box.api) == []
        await box.clock.advance(seconds / 2 + 0.2)
        assert numbers(box.api) == [1]
    box.api.end(1, RejectedError("no"))
    await box.settle()
    disk.works = True
    await _look_at_the_disk(box)
    (letter,) = (await box.outbox.letters(Selection(), 10)).letters
    assert letter.attempts == 4


def test_a_reserve_that_was_chosen_on_a_full_disk_grows(tmp_path, monkeypatch):
    """The next run takes its share of a disk that has room again, and never less than it has."""
    sizes = []
    for free in (100_000, 40 << 20, 100_000):
        monkeypatch.setattr(Reserve, "_free_bytes", lambda _, free=free: free)
        reserve = Reserve(tmp_path / "outbox.db.reserve", max_bytes=1 << 30)
        assert reserve.take()
        sizes.append(reserve.size)
    assert sizes[0] == 64 << 10
    assert sizes[1] == sizes[2] == ((40 << 20) + sizes[0]) // 8


def test_a_link_in_place_of_the_reserve_is_not_followed(tmp_path):
    """The file that it points to keeps its content, and the reserve is not there."""
    other = tmp_path / "other"
    other.write_bytes(b"x" * (1 << 20))
    link = tmp_path / "outbox.db.reserve"
    link.symlink_to(other)
    reserve = Reserve(link, max_bytes=1 << 20)
    reserve.give_back()
    assert not reserve.take()
    assert other.stat().st_size == 1 << 20


async def test_it_does_not_open_after_it_was_closed(tmp_path):
    """A reload may open it while the bridge stops: then it gives its file and its lock back."""
    box = OutboxHarness(tmp_path / "data")
    opening = asyncio.create_task(box.outbox.open())
    await asyncio.sleep(0)
    await box.outbox.close()
    with pytest.raises(StoppingError):
        await opening
    assert not box.outbox.is_open
    assert not box.clock.timers
    folder = Folder(tmp_path / "data")
    folder.take()
    folder.release()


async def test_a_disk_without_room_for_the_reserve_is_told_at_the_start(tmp_path, monkeypatch):
    """Nothing is accepted, what is left from before is delivered, and it recovers by itself."""
    box = OutboxHarness(tmp_path / "data")
    await box.open()
    box.accept(1)
    await box.settle()
    (tmp_path / "data" / "outbox.db.reserve").unlink()
    monkeypatch.setattr(commit_queue, "AGAIN", 0.0)
    monkeypatch.setattr(Reserve, "_fill", _no_room)
    await box.restart()
    with pytest.raises(OverloadedError, match="no room for a reserve"):
        box.accept(2)
    box.api.end(1)
    await box.settle()
    assert box.pending == 0
    monkeypatch.undo()
    monkeypatch.setattr(commit_queue, "AGAIN", 0.0)
    await _look_at_the_disk(box)
    assert box.outbox.problem is None
    await box.outbox.close()


def _no_room(*_):
    raise OSError(28, "No space left on device")


class Disk:
    """Takes writes of the outbox, or not."""

    works = True


@pytest.fixture
def disk(monkeypatch):
    """A disk under all outboxes that a test can break; a broken one is tried again at once."""
    made, begin = Disk(), Store.begin

    def check(store):
        if not made.works:
            raise sqlite3.OperationalError("disk I/O error")
        begin(store)

    monkeypatch.setattr(Store, "begin", check)
    monkeypatch.setattr(commit_queue, "AGAIN", 0.0)
    return made


async def _look_at_the_disk(box):
    """Do what the thread does each second."""
    box.outbox._commits.on_thread(lambda _: None, lambda _: None)
    await box.settle()


async def test_a_replay_keeps_key_and_correlation_and_tells_no_second_outcome(box):
    """A replayed letter goes to the end, without its deadline; it gets a response again, but no second receipt."""
    await box.open()
    box.accept(1, idempotency_key="mine", deadline=5)
    await box.settle()
    box.api.end(1, RejectedError("no", code=7))
    await box.clock.advance(10)
    box.bus.events.clear()
    assert await box.outbox.replay(Selection(integration="other"), None) == 0
    assert await box.outbox.replay(Selection(integration="api"), None) == 1
    await box.settle()
    assert box.api.submitted == [(1, "mine"), (1, "mine")]
    box.api.end(1)
    await box.settle()
    assert [(event[0], event[2]) for event in box.bus.events] == [("response.order", "c1")]
    assert box.outbox.counts().dead_letters == 0


async def test_each_call_is_in_the_trace_of_the_event_and_the_end_in_that_of_the_last_call(tmp_path):
    """A call after a failed one continues the event's trace, not the other call's; a dead letter the last call's."""
    tracer = RecordingTracer()
    box = OutboxHarness(tmp_path / "data", tracer=tracer)
    await box.open()
    box.accept(1, headers={"traceparent": "event"})
    await box.settle()
    box.api.end(1, UnavailableError("u"))
    await box.clock.advance(1.1)
    ((again, _),) = box.api.running
    assert [(span.name, span.parent) for span in tracer.spans] == [
        ("call 1, event-1", "event"),
        ("call 2, event-1", "event"),
    ]
    assert again.headers == {"traceparent": "call 2, event-1"}
    box.api.end(1, RejectedError("never"))
    await box.settle()
    assert tracer.ended[-1] == ("given up after 2, in call 2, event-1", ["rejected"])
    assert {one["traceparent"] for one in box.bus.headers} == {tracer.spans[-1].name}
    ((_, letter, _),) = box.bus.of("resilience.api.dead_letter")
    assert letter["event"]["headers"] == {"traceparent": "event"}
    box.accept(2, headers={"traceparent": "event"}, key=None)
    await box.settle()
    box.api.end(2)
    await box.settle()
    assert box.bus.headers[-1]["traceparent"] == "call 3, event-2"
    await box.outbox.close()


async def test_letters_come_in_pages(box):
    """Letters are listed by `limit` and `after`, as many as an answer may hold; ids that are not valid are refused."""
    await box.open()
    for number in range(1, 6):
        box.accept(number, payload="x" * 100)
    await box.settle()
    for number in range(1, 6):
        if number not in numbers(box.api):
            await box.settle()
        box.api.end(number, RejectedError("no"))
        await box.settle()
    first = await box.outbox.letters(Selection(), 2)
    assert ([one.event.id for one in first.letters], first.total) == ([1, 2], 5)
    rest = await box.outbox.letters(Selection.of(Letters(after=first.letters[-1].letter_id)), 10)
    assert [one.event.id for one in rest.letters] == [3, 4, 5]
    box.responder.most = 900
    assert len((await box.outbox.letters(Selection(), 10)).letters) == 2
    box.responder.most = 100
    (cut,) = (await box.outbox.letters(Selection(), 10)).letters
    assert (cut.cut, cut.event.payload) == (True, None)
    with pytest.raises(InvalidError, match="'x' is no id"):
        Selection.of(Letters(ids=["x"]))
    assert await box.outbox.discard(Selection(), 3) == 3
    assert (await box.outbox.letters(Selection(), 10)).total == 2


@pytest.mark.parametrize("what", ["replay", "discard"])
async def test_a_letter_that_does_not_exist_is_named(box, what):
    """Where an id is named of which there is no letter nothing is moved, and the error names the ids."""
    await box.open()
    box.accept(1)
    await box.settle()
    box.api.end(1, RejectedError("no"))
    await box.settle()
    (letter,) = (await box.outbox.letters(Selection(), 10)).letters
    move = getattr(box.outbox, what)
    with pytest.raises(RejectedError, match="no dead letter 77, 78; nothing") as missing:
        await move(Selection.of(Letters(ids=["77", letter.letter_id, "78"])), None)
    assert missing.value.code == "not_found"
    with pytest.raises(RejectedError, match=f"no dead letter of other {letter.letter_id}"):
        await move(Selection.of(Letters(integration="other", ids=[letter.letter_id])), None)
    assert (await box.outbox.letters(Selection(), 10)).total == 1
    assert await move(Selection.of(Letters(ids=[letter.letter_id])), None) == 1
    assert await move(Selection(), None) == 0, "without ids none is no error"


async def test_a_dead_letter_that_is_too_large_for_the_bus_is_cut(box):
    """A dead letter too large for the bus is published without its payload."""
    await box.open()
    box.accept(1, payload="x" * 3000)
    await box.settle()
    box.bus.room = 2500
    box.api.end(1, RejectedError("no"))
    await box.settle()
    (told,) = box.bus.of("resilience.api.dead_letter")
    assert (told[1]["cut"], told[1]["event"]["payload"]) == (True, None)


async def test_a_dead_letter_can_be_read_whatever_its_event_has(box):
    """Keys that JSON lacks are text, room is counted with bytes as objects, and a replay has the event unchanged."""
    await box.open()
    payload = {7: bytes(600)}
    box.accept(1, payload=payload)
    await box.settle()
    box.api.end(1, RejectedError("no"))
    await box.settle()
    (told,) = box.bus.of("resilience.api.dead_letter")
    assert told[1]["event"]["payload"] == {"7": bytes(600)}
    (letter,) = (await box.outbox.letters(Selection(), 10)).letters
    assert letter.event.payload == {"7": bytes(600)}
    size = len(msgspec.msgpack.encode(letter))
    box.responder.most = size + 100
    assert (await box.outbox.letters(Selection(), 10)).letters[0].cut is True
    box.responder.most = size + 300
    assert (await box.outbox.letters(Selection(), 10)).letters[0].cut is msgspec.UNSET
    await box.outbox.replay(Selection(), None)
    await box.restart()
    (entry,) = box.store.by_seq([seq for (seq,) in box.store.execute("SELECT seq FROM entry")])
    assert entry.event.payload == payload


@pytest.mark.parametrize("payload", [{"x": float("nan")}, functools.reduce(lambda inner, _: [inner], range(30), 1)])
async def test_a_dead_letter_that_the_bus_cannot_carry_is_cut(box, payload):
    """A letter whose event has NaN, or is nested nearly as deep as allowed, hides no other letter."""
    await box.open()
    for number, one in enumerate(["first", payload, "last"]):
        box.accept(number, payload=one)
        await box.settle()
        box.api.end(number, RejectedError("no"))
        await box.settle()
    found = await box.outbox.letters(Selection(), 10)
    assert [one.event.payload for one in found.letters] == ["first", None, "last"]
    assert [one.cut for one in found.letters] == [msgspec.UNSET, True, msgspec.UNSET]
    assert box.responder.fits(found)


async def test_a_result_follows_as_an_event(box):
    """The result of a route with `emit` is published as an event, also after a crash."""
    await box.open()
    box.accept(1, emit="order.stored")
    await box.settle()
    await box.restart()
    box.api.end(1)
    await box.settle()
    assert box.bus.of("order.stored") == [("order.stored", {}, "c1")]


async def test_what_waits_for_an_integration_that_is_gone_stays(box):
    """Entries of an integration that was removed are counted, and are delivered when it exists again."""
    await box.open()
    api = box.connections.pop("api")
    box.accept(1)
    await box.settle()
    assert box.outbox.orphans == {"api": 1}
    box.connections["api"] = api
    box.outbox.wake()
    await box.settle()
    assert numbers(api) == [1]


async def test_a_backlog_is_read_in_windows(tmp_path, monkeypatch):
    """Of 3,000 entries on disk all without a key start in order, and those of a blocked key after its first."""
    monkeypatch.setattr("bridge.outbox.delivery_queue.WINDOW", 1000)
    box = OutboxHarness(tmp_path / "data")
    await box.open()
    box.api.usable = False
    for number in range(1, 3001):
        box.accept(number, key=f"bad {number % 100}" if number % 3 == 0 else None)
    await box.settle()
    await box.restart()
    box.api.capacity = 64
    done = []
    for _ in range(500):
        for number in numbers(box.api):
            if number in range(3, 303, 3) and len(done) < 2000:
                box.api.end(number, UnavailableError("u"))
            else:
                done.append(number)
                box.api.end(number)
        await box.clock.advance(0.05)
        queue = box.outbox._queues["api"]
        assert queue._held <= 1000
        if not box.pending:
            break
    assert sorted(done) == list(range(1, 3001))
    assert [number for number in done if number % 3] == [number for number in range(1, 3001) if number % 3]
    for rest in range(100):
        of_key = [number for number in done if number % 3 == 0 and number % 100 == rest]
        assert of_key == sorted(of_key)
    await box.outbox.close()


async def test_closing_while_somebody_gives_up_asking(tmp_path):
    """Closing ends a waiting query with StoppingError, also while another one is being cancelled."""
    box = OutboxHarness(tmp_path / "data", commit_queue=SilentCommitQueue)
    await box.outbox.open()
    gone, waiting = (asyncio.ensure_future(box.outbox.letters(Selection(), 10)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await box.outbox.close()
    with pytest.raises(StoppingError):
        await waiting
    assert gone.cancelled()


async def test_a_mark_that_comes_back_while_closing_is_taken_back(tmp_path):
    """A call that was marked as begun but not made before the end is made after the restart."""
    box = OutboxHarness(tmp_path / "data", commit_queue=commit_queue.CommitQueue)
    await box.outbox.open()
    box.accept(1, call=True)
    queue = None
    while queue is None or not queue._beginning:
        await asyncio.sleep(0)
        queue = box.outbox._queues.get("api")
    await box.outbox.close()
    assert box.api.submitted == []
    again = OutboxHarness(tmp_path / "data")
    await again.open()
    assert numbers(again.api) == [1]
    await again.outbox.close()


def test_the_commit_queue_of_tests_is_the_real_one_without_a_thread():
    """The tests' commit queue overrides only how work gets to the committer and back."""
    assert issubclass(InlineCommitQueue, commit_queue.CommitQueue)
    assert {name for name in vars(InlineCommitQueue) if not name.startswith("__")} == {
        "open",
        "close",
        "watch",
        "_send",
    }
