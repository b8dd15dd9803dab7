"""The log alone tells the story of an outage."""

from pathlib import Path

from bridge.simulation import Answer, Simulation
from tests.support.simulation.configured import BROKER, SHOP, configured
from tests.support.simulation.log_text import log_text

_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#: Parts that come again and again.
_SHORT = {
    "<OPEN>": 'error="circuit_open" message="the circuit is open after repeated failures; nothing was sent"',
    "<AWAY>": 'error="not_connected" message="shop refuses connections"',
    "<ORDER>": 'integration="shop" operation="request" route="orders" caused_by="order.created"',
    "<CALL>": 'integration="shop" operation="request" caused_by="integration.shop.request"',
    "<TRACE>": 'trace_id="4bf92f3577b34da6a3ce929d0e0e4736"',
}
_STORY = """
00:00 info [ready] name="bridge" publish="memory://publish" subscribe="memory://subscribe" status=null
00:00 info [integration up] integration="shop"
00:00 info [integration up] integration="events"
00:31 warning [dead letter] <ORDER> correlation_id="order-1" <TRACE> attempts=1 error="rejected" message="the stand-in answers with `rejected`" count=1
01:00 warning [integration down] integration="shop" status="disconnected" <AWAY>
01:05 warning [circuit opened] <ORDER> correlation_id="order-2" <TRACE> failures=5 retry_after_ms=30324 <AWAY>
01:10 warning [operation failed] <CALL> correlation_id="call-0" attempts=0 <OPEN> count=1
01:10 warning [operation failed] <CALL> correlation_id="call-1" attempts=0 <OPEN> count=1
01:10 warning [operation failed] <CALL> correlation_id="call-2" attempts=0 <OPEN> count=1
01:10 warning [outbox filling] integration="shop" pending=1 <OPEN>
01:35 info [circuit half-open] integration="shop"
01:35 warning [circuit opened again] <ORDER> correlation_id="order-3" <TRACE> failures=6 retry_after_ms=63787 <AWAY>
01:40 warning [operation failed] <CALL> correlation_id="call-9" attempts=0 <OPEN> count=7
02:00 warning [integration down] integration="events" status="disconnected" error="connection_lost" message="the broker restarts"
02:00 warning [not subscribed] integration="events" subscriptions=["metrics"] topic="metrics/#" error="rejected" message="'metrics/#' is refused"
02:00 info [integration up] integration="events" down_s=0.1 failed=0 waiting=0
02:39 info [circuit half-open] integration="shop"
02:39 warning [circuit opened again] <ORDER> correlation_id="order-3" <TRACE> failures=7 retry_after_ms=121351 <AWAY>
03:00 info [subscribed again] integration="events" subscriptions=["metrics"] topic="metrics/#" down_s=60.0
04:40 info [circuit half-open] integration="shop"
04:40 warning [circuit opened again] <ORDER> correlation_id="order-3" <TRACE> failures=8 retry_after_ms=242141 <AWAY>
06:00 warning [integration still down] integration="shop" status="disconnected" since="2026-01-05T00:01:00Z" down_s=300.0 failed=10 waiting=2 <AWAY>
08:42 info [circuit half-open] integration="shop"
08:42 warning [circuit opened again] <ORDER> correlation_id="order-3" <TRACE> failures=9 retry_after_ms=287058 <AWAY>
09:00 info [integration up] integration="shop" down_s=480.1 failed=10 waiting=2
11:00 warning [circuit still open] integration="shop" since="2026-01-05T00:01:05Z" open_s=594.6 failed=10 waiting=2 <AWAY>
13:30 info [circuit half-open] integration="shop"
13:30 info [circuit closed] integration="shop" open_s=744.7 failed=10 waiting=0
13:30 info [outbox caught up] integration="shop" waited_s=745.0 pending=0
15:00 info [stopping] reason="the simulation"
15:00 info [integration stopped] integration="events"
15:00 info [integration stopped] integration="shop"
15:00 info [stopped]
"""  # noqa: E501 - lines as the log has them


def outage(folder: Path) -> Simulation:
    """Run ten minutes with a refused order, a shop that is away for eight minutes, and a broker that restarts."""
    world = Simulation(configured(folder, SHOP + BROKER))
    shop, events = world.remotes["shop"], world.remotes["events"]

    def order(number: int) -> None:
        world.emit("order.created", {"id": number}, correlation_id=f"order-{number}", headers={"traceparent": _TRACE})

    def calls(count: int) -> None:
        for number in range(count):
            world.emit("integration.shop.request", {"method": "orders.list"}, correlation_id=f"call-{number}")

    def refuse_topics(refuses: bool) -> None:
        events.refuses_topics = refuses
        events.end_sessions("the broker restarts")

    def mend() -> None:
        shop.answers = ()
        shop.down(False)

    world.at(30, lambda: setattr(shop, "answers", [Answer(error="rejected")]))
    world.at(31, lambda: order(1))
    world.at(60, lambda: shop.down(True))
    world.at(65, lambda: order(2))
    world.at(70, lambda: calls(10))
    world.at(90, lambda: order(3))
    world.at(120, lambda: refuse_topics(True))
    world.at(125, lambda: setattr(events, "refuses_topics", False))
    world.at(540, mend)
    world.start()
    world.run(900, settle=False)
    world.finish()
    return world


def test_the_log_alone_tells_the_story_of_an_outage(tmp_path: Path) -> None:
    """Who is down since when and why, what failed and what waits, that it goes on, and how and when it ended.

    No line more than that: a flood of calls that fail is three lines, and one with the number of the others.
    """
    with outage(tmp_path) as world:
        told = log_text(world.record)
    for short, part in _SHORT.items():
        told = told.replace(part, short)
    assert told.splitlines() == _STORY.strip().splitlines()
