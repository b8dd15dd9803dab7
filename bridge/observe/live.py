"""Speaks with the consoles that are open: sends each the view that it shows, taps the bus for it, takes its actions.

Frames are JSON objects. A viewer says which view it shows, and gets it at once and then whenever it has changed. The
overview is made once for all viewers. A viewer that does not read is dropped; one that sends too much has to wait.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, cast

import msgspec

from bridge.core.errors import BridgeError, InvalidError, OverloadedError
from bridge.core.log import structlog
from bridge.core.payloads import Fleet, Inspection, IntegrationRow, Overview, RouteRow, SubscriptionRow
from bridge.core.ports import Clock
from bridge.core.redaction import MASK
from bridge.observe.actions import Action, Actions
from bridge.observe.tap import PERIOD, Tap, TapHub
from bridge.observe.viewer import GoneError, Viewer

#: Seconds between two frames of a view, and the age from which on one is made anew for the next viewer.
_INTERVAL: Final = 2.0
_FRESH: Final = 1.9
#: Seconds in which a viewer has to read a frame, and in which an integration has to be inspected.
_PATIENCE: Final = 10.0
#: Seconds until the next frame of a viewer is read: after any, after another view, and after a refused action.
_PACE: Final = 0.05
_VIEW_PACE: Final = 0.25
_PENALTY: Final = 1.0
#: Frames that wait for a viewer, beside its view; while there are more, nothing is read from it.
_MOST_WAITING: Final = 16
#: Actions of one viewer that are not answered yet.
_MOST_ACTIONS: Final = 8
#: Integrations whose view is kept for other viewers.
_KEPT: Final = 16
#: Characters of a label and of a pattern that are looked at.
_MOST_TEXT: Final = 300

log = structlog.get_logger()


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a console sends: a view that it shows, or an action."""

    view: Literal["overview", "integration", "tap", "fleet"] | None = None
    integration: str | None = None
    patterns: list[str] = []
    correlation_id: str | None = None
    action: Action | None = None
    token: str | None = None


_read_frame: Final = msgspec.json.Decoder(_Frame).decode
_write: Final = msgspec.json.Encoder().encode


class _OverviewFeed:
    """The overview as frames for all viewers: all of it, and what has changed since the one before."""

    def __init__(self, overview: Callable[[], Overview], clock: Clock) -> None:
        self._overview = overview
        self._clock = clock
        self._made_at = -_INTERVAL
        self._last: Overview | None = None
        self._full: bytes | None = None
        self._changes: bytes | None = None
        self.version = 0

    def frame_after(self, seen: int) -> bytes | None:
        """Return the frame for a viewer who has seen this version; None where it has the newest one."""
        now = self._clock.monotonic()
        if self._last is None or now - self._made_at >= _FRESH:
            self._made_at = now
            fresh = self._overview()
            if fresh is not self._last:  # with many integrations it lasts longer
                self._renew(fresh)
        if seen == self.version:
            return None
        if seen == self.version - 1 and self._changes is not None:
            return self._changes
        if self._full is None:
            self._full = _frame(b'"overview","full":true', cast("Overview", self._last))
        return self._full

    def _renew(self, fresh: Overview) -> None:
        old, self._last = self._last, fresh
        self.version += 1
        self._full = None
        self._changes = None if old is None else _changes(old, fresh)


class _FleetFeed:
    """All fabrics as one frame for all viewers."""

    def __init__(self, fleet: Callable[[], Fleet], clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._made_at = -_INTERVAL
        self._frame = b""

    def frame(self) -> bytes:
        """Return the frame, at most two seconds old."""
        now = self._clock.monotonic()
        if not self._frame or now - self._made_at >= _FRESH:
            self._made_at = now
            self._frame = _frame(b'"fleet","at":%d' % self._clock.wall_ms(), self._fleet())
        return self._frame

    @property
    def has_fabrics(self) -> bool:
        """Whether there is any fabric."""
        return bool(self._fleet().fabrics)


def _changes(old: Overview, fresh: Overview) -> bytes | None:
    """Return the frame with what has changed; None where routes or subscriptions have come or gone."""
    routes = _changed(old.routes, fresh.routes, lambda row: cast("RouteRow", row).route)
    subscriptions = _changed(old.subscriptions, fresh.subscriptions, _subscription_key)
    if routes is None or subscriptions is None:
        return None
    before = {row.integration: row for row in old.integrations}
    changed: list[IntegrationRow] = [row for row in fresh.integrations if before.get(row.integration) != row]
    frame = _frame(
        b'"overview","full":false',
        msgspec.structs.replace(fresh, integrations=changed, routes=routes, subscriptions=subscriptions),
    )
    order = [row.integration for row in fresh.integrations]
    if order == list(before):
        return frame
    return b'%b,"order":%b}}' % (frame.removesuffix(b"}}"), _write(order))


def _subscription_key(row: Any) -> tuple[str, str]:
    one = cast("SubscriptionRow", row)
    return one.integration, one.subscription


def _changed(old: list[Any], fresh: list[Any], key: Callable[[Any], Any]) -> list[Any] | None:
    """Return the rows that have changed; None where there are other ones, or they have another order."""
    if [key(row) for row in old] != [key(row) for row in fresh]:
        return None
    return [row for before, row in zip(old, fresh, strict=True) if before != row]


def _without_events(inspection: Inspection) -> Inspection:
    """Return an inspection without what programs on the bus have sent: dead letters have no payload and no headers."""
    letters = [
        msgspec.structs.replace(one, event=msgspec.structs.replace(one.event, payload=MASK, headers=None))
        for one in inspection.dead_letters
    ]
    return msgspec.structs.replace(inspection, dead_letters=letters)


def _frame(kind: bytes, data: Any) -> bytes:
    return b'{"type":%b,"data":%b}' % (kind, _write(data))


class Live:
    """Serves all open consoles."""

    def __init__(
        self,
        overview: Callable[[], Overview],
        inspect: Callable[[str], Awaitable[Inspection]],
        fleet: Callable[[], Fleet],
        taps: TapHub,
        actions: Actions,
        *,
        shows_events: bool,
        name: str,
        version: str,
        clock: Clock,
    ) -> None:
        """Create it.

        Args:
            overview: Returns the result of `bridge.overview`.
            inspect: Returns the result of `bridge.inspect` for an integration; may raise BridgeError.
            fleet: Returns the result of `bridge.fleet`, in few enough bytes to be sent again and again.
            taps: Shows the events of the bus.
            actions: Does what viewers ask for.
            shows_events: Whether events are shown: by the tap, and those of dead letters.
            name: The bridge's name.
            version: The bridge's version.
            clock: For all times.
        """
        self._inspect = inspect
        self._inspections: dict[str, tuple[float, Inspection]] = {}
        self._clock = clock
        self.feed = _OverviewFeed(overview, clock)
        self.fleet = _FleetFeed(fleet, clock)
        self._taps = taps
        self.actions = actions
        self._shows_events = shows_events
        self._name = name
        self._version = version

    def close(self) -> None:
        """Report the refused actions that are held back."""
        self.actions.close()

    async def serve(self, viewer: Viewer, by: str) -> None:
        """Serve one console until it has gone.

        Args:
            viewer: The connection to it.
            by: The address of its browser.
        """
        session = _Session(self, viewer, by, self._clock)
        working = [asyncio.ensure_future(session.read()), asyncio.ensure_future(session.write())]
        try:
            done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                with contextlib.suppress(GoneError):
                    one.result()
        finally:
            session.close()
            for one in working:
                one.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    def hello(self) -> bytes:
        """Return the first frame for each viewer."""
        hello = {
            "type": "hello",
            "name": self._name,
            "version": self._version,
            "actions": self.actions.are_on,
            "tap": self._shows_events,
            "fabrics": self.fleet.has_fabrics,
            "now": self._clock.wall_ms(),
        }
        return _write(hello)

    def open_tap(self, patterns: list[str], correlation_id: str | None) -> Tap:
        """Begin to show events.

        Raises:
            InvalidError: The patterns or the id are not valid, or events are not shown.
        """
        if not self._shows_events:
            raise InvalidError("events are not shown here; `bridge { console { tap = true } }` allows it")
        return self._taps.open(patterns, correlation_id)

    def close_tap(self, tap: Tap) -> None:
        """End a tap."""
        self._taps.close(tap)

    def events_of(self, tap: Tap) -> bytes | None:
        """Return a tap's next frame; None where there is nothing to tell."""
        return self._taps.take(tap)

    async def inspection(self, integration: str) -> Inspection:
        """Return how an integration is, at most two seconds old.

        Raises:
            BridgeError: There is no such integration, or it cannot be shown now.
        """
        now = self._clock.monotonic()
        made_at, known = self._inspections.get(integration, (0.0, None))
        if known is not None and now - made_at < _FRESH:
            return known
        self._inspections.pop(integration, None)
        try:
            async with self._clock.timeout(_PATIENCE):
                found = await self._inspect(integration)
                if not self._shows_events:
                    found = _without_events(found)
        except TimeoutError:
            raise OverloadedError(f"{integration!r} could not be inspected within {_PATIENCE:g} s") from None
        while len(self._inspections) >= _KEPT:
            self._inspections.pop(next(iter(self._inspections)))
        self._inspections[integration] = (now, found)
        return found


class _Session:
    """One open console: what it shows, and what waits to be sent to it."""

    def __init__(self, live: Live, viewer: Viewer, by: str, clock: Clock) -> None:
        self._live = live
        self._viewer = viewer
        self._by = by
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._view: str | None = None
        self._integration = ""
        self._tap: Tap | None = None
        self._seen = 0
        self._shown: Any = None
        self._next = 0.0
        self._acting = 0

    def close(self) -> None:
        """End what it has begun; actions go on."""
        self._show(None)

    # --- what the console sends

    async def read(self) -> None:
        """Take the console's frames until it has gone. Raises GoneError."""
        while True:
            frame = await self._viewer.receive()
            await self._clock.sleep(self._take(frame))
            while len(self._waiting) > _MOST_WAITING:
                await self._clock.sleep(_PENALTY)

    def _take(self, text: str | bytes) -> float:
        """Take one frame; return how many seconds the next one has to wait."""
        try:
            if isinstance(text, bytes):
                raise InvalidError("a frame is a JSON object as text")
            frame = _decoded(text)
            if frame.action is not None:
                return _PACE if self._act(frame.action, frame.token) else _PENALTY
            self._choose(frame)
        except BridgeError as error:
            self._tell({"type": "error", "message": error.message})
            return _PACE
        return _VIEW_PACE

    def _choose(self, frame: _Frame) -> None:
        """Show another view from now on.

        Raises:
            InvalidError: The frame names none, or its patterns are not valid. The view stays as it is.
        """
        if frame.view is None:
            raise InvalidError("a frame has `view` or `action`")
        if frame.view == "integration" and not 0 < len(frame.integration or "") <= _MOST_TEXT:
            raise InvalidError("the view `integration` has the label of one in `integration`")
        tap = self._live.open_tap(frame.patterns, frame.correlation_id) if frame.view == "tap" else None
        self._show(frame.view, integration=frame.integration or "", tap=tap)

    def _show(self, view: str | None, *, integration: str = "", tap: Tap | None = None) -> None:
        if self._tap is not None:
            self._live.close_tap(self._tap)
        self._view, self._integration, self._tap = view, integration, tap
        self._seen, self._shown, self._next = 0, None, 0.0
        self._news.set()

    def _act(self, action: Action, token: str | None) -> bool:
        """Do what a person asks for; return False where it is refused."""

        def answer(result: Any, error: BridgeError | None) -> None:
            self._acting -= 1
            head = {"type": "action", "id": action.id, "ok": error is None}
            self._tell(head | ({"result": result} if error is None else {"error": error.to_wire()}))

        self._acting += 1
        if self._acting > _MOST_ACTIONS:
            answer(None, OverloadedError(f"{_MOST_ACTIONS} actions are not done yet"))
            return False
        return self._live.actions.perform(action, token, self._by, answer)

    def _tell(self, frame: dict[str, Any]) -> None:
        self._waiting.append(_write(frame))
        self._news.set()

    # --- what the console gets

    async def write(self) -> None:
        """Send what the console shows until it has gone. Raises GoneError."""
        await self._send(self._live.hello())
        while True:
            self._news.clear()
            while self._waiting:
                await self._send(self._waiting.popleft())
            if self._view is not None and self._clock.monotonic() >= self._next:
                await self._send_view()
            left = None if self._view is None else self._next - self._clock.monotonic()
            if left is None or left > 0:
                with contextlib.suppress(TimeoutError):
                    async with self._clock.timeout(left):
                        await self._news.wait()

    async def _send_view(self) -> None:
        self._next = self._clock.monotonic() + (PERIOD if self._view == "tap" else _INTERVAL)
        view = self._view
        frame = await self._inspected() if view == "integration" else self._shared()
        if frame is not None and view == self._view:
            await self._send(frame)

    def _shared(self) -> bytes | None:
        """Return the next frame of the tap, the fleet or the overview; None where nothing of it has changed."""
        if self._tap is not None:
            return self._live.events_of(self._tap)
        if self._view == "fleet":
            return self._live.fleet.frame()
        frame = self._live.feed.frame_after(self._seen)
        self._seen = self._live.feed.version
        return frame

    async def _inspected(self) -> bytes | None:
        """Return the frame of the integration that is shown; None where nothing of it has changed."""
        integration = self._integration
        try:
            found: Any = msgspec.structs.replace(await self._live.inspection(integration), at=0)
        except BridgeError as error:
            found = error.message
        if self._view != "integration" or integration != self._integration or found == self._shown:
            return None
        self._shown = found
        if isinstance(found, str):
            return _write({"type": "error", "message": found})
        return _frame(b'"integration"', msgspec.structs.replace(found, at=self._clock.wall_ms()))

    async def _send(self, frame: bytes) -> None:
        """Send a frame; drop a console that does not read it.

        Raises:
            GoneError: It has gone, or was dropped.
        """
        try:
            async with self._clock.timeout(_PATIENCE):
                await self._viewer.send(frame)
        except TimeoutError:
            self._viewer.drop()
            log.info("a console that does not read was dropped", by=self._by)
            raise GoneError from None


def _decoded(text: str) -> _Frame:
    """Return a console's frame.

    Raises:
        InvalidError: It is not one; the message names the place.
    """
    try:
        return _read_frame(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidError(f"not a frame of the console: {str(error)[:_MOST_TEXT]}") from None
