"""A repeated key is answered from memory."""

import msgspec

from bridge.core.model import Event
from bridge.core.payloads import ReceiptOutcome
from bridge.core.responder import Answer
from bridge.routing import idempotency
from bridge.routing.idempotency import AnswerMemory, key_of
from tests.support.clock import FakeClock

KEY = ("app", "k", None)
ANSWER = Answer(ReceiptOutcome.DELIVERED, b"\x80", None, "c1")


def test_the_scope_of_a_key_is_source_key_and_route():
    """The same key of another source, or for another route, is another key."""
    raw = msgspec.Raw(b"\xc0")
    event = Event(id=1, event_type="a", raw=raw, timestamp=1, source="app", correlation_id=None)
    keyed = msgspec.structs.replace(event, headers={"idempotency_key": "k"})
    assert key_of(event, None) is None
    assert key_of(keyed, None) == ("app", "k", None)
    assert key_of(keyed, "r") == ("app", "k", "r")


def test_a_key_runs_once_and_is_answered_again():
    """A key that was answered gives the same answer at once."""
    memory = AnswerMemory(FakeClock())
    assert memory.begin(KEY, "c1") == (True, None)
    assert memory.finish(KEY, ANSWER, remember=True) == ["c1"]
    assert memory.begin(KEY, "c2") == (False, ANSWER)


def test_all_who_ask_while_it_runs_get_the_answer():
    """All who repeat a running key are returned at its end, each once; those without a correlation id are not."""
    memory = AnswerMemory(FakeClock())
    assert memory.begin(KEY, None) == (True, None)
    for asker in ("c1", "c2", "c1", None):
        assert memory.begin(KEY, asker) == (False, None)
    assert memory.finish(KEY, ANSWER, remember=True) == ["c1", "c2"]


def test_what_was_never_tried_may_be_tried_again():
    """The answer of a command that was rejected without an attempt is not remembered."""
    memory = AnswerMemory(FakeClock())
    memory.begin(KEY, "c1")
    memory.finish(KEY, ANSWER, remember=False)
    assert memory.begin(KEY, "c1") == (True, None)


async def test_an_answer_is_kept_for_ten_minutes():
    """An answer is remembered for exactly ten minutes."""
    clock = FakeClock()
    memory = AnswerMemory(clock)
    memory.begin(KEY, None)
    memory.finish(KEY, ANSWER, remember=True)
    await clock.advance(599.0)
    assert memory.begin(KEY, None)[0] is False
    await clock.advance(2.0)
    assert memory.begin(KEY, None)[0] is True


def test_the_memory_is_bounded(monkeypatch):
    """The memory has a limit of entries and of bytes; the oldest answer is removed first, a running key never."""
    monkeypatch.setattr(idempotency, "_MOST_BYTES", 1000)
    memory = AnswerMemory(FakeClock())
    memory.begin(("app", "running", None), "c")
    for number in range(50):
        key = ("app", str(number), None)
        memory.begin(key, None)
        memory.finish(key, msgspec.structs.replace(ANSWER, response=bytes(100)), remember=True)
    assert memory.begin(("app", "0", None), None)[0] is True
    assert memory.begin(("app", "49", None), None)[0] is False
    assert memory.finish(("app", "running", None), ANSWER, remember=True) == ["c"]
