"""Acknowledgements to an MQTT broker: their order, and what is known again after a reconnection."""

from bridge.adapters.mqtt.acks import Acks
from tests.support.adapters.mqtt import begun, message


def test_acknowledgements_keep_the_order_of_the_messages():
    """For each QoS by itself; QoS 0 has none."""
    acks = Acks()
    broker = begun(acks)
    first, other, third, loose = message(1), message(7, qos=2), message(3), message(0, qos=0)
    for one in (first, other, third, loose):
        assert acks.came(one) is None
    acks.settle(third)
    acks.settle(loose)
    assert broker.acks == []
    acks.settle(other)
    assert broker.acks == [7]
    acks.settle(first)
    assert broker.acks == [7, 1, 3]


def test_what_is_set_aside_holds_nobody_up():
    """Its acknowledgement is sent when it is settled, without regard to the others."""
    acks = Acks()
    broker = begun(acks)
    aside, second, third, last = message(1), message(2), message(3), message(4)
    for one in (aside, second, third, last):
        acks.came(one)
    acks.settle(second)
    assert broker.acks == []
    acks.set_aside((aside,))
    assert broker.acks == [2]
    acks.set_aside((last,))
    acks.settle(last)
    assert broker.acks == [2, 4]
    acks.settle(aside)
    acks.settle(third)
    assert broker.acks == [2, 4, 1, 3]


def test_what_is_set_aside_is_known_again():
    """Over a reconnection, as all that is not acknowledged."""
    acks = Acks()
    broker = begun(acks)
    acks.came(one := message(1, qos=2))
    acks.set_aside((one,))
    broker.there = False
    acks.settle(one)
    broker = begun(acks)
    assert acks.came(again := message(1, qos=2)) is one
    assert again.settled
    assert broker.acks == [1]


def test_what_could_not_be_acknowledged_is_known_again():
    """It is acknowledged at once, where the broker has kept the session and the message is the same."""
    acks = Acks()
    begun(acks)
    for identifier in (1, 2, 3):
        acks.came(one := message(identifier))
        if identifier > 1:
            acks.settle(one)
    broker = begun(acks)
    before = acks.came(first := message(1))
    assert before is not None
    assert not before.settled
    assert (acks.came(again := message(2)) or again).settled
    assert acks.came(message(3, payload=b"another")) is None
    acks.settle(first)
    assert broker.acks == [1, 2]
    begun(acks, present=False)
    assert acks.came(message(3, payload=b"another")) is None


def test_a_lost_connection_takes_no_acknowledgement():
    """What is settled afterwards is told on the next one."""
    acks = Acks()
    broker = begun(acks)
    acks.came(one := message(1))
    broker.there = False
    acks.settle(one)
    broker = begun(acks)
    acks.came(message(1))
    assert broker.acks == [1]


def test_an_answered_message_of_qos_2_is_taken_once():
    """Until its identifier is released, also over a reconnection; then another message may have it."""
    acks = Acks()
    begun(acks)
    acks.came(one := message(5, qos=2))
    acks.settle(one)
    broker = begun(acks)
    again = message(5, qos=2)
    assert acks.came(again) is again
    assert again.settled
    assert broker.acks == [5]
    acks.released(5)
    assert acks.came(message(5, qos=2)) is None
