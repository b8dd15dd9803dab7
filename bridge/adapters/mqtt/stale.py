"""Messages of subscriptions that are no more, and the end of these subscriptions at the broker.

A broker that keeps a session keeps its subscriptions, too: also one that has been taken out of the configuration since.
It goes on sending their messages, in a shared group those that another member would have got. MQTT cannot list a
session's subscriptions. So UNSUBSCRIBE is sent for every filter that a message's topic may have come by.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Any, Final

from bridge.adapters._common.errors import reason_of
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.adapters.mqtt.session_file import SessionFile
from bridge.adapters.mqtt.topics import check_filter, group_of, identifier_of, matches, plain, shared
from bridge.core.errors import BridgeError, InvalidError

#: Levels of a topic for which every filter is tried; of longer ones, those with `+` only in the last of so many.
_MOST_LEVELS: Final = 6
#: Characters of all filters without a group that are tried for one topic, and of those with a group, too. Whoever may
#: publish chooses the topic, of up to 65,535 characters.
_MOST_CHARACTERS: Final = 1 << 18
MOST_CHARACTERS_IN_ALL: Final = 1 << 20
#: Messages that wait for the broker's answer at most before those of QoS 0 are dropped at once.
MOST_WAITING: Final = 2_000
#: Messages that are looked at together, so that many of them hold up nothing else.
_MESSAGES_AT_A_TIME: Final = 20
#: Filters in one UNSUBSCRIBE, and their bytes.
_AT_A_TIME: Final = 50
_BYTES_AT_A_TIME: Final = 16_384
#: Filters that are remembered as tried, and that a warning names; characters of a topic in it.
_MOST_REMEMBERED: Final = 20_000
_MOST_NAMED: Final = 5
_MOST_SHOWN: Final = 200
#: A reason code of UNSUBACK (MQTT 5, 3.11.3): there was no such subscription.
_ABSENT: Final = 0x11
#: Names of warnings.
WARNING: Final = "stale subscription"
UNKNOWN: Final = "unknown subscription"
FILE: Final = "session file"
LOST: Final = "lost session"


def candidates(topic: str) -> list[str]:
    """Return the filters without a group that match a topic; of very many levels, the likely ones."""
    levels = topic.split("/")
    count = min(_MOST_LEVELS, len(levels))
    while count and (3 << count) * len(topic) > _MOST_CHARACTERS:  # fewer than 3 · 2^count filters
        count -= 1
    fixed, free = levels[: len(levels) - count], levels[len(levels) - count :]
    found = []
    for length in range(len(free), -1, -1):
        for choice in product(*((level, "+") for level in free[:length])):
            start = [*fixed, *choice]
            found.append("/".join((*start, "#")))
            if length == len(free):
                found.append("/".join(start))
    return [one for one in dict.fromkeys(found) if matches(one, topic) and _is_possible(one)]


def _is_possible(topic: str) -> bool:
    """Return whether a broker would take a filter; it ends the connection for one that is not possible."""
    try:
        check_filter(topic)
    except InvalidError:
        return False
    return True


def _shared_by(groups: Iterable[str], topics: Sequence[str]) -> Iterator[str]:
    for group in groups:
        for topic in topics:
            with contextlib.suppress(InvalidError):  # together they are too long
                yield shared(topic, group)


class KnownFilters:
    """The filters that this session has subscribed to at the broker; it outlives a connection.

    With a file it outlives the process, too.
    """

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self._file: SessionFile | None = None
        self._is_written = True
        self._on_warning: Callable[[str, str | None], None] = lambda _name, _text: None

    def begin(
        self,
        file: SessionFile | None,
        on_warning: Callable[[str, str | None], None],
        *,
        present: bool,
        expected: bool = False,
    ) -> None:
        """Begin a connection.

        Args:
            file: Where the filters are kept; None: nowhere.
            on_warning: Told where the file cannot be used, and where the broker has lost the session; see
                `AdapterSetup.on_warning`.
            present: Whether the broker had kept the session.
            expected: Whether it should have.
        """
        is_new, self._file, self._on_warning = self._file is None, file, on_warning
        if is_new and file is not None:
            try:
                self.topics |= file.read()
            except (OSError, ValueError) as error:
                self._complain(error)
        if present:
            return
        if expected and self.topics:
            on_warning(LOST, "the broker had not kept the session: what was published meanwhile has not come")
        self.topics.clear()

    def add(self, topic: str) -> None:
        """Remember a filter, before it is subscribed to."""
        if topic not in self.topics:
            self.topics.add(topic)
            self._changed()

    def remove(self, topic: str) -> None:
        """Forget a filter whose subscription has ended."""
        if topic in self.topics:
            self.topics.remove(topic)
            self._changed()

    def _changed(self) -> None:
        """Write the file soon, together with all other changes of this moment."""
        if self._is_written and self._file is not None:
            self._is_written = False
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        self._is_written = True
        if self._file is not None:
            try:
                self._file.write(self.topics)
            except OSError as error:
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        self._on_warning(FILE, f"what this `client_id` has subscribed to cannot be kept in a file: {reason}")

    def exact(self, message: IncomingMessage) -> list[str]:
        """Return what a message has come by, as its subscription identifiers say; nothing where they say nothing."""
        return [one for one in self.all(message) if identifier_of(one) in message.subscriptions]

    def all(self, message: IncomingMessage) -> list[str]:
        """Return what a message may have come by, what is known first."""
        known = sorted(one for one in self.topics if matches(plain(one), message.topic))
        filters = candidates(message.topic)
        groups = sorted({group for one in self.topics if (group := group_of(one)) is not None})
        found: dict[str, None] = {}
        size = 0
        for one in chain(known, filters, _shared_by(groups, filters)):
            size += len(one)
            if size > MOST_CHARACTERS_IN_ALL:
                break
            found[one] = None
        return list(found)


class StaleMessages:
    """Takes messages that no subscription wants; ends their subscriptions, tells of it, and then acknowledges them."""

    def __init__(
        self,
        known: KnownFilters,
        *,
        live: Callable[[], Collection[str]],
        unsubscribe: Callable[..., Awaitable[Sequence[int]]],
        settle: Callable[[IncomingMessage], None],
        set_aside: Callable[[Collection[IncomingMessage]], None],
        start: Callable[[Coroutine[Any, Any, None]], object],
        on_dropped: Callable[[BridgeError, str], None],
        on_warning: Callable[[str, str | None], None],
    ) -> None:
        """Take nothing yet.

        Args:
            known: The filters that this process knows of.
            live: Returns the filters that must not be ended.
            unsubscribe: Sends UNSUBSCRIBE for filters; returns the broker's reason codes.
            settle: Acknowledges a message.
            set_aside: Lets other messages be acknowledged before these.
            start: Starts a task of the session.
            on_dropped: See `AdapterSetup`.
            on_warning: See `AdapterSetup`.
        """
        self._known = known
        self._live = live
        self._unsubscribe = unsubscribe
        self._settle = settle
        self._set_aside = set_aside
        self._start = start
        self._on_dropped = on_dropped
        self._on_warning = on_warning
        self._waiting: list[IncomingMessage] = []
        self._ended: set[str] = set()
        self._named: list[str] = []
        self._absent: set[str] = set()
        self._works = False
        self._has_left = False

    def add(self, message: IncomingMessage) -> None:
        """Take a message; it is acknowledged once the broker has ended the subscription that it came by."""
        if message.qos == 0:
            message.payload = b""  # only its topic is of use any more
            if len(self._waiting) >= MOST_WAITING:
                self.drop(message)
                return
        self._waiting.append(message)
        self._set_aside((message,))
        if not self._works:
            self._works = True
            self._start(self._work())

    def is_of_group(self, message: IncomingMessage) -> bool:
        """Return whether a message has come by a shared subscription, as far as its identifiers say so."""
        by = message.subscriptions
        return bool(by) and any(identifier_of(one) in by for one in self._known.topics if group_of(one) is not None)

    def drop(self, message: IncomingMessage) -> None:
        """Tell of a message that is acknowledged without being delivered."""
        why = "no subscription wants it any more, so it was acknowledged and dropped"
        self._on_dropped(InvalidError(why), message.topic)

    def ended(self, topic: str) -> None:
        """Take note that a subscription was ended: what still comes is on its way already."""
        self._known.remove(topic)
        _bounded(self._ended, (topic,))

    def subscribed(self, topic: str) -> None:
        """Take note that a filter was subscribed to."""
        self._known.add(topic)
        self._ended.discard(topic)
        self._absent.discard(topic)

    async def _work(self) -> None:
        try:
            while self._waiting:
                left, self._waiting = self._waiting[:_MESSAGES_AT_A_TIME], self._waiting[_MESSAGES_AT_A_TIME:]
                left = [message for message in left if not self._is_explained(message)]
                for guess in (self._known.exact, self._known.all):
                    left = await self._find({message: guess(message) for message in left})
                for message in left:
                    self._leave(message)
                await asyncio.sleep(0)
        except BridgeError:  # the connection is gone: the broker keeps the messages
            pass
        finally:
            self._works = False

    def _is_explained(self, message: IncomingMessage) -> bool:
        """Settle a message whose subscription, by its identifier, was ended already; return whether it was."""
        by = message.subscriptions
        found = bool(by) and any(identifier_of(one) in by and matches(plain(one), message.topic) for one in self._ended)
        if found:
            self._let_go(message)
        return found

    def _let_go(self, message: IncomingMessage) -> None:
        self.drop(message)
        self._settle(message)

    async def _find(self, guesses: Mapping[IncomingMessage, Sequence[str]]) -> list[IncomingMessage]:
        """End the subscriptions that messages may have come by; return the messages whose one was not among them."""
        await self._end(tuple(dict.fromkeys(topic for topics in guesses.values() for topic in topics)))
        left = []
        for message, topics in guesses.items():
            if self._ended.isdisjoint(topics):
                left.append(message)
            else:
                self._let_go(message)
        return left

    async def _end(self, topics: Sequence[str]) -> None:
        """Send UNSUBSCRIBE for filters that are neither live nor tried already."""
        live = self._live()
        topics = [one for one in topics if one not in live and one not in self._ended and one not in self._absent]
        for some in _batches(topics):
            try:
                codes = await self._unsubscribe(*some)
            except InvalidError:  # the broker takes no packets of this size, so there is no such subscription
                codes = [_ABSENT] * len(some)
            # MQTT 3.1.1 does not say which of them there was: then one of all of them.
            ended = [topic for topic, code in zip(some, codes, strict=False) if code == 0] if codes else some
            _bounded(self._absent, set(some).difference(ended))
            for topic in ended:
                self.ended(topic)
            if ended:
                self._tell(ended if codes else ended[:1])

    def _tell(self, topics: Sequence[str]) -> None:
        self._named = [*self._named, *topics][:_MOST_NAMED]
        self._on_warning(
            WARNING,
            f"unsubscribed from {', '.join(self._named)}: the broker had kept what this configuration does not have",
        )

    def _leave(self, message: IncomingMessage) -> None:
        """Leave a message unacknowledged, whose subscription cannot be found: perhaps another group's job."""
        if message.qos == 0:
            self.drop(message)
        if self._has_left:
            return
        self._has_left = True
        self._on_warning(
            UNKNOWN,
            f"the broker sends {message.topic[:_MOST_SHOWN]!r} by a subscription of this `client_id` that is not in"
            " this configuration and cannot be found, perhaps in a shared group; such messages stay unacknowledged."
            " Configure it again, or use another `client_id`",
        )


def _batches(topics: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for topic in topics:
        length = len(topic.encode())
        if batch and (len(batch) == _AT_A_TIME or size + length > _BYTES_AT_A_TIME):
            yield batch
            batch, size = [], 0
        batch.append(topic)
        size += length
    if batch:
        yield batch


def _bounded(known: set[str], more: Collection[str]) -> None:
    """Add to what is remembered; where that is too much, begin anew."""
    if len(known) + len(more) > _MOST_REMEMBERED:
        known.clear()
    known.update(more)
