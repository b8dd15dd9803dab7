"""Packet identifiers: none is given out twice while it is in use."""

import pytest

from bridge.adapters.mqtt.packets.identifiers import Identifiers
from bridge.core.errors import OverloadedError


def test_identifiers_go_round_and_skip_those_in_use() -> None:
    """From 1 to 65535 and again from 1; 0 is none (MQTT 5, 2.2.1)."""
    identifiers = Identifiers()
    kept = identifiers.take()
    for number in range(2, 65_536):
        assert identifiers.take() == number
        identifiers.release(number)
    assert kept == 1
    assert identifiers.take() == 2


def test_all_in_use_is_an_error() -> None:
    """Nobody waits for ever; one that is released is given out again."""
    identifiers = Identifiers()
    taken = {identifiers.take() for _ in range(65_535)}
    assert taken == set(range(1, 65_536))
    with pytest.raises(OverloadedError):
        identifiers.take()
    identifiers.release(7)
    identifiers.release(7)
    assert identifiers.take() == 7
