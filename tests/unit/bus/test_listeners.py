"""Which event types somebody subscribes to."""

import asyncio

from bridge.bus.listeners import EVERY_FIRST_BYTE, Listeners


def test_a_type_has_a_listener_by_any_prefix_of_it():
    """A prefix counts for each type that begins with it, until it is removed."""
    listeners = Listeners()
    assert not listeners.has("order.new")
    listeners.add(b"order.")
    assert listeners.has("order.new")
    assert not listeners.has("data.x")
    listeners.add(b"")
    assert listeners.has("data.x")
    listeners.remove(b"")
    listeners.remove(b"never added")
    assert (listeners.has("order.new"), listeners.has("data.x")) == (True, False)
    listeners.clear()
    assert not listeners.has("order.new")


def test_who_reads_everything_by_first_bytes_is_no_listener():
    """The prefixes of a bridge do not count; one that ends within a character does."""
    listeners = Listeners()
    for prefix in EVERY_FIRST_BYTE:
        listeners.add(prefix)
    assert not listeners.has("order.new")
    listeners.add("ü.x".encode()[:3])
    assert listeners.has("ü.x")


def test_who_observes_is_known():
    """Who reads everything is known by single bytes that are not our own, or by a type that says so until it ends."""
    listeners = Listeners()
    listeners.add(b"o")
    listeners.ignore_own()
    listeners.add(b"order.observes")
    assert not listeners.observed
    listeners.add(b"o")
    assert listeners.observed
    for end in (lambda: listeners.remove(b"client.key.observes"), listeners.clear):
        listeners.add(b"client.key.observes")
        listeners.ignore_own()
        assert listeners.observed
        end()
        assert not listeners.observed


def test_what_routes_of_bridges_take_has_a_listener():
    """A bridge tells its patterns by subscriptions; reports must be named in them, and nonsense says nothing."""
    listeners = Listeners()
    for prefix in (
        b"client.takes.**",
        b"client.key.takes.health.*",
        b"client.takes.a..b",
        b"app.takes.x",
        b"client.takes.",
    ):
        listeners.add(prefix)
    assert (listeners.has("order.new"), listeners.has("health.api"), listeners.has("response.x")) == (True, True, False)
    listeners.remove(b"client.takes.**")
    assert (listeners.has("order.new"), listeners.has("x"), listeners.has("health.api")) == (False, False, True)
    listeners.clear()
    assert not listeners.has("health.api")


def test_invented_types_take_no_memory():
    """Only so many answers are remembered."""
    listeners = Listeners()
    for number in range(10_000):
        assert not listeners.has(f"data.{number}")
    assert len(listeners._known) < 5000


async def test_who_waits_is_woken():
    """A new prefix, and nothing else, wakes all who wait; who was cancelled is forgotten."""
    listeners = Listeners()
    waiting = [asyncio.create_task(listeners.change()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    listeners.remove(b"x")
    await asyncio.sleep(0)
    assert [one.done() for one in waiting] == [True, False, False]
    listeners.add(b"x.")
    await asyncio.gather(*waiting[1:])
    assert not listeners._waiting


def test_what_a_bridge_exports_is_no_use_to_what_was_imported() -> None:
    """It counts for all but events that came over a fabric, until the bridge takes it back."""
    listeners = Listeners()
    listeners.add(b"client.exports.order.**")
    assert listeners.has("order.new")
    assert not listeners.has("order.new", imported=True)
    listeners.add(b"client.takes.order.new")
    assert listeners.has("order.new", imported=True)
    assert listeners.taken_patterns == {"order.**", "order.new"}
    listeners.remove(b"client.exports.order.**")
    assert not listeners.has("order.old")
