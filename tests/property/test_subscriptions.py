"""The set of subscriptions against a model: whoever subscribes, leaves, loses the session or is refused."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.connection.subscriptions import SubscriptionSpec
from bridge.core.errors import InvalidError, NotConnectedError, UnavailableError
from bridge.core.model import Subscribe, Unsubscribe
from tests.unit.connection.test_subscriptions import Fixture, Session

TOPICS = st.sampled_from(["a", "b", "c"])
EMITS = st.sampled_from([None, "seen.x", "seen.y"])
CONFIGURED = SubscriptionSpec("configured", "a", emit="seen.x", text="seen.x")


class SubscriptionSet(RuleBasedStateMachine):
    """Any order of sessions, subscribe and unsubscribe; the subscriptions must be those of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.fixture = Fixture(CONFIGURED)
        self.session: Session | None = None
        self.wanted: dict[str, tuple[str, str | None]] = {"configured": ("a", "seen.x")}

    def teardown(self) -> None:
        self.runner.close()

    @rule(refused=st.booleans())
    def a_new_session(self, refused: bool) -> None:
        """A new session subscribes to everything again, or has not shown that it works."""
        if self.session is not None:
            self.fixture.subscriptions.session_over(self.session)
        session = Session()
        session.refuses = refused
        works = self.runner.run(self.fixture.subscriptions.restore(session))
        assert works == (not refused or not self.wanted)
        if works:
            session.refuses = False
            self.session = session
        else:
            self.fixture.subscriptions.session_over(session)
            self.session = None

    @precondition(lambda self: self.session is not None and self.wanted)
    @rule(data=st.data(), refused=st.integers(0, 3))
    def a_subscription_ends(self, data: st.DataObject, refused: int) -> None:
        """What the remote has ended is made again, however often that is refused."""
        assert self.session is not None
        topic = data.draw(st.sampled_from(sorted({topic for topic, _ in self.wanted.values()})))
        del self.session.topics[topic]
        self.session.refuses_topics[topic] = UnavailableError("no leader")
        self.fixture.subscriptions.ended(self.session.live[topic], UnavailableError("ended"))
        assert not self.fixture.subscriptions.well
        for _ in range(refused):
            self.runner.run(self.fixture.clock.advance(5.0))
            assert topic not in self.session.topics
        self.session.refuses_topics.clear()
        self.runner.run(self.fixture.clock.advance(5.0))
        assert self.fixture.subscriptions.well

    @precondition(lambda self: self.session is not None)
    @rule(topic=TOPICS, emit=EMITS, refused=st.booleans())
    def subscribe(self, topic: str, emit: str | None, refused: bool) -> None:
        """The same spec has the same name; the remote is asked only for a topic that is not there yet."""
        assert self.session is not None
        self.session.refuses = refused
        adding = self.fixture.subscriptions.add(self.session, Subscribe(topic=topic, emit=emit))
        if refused and topic not in {one for one, _ in self.wanted.values()}:
            with pytest.raises(NotConnectedError):
                self.runner.run(adding)
        else:
            name = self.runner.run(adding)
            same = [known for known, spec in self.wanted.items() if spec == (topic, emit)]
            assert same in ([], [name])
            assert same or name not in self.wanted
            self.wanted[name] = (topic, emit)
        self.session.refuses = False

    @precondition(lambda self: self.session is not None)
    @rule(topic=TOPICS)
    def unsubscribe_a_topic(self, topic: str) -> None:
        """Unsubscribing from a topic removes all its subscriptions; without any it is an error."""
        self.leave([name for name, spec in self.wanted.items() if spec[0] == topic], Unsubscribe(topic=topic))

    @precondition(lambda self: self.session is not None)
    @rule(data=st.data())
    def unsubscribe_a_name(self, data: st.DataObject) -> None:
        """Unsubscribing by name removes that subscription."""
        name = data.draw(st.sampled_from([*self.wanted, "nobody"]))
        self.leave([name] if name in self.wanted else [], Unsubscribe(subscription=name))

    def leave(self, gone: list[str], command: Unsubscribe) -> None:
        assert self.session is not None
        removing = self.fixture.subscriptions.remove(self.session, command)
        if not gone:
            with pytest.raises(InvalidError):
                self.runner.run(removing)
            return
        self.runner.run(removing)
        for name in gone:
            del self.wanted[name]

    @precondition(lambda self: self.session is not None and self.wanted)
    @rule(data=st.data(), number=st.integers(0, 9))
    def a_message(self, data: st.DataObject, number: int) -> None:
        """A message gives one event for each subscription to its topic, in order, and no other."""
        assert self.session is not None
        topic = data.draw(st.sampled_from(sorted({topic for topic, _ in self.wanted.values()})))
        before = len(self.fixture.sink.events)
        self.runner.run(self.session.say(topic, number))
        made = [event_type for event_type, _, _ in self.fixture.sink.events[before:]]
        assert made == [emit or "message.api" for one, emit in self.wanted.values() if one == topic]

    @invariant()
    def the_remote_has_what_is_wanted(self) -> None:
        """The session is subscribed to exactly the topics of the model, each once."""
        if self.session is not None:
            assert set(self.session.topics) == {topic for topic, _ in self.wanted.values()}


SubscriptionSet.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)

TestSubscriptionSet = SubscriptionSet.TestCase
