"""Messages on their way to the bus: each subscription by itself, nothing dropped in silence, floods bounded."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from bridge.adapters._common.content import Codec, CodecName
from bridge.adapters.mqtt.acks import Acks
from bridge.adapters.mqtt.inbox import (
    GRACE,
    LONGEST_PAUSE,
    MOST_HELD_BYTES,
    MOST_LOOSE,
    MOST_LOOSE_BYTES,
    PATIENCE,
    RETRIED,
    Inbox,
    TopicSubscription,
)
from bridge.adapters.mqtt.packets.message import MOST_PROPERTIES, IncomingMessage, decode
from bridge.adapters.mqtt.packets.wire_format import variable_integer, with_length
from bridge.adapters.mqtt.stale import MOST_CHARACTERS_IN_ALL, MOST_WAITING, KnownFilters, StaleMessages
from bridge.adapters.mqtt.topics import check_filter, identifier_of
from bridge.adapters.mqtt.unacknowledged import UnacknowledgedMessages
from bridge.core.errors import BridgeError, NotConnectedError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision
from bridge.core.settings import Hold
from tests.support.adapters.mqtt import Acknowledged
from tests.support.adapters.on_bus import HeldBack
from tests.support.clock import FakeClock


class Application:
    """What a subscription delivers to; while it does not listen, deliveries wait."""

    def __init__(self, decision: AckDecision = AckDecision.ACK) -> None:
        self.messages: list[Inbound] = []
        self.listens = asyncio.Event()
        self.listens.set()
        self.decision = decision

    def __call__(self, inbound: Inbound) -> Awaitable[AckDecision]:
        """See `ports.Deliver`."""
        if self.listens.is_set():
            self.messages.append(inbound)
            return self.decision
        return self._later(inbound)

    async def _later(self, inbound: Inbound) -> AckDecision:
        await self.listens.wait()
        self.messages.append(inbound)
        return self.decision

    @property
    def contents(self) -> list[Any]:
        """What was delivered."""
        return [one.message for one in self.messages]


def _at_once(then: Callable[[], None]) -> None:
    then()


class Session:
    """An inbox with everything around it, over as many connections as one likes."""

    def __init__(
        self, *, present: bool = False, version5: bool = True, is_kept: bool = True, bus: HeldBack | None = None
    ) -> None:
        self.is_kept = is_kept
        self.codec: CodecName = "auto"
        self.outdated: list[BridgeError] = []
        self.clock = FakeClock()
        self.when_on_bus: Callable[[Callable[[], None]], None] = _at_once if bus is None else bus.when_on_bus
        self.acks = Acks()
        self.unacknowledged = UnacknowledgedMessages(self.acks, self.clock)
        self.known = KnownFilters()
        self.version5 = version5
        self.dropped: list[tuple[str, str]] = []
        self.warnings: dict[str, str | None] = {}
        self.unsubscribed: list[str] = []
        self.subscribed_there: set[str] = set()
        self.refuses_unsubscribing: BridgeError | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.paused = False
        self.tasks: list[asyncio.Task[None]] = []
        self.connect(present=present)

    def connect(self, *, present: bool = True) -> None:
        """A new connection of the same session."""
        self.end()
        self.stale = StaleMessages(
            self.known,
            live=self._live,
            unsubscribe=self._unsubscribe,
            settle=self.acks.settle,
            set_aside=self.acks.set_aside,
            start=self._start,
            on_dropped=self._on_dropped,
            on_warning=lambda name, text: self.warnings.update({name: text}),
        )
        self.inbox = Inbox(
            Codec(self.codec),
            acks=self.acks,
            unacknowledged=self.unacknowledged,
            stale=self.stale,
            clock=self.clock,
            when_on_bus=self.when_on_bus,
            start=self._start,
            is_kept=self.is_kept,
            on_dropped=self._on_dropped,
            on_outdated=self.outdated.append,
            on_warning=lambda name, text: self.warnings.update({name: text}),
        )
        self.broker = Acknowledged()
        self.inbox.begin(
            self.broker, present=present, pause=lambda: self._pause(on=True), resume=lambda: self._pause(on=False)
        )

    def end(self) -> None:
        """The connection is over."""
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()
        if hasattr(self, "inbox"):
            self.inbox.end()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self.tasks.append(task)
        return task

    def _pause(self, *, on: bool) -> None:
        self.paused = on

    def _on_dropped(self, error: BridgeError, topic: str) -> None:
        self.dropped.append((error.kind, topic))

    def _live(self) -> set[str]:
        return self.inbox.topics()

    async def _unsubscribe(self, *topics: str) -> list[int]:
        if self.refuses_unsubscribing is not None:
            raise self.refuses_unsubscribing
        self.unsubscribed += topics
        await asyncio.sleep(0)
        await self.answers.wait()
        if not self.version5:
            return []
        codes = [0 if topic in self.subscribed_there else 0x11 for topic in topics]
        self.subscribed_there.difference_update(topics)
        return codes

    async def give_up(self) -> None:
        """All subscriptions are made, by programs, too."""
        self.inbox.restored()
        await self.clock.advance(GRACE)

    async def come(self, *messages: IncomingMessage) -> None:
        """Messages come, and all that is ready is done."""
        for one in messages:
            self.inbox.put(one)
        await self.clock.settle()


def message(topic: str, identifier: int = 0, qos: int = 1, **more: Any) -> IncomingMessage:
    """A message whose content is its identifier."""
    payload = more.pop("payload", b"%d" % identifier)
    more.setdefault("size", len(payload))
    return IncomingMessage(topic, payload, qos if identifier else 0, more.pop("retain", False), identifier, **more)


async def test_a_subscription_that_nobody_listens_to_holds_up_no_other() -> None:
    """The others are delivered at once, and acknowledged as soon as it is clear that the wait is long."""
    session, silent, other = Session(), Application(), Application()
    silent.listens.clear()
    session.inbox.open("silent", silent)
    session.inbox.open("other", other)
    await session.come(message("silent", 1), message("other", 2), message("silent", 3), message("other", 4))
    assert other.contents == [2, 4]
    assert session.broker.acks == []
    await session.clock.advance(PATIENCE)
    assert session.broker.acks == [2, 4]
    await session.come(message("silent", 5), message("other", 6))
    assert session.broker.acks == [2, 4, 6]
    await session.clock.advance(36_000)
    silent.listens.set()
    await session.clock.settle()
    assert silent.contents == [1, 3, 5]
    assert session.broker.acks == [2, 4, 6, 1, 3, 5]
    session.end()


async def test_an_application_that_is_away_holds_up_no_other() -> None:
    """The same with messages that it acknowledges: what waits for it to listen is set aside."""
    session, away, other = Session(), Application(AckDecision.HOLD), Application()
    away.listens.clear()
    session.inbox.open("away", away, Hold(limit=1))
    session.inbox.open("other", other)
    await session.come(message("away", 1), message("away", 2), message("other", 3))
    await session.clock.advance(PATIENCE)
    assert session.broker.acks == [3]
    away.listens.set()
    await session.clock.settle()
    assert away.contents == [1]
    session.unacknowledged.answer(away.messages[0].message_id or "")
    await session.clock.settle()
    assert away.contents == [1, 2]
    assert session.broker.acks == [3, 1]
    session.end()


async def test_a_flood_of_qos_0_waits_for_a_moment_and_is_then_dropped_aloud() -> None:
    """Reading stops once, for a second at most; then each message that is dropped is told, and others go on."""
    session, slow, other = Session(), Application(), Application()
    slow.listens.clear()
    session.inbox.open("flood", slow)
    session.inbox.open("other", other)
    await session.come(*(message("flood") for _ in range(MOST_LOOSE - 1)))
    assert not session.paused
    await session.come(message("flood"))
    assert session.paused
    await session.clock.advance(LONGEST_PAUSE)
    assert not session.paused
    await session.come(message("flood"), message("flood"), message("other"), message("flood", 7))
    assert not session.paused
    assert session.dropped == [("overloaded", "flood")] * 2
    assert len(other.messages) == 1
    slow.listens.set()
    await session.clock.settle()
    assert len(slow.messages) == MOST_LOOSE + 1
    assert session.broker.acks == [7]
    await session.come(message("flood"))
    assert len(session.dropped) == 2
    assert session.clock.timers == 0
    session.end()


async def test_a_flood_that_the_bus_takes_in_time_loses_nothing() -> None:
    """Reading goes on as soon as there is room again."""
    session, slow = Session(), Application()
    slow.listens.clear()
    session.inbox.open("flood", slow)
    await session.come(*(message("flood") for _ in range(MOST_LOOSE)))
    assert session.paused
    slow.listens.set()
    await session.clock.settle()
    assert not session.paused
    assert session.dropped == []
    assert session.clock.timers == 0
    session.end()


async def test_messages_that_fill_the_memory_stay_with_the_broker() -> None:
    """What is too much is neither kept nor acknowledged; once there is room, another connection brings it, in order."""
    session, slow = Session(), Application()
    slow.listens.clear()
    session.inbox.open("a", slow)
    size = MOST_HELD_BYTES // 4
    payloads = [b"%d" % number + bytes(size) for number in range(6)]
    await session.come(*(message("a", number + 1, payload=payload) for number, payload in enumerate(payloads)))
    await session.come(message("a", 7))
    assert session.warnings["memory"]
    assert (session.broker.acks, session.outdated, session.dropped) == ([], [], [])
    assert session.acks.held_bytes < MOST_HELD_BYTES + size
    slow.listens.set()
    await session.clock.settle()
    assert session.broker.acks == [1, 2, 3, 4]
    assert len(session.outdated) == 1
    session.connect(present=True)
    session.inbox.open("a", slow)
    await session.come(message("a", 5, payload=payloads[4]), message("a", 6, payload=payloads[5]), message("a", 7))
    assert session.broker.acks == [5, 6, 7]
    assert [one.message[:1] for one in slow.messages[:6]] == list("012345")
    assert len(slow.messages) == 7
    session.end()


async def test_user_properties_fill_the_memory_as_contents_do() -> None:
    """Messages with a megabyte of user properties and no content, of QoS 1 and 0."""
    session, slow = Session(), Application()
    slow.listens.clear()
    session.inbox.open("a", slow)
    value = with_length(bytes(65_000).replace(b"\0", b"v"))
    properties = b"".join(b"\x26" + with_length(b"%d" % number) + value for number in range(16))
    for number in range(70):
        body = with_length(b"a") + b"\0%c" % (number + 1) + variable_integer(len(properties)) + properties
        await session.come(decode(0x32, body, version5=True))
    assert session.acks.held_bytes < MOST_HELD_BYTES + 2 * len(properties)
    assert session.warnings["memory"]
    body = with_length(b"a") + variable_integer(len(properties)) + properties
    await session.come(*(decode(0x30, body, version5=True) for _ in range(17)))
    assert session.paused
    assert session.dropped == []
    session.end()


async def test_messages_that_fill_the_memory_of_a_session_that_nobody_keeps() -> None:
    """They would be lost with another connection: each one is told, and acknowledged."""
    session, slow = Session(is_kept=False), Application()
    slow.listens.clear()
    session.inbox.open("a", slow)
    size = MOST_HELD_BYTES // 2
    await session.come(*(message("a", number, payload=bytes(size)) for number in (1, 2, 3)))
    assert session.dropped == [("overloaded", "a")]
    assert session.outdated == []
    slow.listens.set()
    await session.clock.settle()
    assert session.broker.acks == [1, 2, 3]
    await session.come(message("a", 4))
    assert len(slow.messages) == 3
    session.end()


async def test_overlapping_subscriptions_are_acknowledged_when_all_are_done() -> None:
    """Each gets the message once, and one that waits delays the acknowledgement."""
    session, first, second = Session(), Application(), Application()
    second.listens.clear()
    session.inbox.open("a/#", first)
    session.inbox.open("a/b", second)
    await session.come(message("a/b", 1))
    assert (first.contents, session.broker.acks) == ([1], [])
    second.listens.set()
    await session.clock.settle()
    assert (second.contents, session.broker.acks) == ([1], [1])
    session.end()


async def test_a_reconnection_delivers_what_one_of_two_subscriptions_is_owed() -> None:
    """One has the message and waits for the application, the other has not got it yet: it gets it, once."""
    session, held, plain = Session(), Application(AckDecision.HOLD), Application()
    plain.listens.clear()
    session.inbox.open("a/#", held, Hold())
    session.inbox.open("a/b", plain)
    await session.come(message("a/b", 1))
    assert len(held.messages) == 1
    session.connect(present=True)
    plain.listens.set()
    await session.come(message("a/b", 1))
    session.inbox.open("a/#", held, Hold())
    session.inbox.open("a/b", plain)
    await session.clock.settle()
    assert (len(held.messages), plain.contents) == (1, [1])
    assert session.broker.acks == []
    session.unacknowledged.answer(held.messages[0].message_id or "")
    assert session.broker.acks == [1]
    session.end()


async def test_the_last_value_of_a_topic_says_so() -> None:
    """By the RETAIN flag, and by the header as before."""
    session, application = Session(), Application()
    session.inbox.open("a", application)
    await session.come(message("a", retain=True), message("a"))
    assert [(one.retained, one.at_most_once) for one in application.messages] == [(True, True), (False, True)]
    assert [one.headers for one in application.messages] == [{"retain": "true"}, {}]
    session.end()


async def test_strings_that_are_not_utf_8_are_delivered_as_far_as_they_can_be_read() -> None:
    """With a header that says so; repeated user properties are joined in their order."""
    session, application = Session(), Application()
    session.inbox.open("#", application)
    properties = b"\x26\x00\x01a\x00\x01\xff" + b"\x26\x00\x01b\x00\x011" + b"\x26\x00\x01b\x00\x012"
    packet = b"\x00\x02t\xff" + b"\x00\x07" + b"%c%b" % (len(properties), properties) + b"{}"
    await session.come(decode(0x32, packet, version5=True))
    (one,) = application.messages
    assert not one.at_most_once
    assert one.topic == "t\ufffd"
    assert one.message == {}
    assert one.headers == {"a": "\ufffd", "b": "1, 2", "codec_error": "the topic is not UTF-8"}
    assert session.broker.acks == [7]
    session.end()


@pytest.mark.parametrize("codec", ["json", "msgpack", "text"])
async def test_what_the_codec_cannot_read_is_delivered_as_bytes(codec: CodecName) -> None:
    """With the reason in a header, and acknowledged like any other message."""
    session, application = Session(), Application()
    session.codec = codec
    session.connect(present=False)
    session.inbox.open("t", application)
    await session.come(message("t", 1, payload=b"\xc1\xff"), message("t", 2, payload=b"\xc1\xff"))
    assert application.contents == [b"\xc1\xff"] * 2
    assert all(one.headers["codec_error"] for one in application.messages)
    assert session.broker.acks == [1, 2]
    session.end()


async def test_more_properties_than_are_read() -> None:
    """The message is told and acknowledged; its properties are not even looked at."""
    session, application = Session(), Application()
    session.inbox.open("a", application)
    properties = b"\x26\0\1n\0\1v" * (MOST_PROPERTIES // 7 + 1)
    body = with_length(b"a") + b"\0\1" + variable_integer(len(properties)) + properties + b"content"
    await session.come(decode(0x32, body, version5=True), message("a", 2))
    assert application.contents == [2]
    assert session.broker.acks == [1, 2]
    assert session.dropped == [("protocol", "a")]
    session.end()


async def test_a_message_with_a_fault_is_told_and_acknowledged() -> None:
    """It would come again with each connection otherwise, and nobody could ever read it."""
    session, application = Session(), Application()
    session.inbox.open("#", application)
    await session.come(
        decode(0x32, b"\x00\x00\x00\x07\x03\x23\x00\x05x", version5=True),  # an alias that was never set
        decode(0x30, b"\x00\x00\x03\x23\x00\x05x", version5=True),
        decode(0x34, b"\x00\x01t\x00\x08\x01\x99x", version5=True),  # a property that there is not
        message("t", 9),
    )
    assert application.contents == [9]
    assert session.dropped == [("protocol", ""), ("protocol", ""), ("protocol", "t")]
    assert session.broker.acks == [7, 8, 9]
    session.end()


# --- subscriptions that are no more


async def test_a_kept_subscription_that_is_not_made_again_is_ended_at_the_broker() -> None:
    """First UNSUBSCRIBE, then the acknowledgement; each message is counted, and a person is told once."""
    session, wanted = Session(present=True), Application()
    session.subscribed_there = {"$share/g/jobs/#", "wanted"}
    session.known.topics.add("$share/g/other")  # another filter of the same group
    by = (identifier_of("$share/g/jobs/#"),)
    await session.come(
        message("jobs/1", 1, subscriptions=by), message("wanted", 2), message("jobs/2", 3, subscriptions=by)
    )
    session.inbox.open("wanted", wanted)
    await session.clock.settle()
    assert (wanted.contents, session.broker.acks) == ([2], [2])
    session.inbox.restored()
    await session.clock.advance(GRACE - 1.0)
    assert session.broker.acks == [2]
    await session.clock.advance(1.0)
    await session.clock.settle()
    assert session.unsubscribed == ["$share/g/jobs/#"]
    assert session.broker.acks == [2, 1, 3]
    assert session.dropped == [("invalid", "jobs/1"), ("invalid", "jobs/2")]
    assert "$share/g/jobs/#" in (session.warnings["stale subscription"] or "")
    await session.come(message("jobs/3", 4, subscriptions=by))
    assert session.unsubscribed == ["$share/g/jobs/#"]
    assert session.broker.acks == [2, 1, 3, 4]
    session.end()


async def test_a_restarted_program_gets_what_was_published_meanwhile() -> None:
    """It subscribes by command, some time after the sidecar; only the jobs of a group are nobody's at once."""
    session, program = Session(present=True), Application()
    session.known.topics = {"$share/g/jobs", "news"}
    session.subscribed_there = {"$share/g/jobs", "news"}
    jobs, news = ((identifier_of(topic),) for topic in ("$share/g/jobs", "news"))
    await session.come(message("jobs", 1, subscriptions=jobs), message("news", 2, subscriptions=news))
    session.inbox.restored()
    await session.come(message("jobs", 3, subscriptions=jobs))
    assert session.unsubscribed == ["$share/g/jobs"]
    assert session.broker.acks == [1, 3]
    await session.clock.advance(GRACE / 2)
    session.inbox.open("news", program)
    await session.clock.advance(GRACE)
    assert program.contents == [2]
    assert session.broker.acks == [1, 3, 2]
    assert session.unsubscribed == ["$share/g/jobs"]
    session.end()


async def test_a_broker_without_subscription_identifiers() -> None:
    """Every filter that the topic may have come by is ended, but none that is live."""
    session, live = Session(present=True, version5=False), Application()
    session.inbox.open("a/+/c", live)
    await session.give_up()
    await session.come(message("a/b", 1), message("a/b"))
    assert set(session.unsubscribed) == {
        "a/b",
        "+/b",
        "a/+",
        "+/+",
        "a/b/#",
        "a/+/#",
        "+/b/#",
        "+/+/#",
        "a/#",
        "+/#",
        "#",
    }
    assert session.broker.acks == [1]
    assert session.dropped == [("invalid", "a/b")] * 2
    await session.come(message("a/x/c", 2))
    assert live.contents == [2]
    session.end()


@pytest.mark.parametrize(
    "topic",
    [
        "a/#",
        "+",
        "a+b/c",
        "a\0b",
        "\ufffd/\x1f",
        "/",
        "//",
        "$SYS/x",
        "x" * 65_530,
        "/".join("abcdefghijklmnop"),
        "y/" * 3_000,
    ],
)
async def test_a_stale_message_with_any_topic(topic: str) -> None:
    """Only filters that a broker takes are sent, few and in small packets, and the message is let go of."""
    session = Session(present=True, version5=False)
    session.known.topics.add("$share/group/other")
    await session.give_up()
    await session.come(message(topic, 1))
    assert len(session.unsubscribed) < 400
    for one in session.unsubscribed:
        check_filter(one)
        assert len(one) <= 65_535
    assert session.broker.acks == ([1] if session.unsubscribed else [])
    assert session.unsubscribed or session.warnings
    session.end()


@pytest.mark.parametrize("topic", ["/" * 60_000, "x" * 60_000, "/".join(["x" * 9_000] * 7), "a/b/c/d/e/f"])
def test_the_filters_that_a_topic_may_have_come_by_are_bounded(topic: str) -> None:
    """In number and in length, whatever the topic is and however many groups there are."""
    known = KnownFilters()
    known.topics = {f"$share/group-{number}/x" for number in range(300)} | {"#"}
    found = known.all(message(topic, 1))
    assert sum(map(len, found)) <= MOST_CHARACTERS_IN_ALL
    assert found[0] == "#"
    assert topic in found


async def test_many_messages_of_a_subscription_that_is_no_more() -> None:
    """One UNSUBSCRIBE is enough where the broker says what they came by."""
    session = Session(present=True)
    session.known.topics.add("a/#")
    session.subscribed_there = {"a/#"}
    await session.give_up()
    by = (identifier_of("a/#"),)
    await session.come(*(message(f"a/b/c/d/e/{number}", number, subscriptions=by) for number in range(1, 1_001)))
    assert session.unsubscribed == ["a/#"]
    assert len(session.dropped) == len(session.broker.acks) == 1_000
    session.end()


async def test_a_subscription_that_cannot_be_found_keeps_its_messages() -> None:
    """Perhaps they are another member's jobs: they stay unacknowledged, hold up nobody, and a person is told."""
    session, wanted = Session(present=True), Application()
    session.inbox.open("wanted", wanted)
    await session.give_up()
    by = (identifier_of("$share/unknown/jobs"),)
    await session.come(message("jobs", 1, subscriptions=by), message("wanted", 2))
    assert session.broker.acks == [2]
    assert "'jobs'" in (session.warnings["unknown subscription"] or "")
    assert session.dropped == []
    session.end()


async def test_a_connection_that_ends_meanwhile_acknowledges_nothing() -> None:
    """The messages come again with the next one."""
    session = Session(present=True)
    session.refuses_unsubscribing = NotConnectedError("gone")
    await session.give_up()
    await session.come(message("jobs", 1))
    assert (session.broker.acks, session.dropped) == ([], [])
    session.refuses_unsubscribing = None
    await session.come(message("jobs", 2))
    assert session.unsubscribed
    session.end()


async def test_a_subscription_that_the_broker_refuses_for_now_keeps_its_messages() -> None:
    """Also over the first check: it will be tried again, and then gets them."""
    session, application = Session(present=True), Application()
    handle = session.inbox.open("a", application, Hold())
    await session.clock.settle()
    application.listens.clear()
    await session.come(message("a", 1))
    session.inbox.withdraw(handle)
    await session.come(message("a", 2))
    await session.give_up()
    await session.clock.settle()
    assert (session.unsubscribed, session.broker.acks) == ([], [])
    application.listens.set()
    session.inbox.open("a", application, Hold())
    await session.clock.settle()
    assert sorted(application.contents) == [1, 2]
    session.end()


async def test_an_ended_subscription_delivers_nothing_more() -> None:
    """What waits for it, and what is still on its way, is acknowledged, and told."""
    session, application = Session(), Application()
    application.listens.clear()
    handle: TopicSubscription = session.inbox.open("a", application)
    await session.come(message("a", 1), message("a", 2))
    session.inbox.close(handle)
    application.listens.set()
    await session.come(message("a", 3))
    assert application.contents == []
    assert session.broker.acks == [1, 2, 3]
    assert session.dropped == [("invalid", "a")] * 3
    session.end()


async def test_a_subscription_that_is_never_tried_again_does_not_keep_its_messages_for_ever() -> None:
    """A command that was given up: the broker may have it nevertheless, and its messages would fill the window."""
    session, application = Session(), Application()
    session.inbox.restored()
    session.inbox.withdraw(session.inbox.open("a", application))
    session.subscribed_there = {"a"}
    await session.come(message("a", 1, subscriptions=(identifier_of("a"),)))
    await session.clock.advance(RETRIED - 1.0)
    assert (session.unsubscribed, session.broker.acks) == ([], [])
    await session.clock.advance(1.0)
    assert (session.unsubscribed, session.broker.acks) == (["a"], [1])
    assert session.dropped == [("invalid", "a")]
    session.end()


async def test_a_subscription_that_fails_with_the_end_of_its_connection() -> None:
    """The next connection has all that is unacknowledged; nothing happens to it by the one that is over."""
    session, application = Session(), Application(AckDecision.HOLD)
    session.inbox.restored()
    handle = session.inbox.open("a", application, Hold())
    await session.come(message("a", 1))
    over = session.inbox
    session.connect(present=True)
    over.withdraw(handle)
    await session.clock.advance(RETRIED + 1.0)
    session.inbox.open("a", application, Hold())
    await session.come(message("a", 1))
    assert (session.unsubscribed, session.broker.acks, session.dropped) == ([], [], [])
    session.unacknowledged.answer(application.messages[0].message_id or "")
    assert session.broker.acks == [1]
    session.end()


async def test_large_messages_of_qos_0_that_nobody_has_subscribed_to_yet() -> None:
    """So many of them wait that the memory has room for; the others are dropped aloud."""
    session, application = Session(present=True), Application()
    size = 1 << 20
    most = MOST_LOOSE_BYTES // size
    await session.come(*(message("a", payload=bytes(size)) for _ in range(most + 3)))
    assert session.dropped == [("overloaded", "a")] * 3
    session.inbox.open("a", application)
    await session.clock.settle()
    assert len(application.messages) == most
    await session.come(message("b", payload=bytes(size)))
    assert len(session.dropped) == 3
    session.end()


async def test_a_flood_of_qos_0_of_a_subscription_that_is_no_more() -> None:
    """While the broker does not answer, no more wait than the memory has room for."""
    session = Session(present=True)
    session.answers.clear()
    await session.give_up()
    await session.come(*(message("a", payload=b"x") for _ in range(MOST_WAITING + 100)))
    assert len(session.dropped) == 100
    session.answers.set()
    await session.clock.settle()
    assert len(session.dropped) == MOST_WAITING + 100
    session.end()


async def test_what_an_ended_subscription_has_not_acknowledged_is_told() -> None:
    """The application has one message and will get no other: all of them are acknowledged and dropped."""
    session, application = Session(), Application(AckDecision.HOLD)
    handle = session.inbox.open("a", application, Hold(limit=1))
    await session.come(message("a", 1), message("a", 2), message("a", 3))
    assert application.contents == [1]
    session.inbox.close(handle)
    await session.clock.settle()
    assert session.broker.acks == [1, 2, 3]
    assert session.dropped == [("invalid", "a")] * 3
    session.end()


@pytest.mark.parametrize("qos", [1, 2])
async def test_acknowledged_when_it_is_on_the_bus(qos: int) -> None:
    """Not before; the next ones are delivered meanwhile, and fill the memory no more."""
    bus, application = HeldBack(), Application()
    session = Session(bus=bus)
    session.inbox.open("t", application)
    await session.come(message("t", 1, qos), message("t", 2, qos))
    assert (application.contents, session.broker.acks) == ([1, 2], [])
    assert (session.inbox.is_unconfirmed, session.acks.held_bytes) == (True, 0)
    bus.confirm()
    await session.clock.settle()
    assert (session.inbox.is_unconfirmed, session.broker.acks, session.acks.held_bytes) == (False, [1, 2], 0)
    session.end()


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("confirmed", ["before", "after"])
async def test_a_reconnection_before_it_is_on_the_bus(confirmed: str, qos: int) -> None:
    """The message comes again, is delivered once, and is acknowledged on the new connection, when it is on the bus."""
    bus, application = HeldBack(), Application()
    session = Session(bus=bus)
    session.inbox.open("t", application)
    await session.come(message("t", 7, qos))
    session.broker.there = False
    session.connect()
    session.inbox.open("t", application)
    if confirmed == "before":
        bus.confirm()
        await session.clock.settle()
    await session.come(message("t", 7, qos))
    assert application.contents == [7]
    assert session.broker.acks == ([7] if confirmed == "before" else [])
    bus.confirm()
    await session.clock.settle()
    assert session.broker.acks == [7]
    assert session.acks.held_bytes == 0
    session.end()


async def test_set_aside_on_a_connection_that_is_gone() -> None:
    """Its identifier belongs to another message by now, which its confirmation must not acknowledge."""
    bus, silent = HeldBack(), Application()
    silent.listens.clear()
    session = Session(bus=bus)
    session.inbox.open("t", silent)
    await session.come(message("t", 7))
    await session.clock.advance(PATIENCE)
    silent.listens.set()
    await session.clock.settle()
    assert silent.contents == [7]
    session.connect(present=False)
    waiting = Application()
    waiting.listens.clear()
    session.inbox.open("other", waiting)
    await session.come(message("other", 7))
    bus.confirm()
    await session.clock.settle()
    assert session.broker.acks == []
    session.end()
