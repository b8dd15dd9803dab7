"""Which clients ZAP accepts, request by request."""

import pytest
import zmq
from zmq.utils import z85

from bridge.bus.broker.curve import DOMAIN, answer_zap, refuse_zap
from bridge.core.curve_keys import Grant, fingerprint

LISTED, UNLISTED = (zmq.curve_keypair()[0] for _ in range(2))
ACCESS_LIST = {LISTED.decode(): Grant("app", LISTED.decode())}


def question(
    *credentials: bytes, version: bytes = b"1.0", domain: bytes = DOMAIN, how: bytes = b"CURVE"
) -> list[bytes]:
    """One request, as libzmq sends it."""
    return [version, b"7", domain, b"192.168.1.5", b"", how, *credentials]


def test_a_listed_key() -> None:
    """A listed key is accepted, and its messages will carry it."""
    reply, refusal = answer_zap(question(z85.decode(LISTED)), ACCESS_LIST)
    assert reply == [b"1.0", b"7", b"200", b"", LISTED, b""]
    assert refusal is None


def test_an_unlisted_key() -> None:
    """A key that is not listed is refused, and reported by fingerprint and address."""
    reply, refusal = answer_zap(question(z85.decode(UNLISTED)), ACCESS_LIST)
    assert (reply[2], reply[4]) == (b"400", b"")
    assert refusal is not None
    assert refusal.key == fingerprint(UNLISTED.decode())
    assert "192.168.1.5" in refusal.why


def test_a_key_that_was_removed() -> None:
    """A key that was listed before is refused for now: its client tries again, and is reported like any other."""
    reply, refusal = answer_zap(question(z85.decode(UNLISTED)), ACCESS_LIST, {UNLISTED.decode()})
    assert (reply[2], reply[4]) == (b"300", b"")
    assert refusal is not None
    assert refusal.key == fingerprint(UNLISTED.decode())
    reply, refusal = answer_zap(question(z85.decode(LISTED)), ACCESS_LIST, {LISTED.decode()})
    assert (reply[2], refusal) == (b"200", None)


@pytest.mark.parametrize(
    "request_",
    [
        question(),
        question(z85.decode(LISTED), z85.decode(LISTED)),
        question(z85.decode(LISTED)[:31]),
        question(LISTED),
        question(z85.decode(LISTED), version=b"2.0"),
        question(z85.decode(LISTED), domain=b""),
        question(z85.decode(LISTED), domain=b"*"),
        question(how=b"NULL"),
        question(b"user", b"password", how=b"PLAIN"),
        question(z85.decode(LISTED), how=b"NULL"),
        [b"1.0", b"7"],
        [],
    ],
)
def test_anything_else(request_: list[bytes]) -> None:
    """Everything that is not exactly a CURVE key at our domain is refused."""
    reply, refusal = answer_zap(request_, ACCESS_LIST)
    assert (reply[2], reply[4]) == (b"400", b"")
    assert refusal is not None
    assert refusal.key is None


def test_no_answer_is_no() -> None:
    """The reply to a request that cannot be checked is negative."""
    assert refuse_zap(question(z85.decode(LISTED)))[1:5] == [b"7", b"500", b"", b""]
    assert refuse_zap([])[2] == b"500"
