"""What an error means for an entry of the outbox."""

import random

import pytest

from bridge.core import errors
from bridge.outbox.disposition import Disposition, delay_of, disposition_of

DEAD, KEY, ALL, PERSON = Disposition.DEAD_LETTER, Disposition.KEY_WAITS, Disposition.ALL_WAIT, Disposition.PERSON
#: What becomes of an entry that may be repeated. What the remote refuses for good is a dead letter at once;
#: credentials are for a person to mend, and no dead letter.
TABLE = {
    errors.InvalidError: DEAD,
    errors.UnknownIntegrationError: DEAD,
    errors.UnknownOperationError: DEAD,
    errors.NotSupportedError: DEAD,
    errors.NotConnectedError: ALL,
    errors.ConnectionLostError: KEY,
    errors.AttemptTimeoutError: KEY,
    errors.DeadlineError: Disposition.EXPIRED,
    errors.CircuitOpenError: ALL,
    errors.OverloadedError: ALL,
    errors.ThrottledError: ALL,
    errors.AuthError: PERSON,
    errors.RejectedError: DEAD,
    errors.UnavailableError: KEY,
    errors.ProtocolError: DEAD,
    errors.StoppingError: ALL,
}
KINDS = errors.BridgeError.__subclasses__()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind(kind: type[errors.BridgeError]) -> None:
    """Each kind of error has its disposition, whatever the remote's code is."""
    assert disposition_of(kind("x"), once=False) is TABLE[kind]
    assert disposition_of(kind("x", code=403), once=False) is TABLE[kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_what_must_not_be_repeated(kind: type[errors.BridgeError]) -> None:
    """Where the remote may have acted the outcome is unknown; where it surely has not, it is as for any other."""
    assert disposition_of(kind("x", maybe_sent=True), once=True) is Disposition.UNKNOWN
    assert disposition_of(kind("x", maybe_sent=False), once=True) is TABLE[kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_what_only_a_person_can_mend(kind: type[errors.BridgeError]) -> None:
    """A permanent error waits for a person, except where the caller's time is up."""
    expected = Disposition.EXPIRED if kind is errors.DeadlineError else PERSON
    assert disposition_of(kind("x", permanent=True), once=False) is expected


@pytest.mark.parametrize(("what", "first", "longest"), [(KEY, 1, 60), (ALL, 0.25, 5), (PERSON, 30, 300)])
def test_delays_grow_to_their_limit(what: Disposition, first: float, longest: float) -> None:
    """The first wait and the longest one; never shorter than the remote asks for."""
    rng = random.Random(1)
    error = errors.UnavailableError("x")
    assert first / 2 <= delay_of(what, 1, error, rng) <= first
    assert longest / 2 <= delay_of(what, 50, error, rng) <= longest
    assert delay_of(what, 1, errors.ThrottledError("x", retry_after_ms=900_000), rng) == 900
