"""Compare what a test of a configuration expects with what happened; say what is different."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from bridge.config.case_models import Expectation, ExpectedCall, ExpectedEvent
from bridge.config.diagnostics import did_you_mean
from bridge.core.filters import Glob
from bridge.core.redaction import Redactor
from bridge.simulation.record import Attempt, Record, Said
from bridge.simulation.texts import clock_time, in_words, json_line

#: How many times, or names, are listed at most.
_MOST_LISTED: Final = 5
#: How many differences of one event or call are shown at most.
_MOST_DIFFERENCES: Final = 8


class Difference(msgspec.Struct, frozen=True):
    """A part of a value that is not as it should be.

    Attributes:
        path: The part, as in `payload.items[0].id`.
        expected: What it should be; UNSET: it is one more than there should be.
        came: What it is; UNSET: it is not there.
    """

    path: str
    expected: Any
    came: Any


class Failure(msgspec.Struct, frozen=True):
    """An expectation that was not met.

    Attributes:
        expectation: It.
        lines: What came in its place.
        at_ms: The virtual time at which to look for the reason; None: the whole test.
    """

    expectation: Expectation
    lines: tuple[str, ...]
    at_ms: int | None = None


class _Candidate(msgspec.Struct, frozen=True):
    """An event or a call that may be what is expected: when it was, and what is different."""

    at_ms: int
    differences: tuple[Difference, ...]


def differences(path: str, expected: Any, came: Any) -> Iterator[Difference]:
    """Return where a value is not as expected: of maps, what is named must be equal; lists must be equal in length."""
    if isinstance(expected, Mapping) and isinstance(came, Mapping):
        for key, value in expected.items():
            yield from differences(f"{path}.{key}", value, came.get(key, UNSET))
    elif isinstance(expected, list | tuple) and isinstance(came, list | tuple):
        for number in range(max(len(expected), len(came))):
            part = f"{path}[{number}]"
            if number >= len(expected):
                yield Difference(part, UNSET, came[number])
            else:
                yield from differences(part, expected[number], came[number] if number < len(came) else UNSET)
    elif not _is_equal(expected, came):
        yield Difference(path, expected, came)


def _is_equal(expected: Any, came: Any) -> bool:
    """Return whether two values that are no containers are equal: 1 is 1.0, but not true."""
    if isinstance(expected, bool) or isinstance(came, bool):
        return expected is came
    return bool(expected == came)


def is_pending(expectation: Expectation, record: Record) -> bool:
    """Return whether waiting longer may help: more must come than has come, and no time is set for it."""
    if expectation.by is not None:
        return False
    count = sum(not one.differences for one in _candidates(expectation, record))
    return count < (1 if expectation.times is None else expectation.times)


def judge(expectation: Expectation, record: Record, source: str, redactor: Redactor) -> Failure | None:
    """Return in what an expectation was not met; None where it was.

    Args:
        expectation: What must have happened.
        record: What has happened.
        source: The `source` of the bridge's own events.
        redactor: Masks the secrets.
    """
    candidates = _candidates(expectation, record)
    fitting = [one for one in candidates if not one.differences]
    limit = None if expectation.by is None else round(expectation.by * 1000)
    in_time = [one for one in fitting if limit is None or one.at_ms <= limit]
    wanted = expectation.times
    if in_time if wanted is None else len(in_time) == wanted:
        return None
    if wanted is not None and len(in_time) > wanted:
        times = _listed([clock_time(one.at_ms) for one in in_time])
        return Failure(expectation, (f"came {in_words(len(in_time))}: at {times}",), in_time[wanted].at_ms)
    lines: list[str] = []
    if in_time:
        times = _listed([clock_time(one.at_ms) for one in in_time])
        lines.append(f"came only {in_words(len(in_time))}: at {times}")
    late = fitting[len(in_time) :]
    if late:
        lines.append(f"came too late: at {_listed([clock_time(one.at_ms) for one in late])}")
        return Failure(expectation, tuple(lines), late[0].at_ms)
    other = [one for one in candidates if one.differences]
    if other:
        nearest = min(other, key=lambda one: len(one.differences))
        more = "" if len(other) == 1 else f" (the nearest of {len(other)})"
        lines.append(f"at {clock_time(nearest.at_ms)} one came that is different{more}:")
        lines += _diff(nearest.differences, redactor)
        return Failure(expectation, tuple(lines), nearest.at_ms)
    if not in_time:
        lines.append(_absence(expectation, record, source))
    return Failure(expectation, tuple(lines))


def title(expectation: Expectation, redactor: Redactor) -> str:
    """Return an expectation as one line."""
    if isinstance(expectation, ExpectedEvent):
        parts = [f"event {expectation.event}"]
        if expectation.payload is not UNSET:
            parts.append(f"payload {json_line(expectation.payload, redactor)}")
        if expectation.correlation_id is not UNSET:
            parts.append(f"correlation_id {json_line(expectation.correlation_id, redactor)}")
    else:
        parts = [f"call {expectation.integration}"]
        if expectation.name is not None:
            parts[0] += f" {expectation.operation} {expectation.name}"
        if expectation.content is not UNSET:
            word = "params" if expectation.operation == "request" else "message"
            parts.append(f"{word} {json_line(expectation.content, redactor)}")
    parts.append("at least once" if expectation.times is None else _exactly(expectation.times))
    if expectation.by is not None:
        parts.append(f"by {clock_time(round(expectation.by * 1000))}")
    return redactor.text(", ".join(parts))


def _exactly(times: int) -> str:
    return "never" if times == 0 else f"exactly {in_words(times)}"


def _candidates(expectation: Expectation, record: Record) -> list[_Candidate]:
    """Return the events of the type, or the calls of the name, in order."""
    if isinstance(expectation, ExpectedEvent):
        pattern = Glob(expectation.event)
        return [
            _Candidate(one.at_ms, tuple(_of_event(expectation, one)))
            for one in record.events()
            if pattern.matches(one.event.event_type)
        ]
    return [
        _Candidate(one.at_ms, tuple(_of_call(expectation, one)))
        for one in record.attempts(expectation.integration)
        if expectation.operation in {None, one.operation} and expectation.name in {None, one.name}
    ]


def _of_event(expectation: ExpectedEvent, said: Said) -> Iterator[Difference]:
    if expectation.payload is not UNSET:
        yield from differences("payload", expectation.payload, said.event.payload)
    if expectation.correlation_id is not UNSET:
        yield from differences("correlation_id", expectation.correlation_id, said.event.correlation_id)


def _of_call(expectation: ExpectedCall, attempt: Attempt) -> Iterator[Difference]:
    if expectation.content is not UNSET:
        word = "params" if attempt.operation == "request" else "message"
        yield from differences(word, expectation.content, attempt.content)


def _diff(found: Sequence[Difference], redactor: Redactor) -> Iterator[str]:
    for one in found[:_MOST_DIFFERENCES]:
        yield f"  - {one.path}: {'nothing' if one.expected is UNSET else json_line(one.expected, redactor)}"
        yield f"  + {one.path}: {'nothing' if one.came is UNSET else json_line(one.came, redactor)}"
    if len(found) > _MOST_DIFFERENCES:
        yield f"  … and {len(found) - _MOST_DIFFERENCES} more"


def _absence(expectation: Expectation, record: Record, source: str) -> str:
    """Return what came where nothing of the type, or of the name, did."""
    if isinstance(expectation, ExpectedEvent):
        types = {one.event.event_type for one in record.events() if one.event.source == source}
        near = did_you_mean(expectation.event, types)
        return f"no such event came{f'; {near}' if near else ''}"
    calls = record.attempts(expectation.integration)
    if not calls:
        return "no call was made"
    made = _listed(list(dict.fromkeys(f"{one.operation} {one.name}" for one in calls)))
    return f"no such call was made; there were {made}"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_LISTED
    return ", ".join(texts[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
