"""One event through each route, and each message seen as it comes back."""

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bridge.client import BusClient, Listener
from stack_lib.plan import StackError

#: Seconds for all integrations to be connected, and for one message to come back.
_CONNECTED: Final = 12.0
_BACK: Final = 5.0


@dataclass(frozen=True, slots=True)
class Journey:
    """An event that the application emits (none: it comes by itself), and the one that comes back.

    `matches` sees the payload that came and the one that was sent.
    """

    emit: str | None
    back: str
    payload: Mapping[str, Any]
    matches: Callable[[Any, Mapping[str, Any]], bool]


def _message(came: Any, sent: Mapping[str, Any]) -> bool:
    return bool(came["message"] == sent)


def _has_sent(came: Any, sent: Mapping[str, Any]) -> bool:
    return bool(sent.items() <= came.items())


def journeys() -> list[Journey]:
    """What to send and to see, with marks that are new each time."""
    mark = uuid.uuid4().hex[:8]
    return [
        Journey("order.created", "order.confirmed", {"id": mark, "total": 12.5}, _has_sent),
        Journey("lamp.switched", "lamp.seen", {"room": mark, "on": True}, _message),
        Journey("job.wanted", "job.taken", {"id": mark}, _message),
        Journey("price.changed", "price.seen", {"id": mark, "cents": 990}, _message),
        Journey("parcel.packed", "parcel.shipped", {"id": mark}, _message),
        Journey("metric.read", "metric.seen", {"name": "load", "id": mark}, _message),
        Journey("backbone.asked", "backbone.answered", {"page": "healthz"}, lambda came, _: came["status"] == 200),
        Journey("note.written", "note.seen", {"name": mark, "text": "hello"}, lambda came, _: mark in str(came)),
        Journey("setting.asked", "setting.answered", {"key": "currency"}, lambda came, _: came == "EUR"),
        Journey(None, "clock.ticked", {}, lambda came, _: "scheduled_at" in came["message"]),
    ]


async def check(integrations: Collection[str], say: Callable[[str], None]) -> bool:
    """Wait until every integration is connected, make every journey; returns whether all came back.

    Raises:
        StackError: An integration is not connected in time.
    """
    bus = BusClient(prefixes=("",), patience=_CONNECTED)
    with bus.listen() as events:
        async with bus:
            await _connected(events, integrations)
            say(f"connected: {', '.join(sorted(integrations))}")
            good = True
            for journey in journeys():
                good &= await _travel(bus, events, journey, say)
    return good


async def _connected(events: Listener, integrations: Collection[str]) -> None:
    missing = dict.fromkeys(integrations, "no word")
    try:
        async with asyncio.timeout(_CONNECTED):
            while missing:
                event = await events.get()
                name = event.event_type.removeprefix("health.")
                if name in integrations and name != event.event_type:
                    missing[name] = event.payload["status"]
                    if missing[name] == "connected":
                        del missing[name]
    except TimeoutError:
        states = ", ".join(f"{name}: {state}" for name, state in missing.items())
        raise StackError(f"not connected within {_CONNECTED:g} s: {states}") from None


async def _travel(bus: BusClient, events: Listener, journey: Journey, say: Callable[[str], None]) -> bool:
    began = time.monotonic()
    way = f"{journey.emit or 'by itself':<16} → {journey.back}"
    correlation_id = None
    if journey.emit is not None:
        correlation_id = str(uuid.uuid4())
        bus.emit(journey.emit, journey.payload, correlation_id=correlation_id)
    try:
        async with asyncio.timeout(_BACK):
            while True:
                event = await events.get()
                if event.event_type == journey.back and journey.matches(event.payload, journey.payload):
                    break
                failed = event.event_type.startswith("response.") and event.correlation_id == correlation_id
                if correlation_id is not None and failed and not event.payload["ok"]:
                    say(f"  FAILED  {way}: {event.payload['error']['message']}")
                    return False
    except TimeoutError:
        say(f"  FAILED  {way}: nothing came back within {_BACK:g} s")
        return False
    say(f"  ok      {way}  ({(time.monotonic() - began) * 1000:.0f} ms)")
    return True
