"""The name of a node, its heartbeat, and what becomes of two bridges with one name; on a cluster in memory."""

import asyncio
import json
import random

import pytest
from structlog.testing import capture_logs

from bridge.core.cluster import StreamSpec
from bridge.core.errors import RejectedError, UnavailableError
from bridge.core.model import ConnectionStatus
from bridge.fabric.membership import OwnState
from bridge.fabric.nodes import MOST_NODES
from tests.support.fabric.members import Member, World, world

UP = ConnectionStatus.CONNECTED
_STEPS = ["start", "start", "kill", "suspend", "resume", "silence", "heal", "lose", "stall", "garbage"]


def record(it: World, node: str) -> dict:
    """What stands in the bucket about a node."""
    entry = it.cluster.value("NEMO_plant", f"node.{node}")
    assert entry is not None
    assert entry.value is not None
    return json.loads(entry.value)


def invented(node: str, **changes: object) -> bytes:
    """A record as a bridge would write it."""
    found = {
        "node": node,
        "instance": "x",
        "run": "x",
        "bridge": "x",
        "version": "1",
        "pid": 1,
        "started_ms": 0,
        "heartbeat_ms": 5000,
        "status": "connected",
        "integrations": {},
        "offers": {},
        "leases": [],
        "delivery": "at_most_once",
        "max_age_ms": 86_400_000,
        "max_bytes": None,
        "replicas": 1,
    }
    return json.dumps({**found, **changes}).encode()


def nodes_among(*members: Member) -> list[Member]:
    """Those that have their name."""
    return [one for one in members if one.is_node]


async def test_a_bridge_joins_and_says_who_it_is():
    """The first node finds an empty bucket, takes its name, and tells bucket and bus what it is."""
    async with world() as it:
        state = OwnState({"erp": UP, "mail": ConnectionStatus.FAILED}, {"erp": 12.5}, ["nightly"])
        a = await it.member("a", bridge="left", delivery="at_least_once", max_bytes=5, state=state)
        found = record(it, "a")
        assert a.joined == [True]
        assert a.membership.error is None
        assert found["integrations"] == {"erp": "connected", "mail": "failed"}
        assert found["offers"] == {"erp": {"status": "connected", "longest_ms": 12500}}
        assert (found["leases"], found["bridge"], found["status"]) == (["nightly"], "left", "connected")
        assert (found["delivery"], found["max_bytes"], found["max_age_ms"]) == ("at_least_once", 5, 86_400_000)
        health = a.bus.health("a")
        assert health is not None
        assert (health.status, health.previous, health.offers) == ("connected", None, ["erp"])


async def test_a_heartbeat_is_written_every_five_seconds_and_no_more():
    """In a minute in which nothing changes there are twelve writes, whatever is said to have changed."""
    async with world() as it:
        a = await it.member("a")
        before = it.writes()
        for _ in range(240):
            a.membership.touch()
            await it.advance(0.25)
        assert it.writes() - before == 12


async def test_what_changes_is_written_at_once_but_four_times_a_second_at_most():
    """A change is there without a wait; a hundred within a second are four writes, the last of which has the last."""
    async with world() as it:
        a = await it.member("a")
        await it.advance(1)
        a.set(erp="connected")
        await it.settle()
        assert record(it, "a")["integrations"] == {"erp": "connected"}
        before = it.writes()
        for number in range(100):
            a.set(erp="connected" if number % 2 else "degraded")
            await it.advance(0.01)
        await it.advance(0.3)
        assert 3 <= it.writes() - before <= 5
        assert record(it, "a")["integrations"] == {"erp": "connected"}


async def test_nodes_see_each_other():
    """Each has the health of both on its bus, and a change is there within a quarter of a second."""
    async with world() as it:
        a, b = await it.member("a"), await it.member("b")
        await it.advance(0.1)
        assert a.sees() == b.sees() == {"a": "connected", "b": "connected"}
        b.set(erp="connected")
        await it.advance(0.3)
        health = a.bus.health("b")
        assert health is not None
        assert health.integrations == {"erp": "connected"}


async def test_a_node_that_dies_is_lost_after_three_heartbeats_and_back_at_once(tmp_path):
    """Fifteen seconds after its last heartbeat, not before; a process that starts in its place needs no time."""
    async with world() as it:
        a, b = await it.member("a"), await it.member("b", state_dir=tmp_path)
        await it.advance(5.5)
        await it.kill(b)
        await it.advance(14)
        assert a.sees()["b"] == "connected"
        await it.advance(1.0)
        assert a.sees()["b"] == "lost"
        b = await it.member("b", state_dir=tmp_path)
        assert b.is_node
        await it.advance(0.25)
        assert a.bus.statuses("b") == ["connected", "lost", "connected"]


async def test_a_node_that_was_killed_has_its_name_again_without_having_been_lost(tmp_path):
    """A restart within three heartbeats is no loss, and the new process has the name without a wait."""
    async with world() as it:
        a, b = await it.member("a"), await it.member("b", state_dir=tmp_path)
        await it.kill(b)
        b = await it.member("b", state_dir=tmp_path)
        assert b.is_node
        await it.advance(60)
        assert a.bus.statuses("b") == ["connected"]
        assert b.joined == [True]


async def test_without_a_state_folder_a_restart_waits_for_three_heartbeats():
    """Whether the bridge before it is gone can only be seen by waiting; meanwhile it says what it waits for."""
    async with world() as it:
        await it.kill(await it.member("a"))
        a = await it.member("a")
        await it.advance(14.5)
        assert not a.is_node
        assert isinstance(a.membership.error, UnavailableError)
        assert not a.membership.error.permanent
        assert "process 4711" in a.membership.error.message
        await it.advance(1)
        assert a.is_node
        assert a.membership.error is None


async def test_a_name_that_a_living_bridge_has_is_refused_loudly_and_once():
    """The second bridge never writes, and says which one has its name; the first does not notice it."""
    async with world() as it:
        first = await it.member("a", bridge="left")
        with capture_logs() as logs:
            second = await it.member("a", bridge="right")
            await it.advance(6)
            assert not second.is_node
            assert isinstance(second.membership.error, RejectedError)
            assert second.membership.error.permanent
            assert "`left` 1.0, process 4711" in second.membership.error.message
            await it.advance(300)
        assert [one["log_level"] for one in logs if one["event"] == "node name taken"] == ["error"]
        assert (first.joined, second.joined) == ([True], [])
        assert record(it, "a")["bridge"] == "left"
        health = second.bus.health("a")
        assert health is not None
        assert health.bridge == "left"


async def test_a_refused_bridge_has_the_name_three_heartbeats_after_the_other_died():
    """It goes on looking, and takes the name when the record has not changed for fifteen seconds."""
    async with world() as it:
        first, second = await it.member("a"), await it.member("a")
        await it.advance(20)
        await it.kill(first)
        await it.advance(9.5)
        assert not second.is_node
        await it.advance(6)
        assert second.is_node
        assert second.membership.error is None


async def test_a_refused_bridge_has_the_name_as_soon_as_the_other_leaves_in_order():
    """A record that says `stopped` is nobody's."""
    async with world() as it:
        first, second = await it.member("a"), await it.member("a")
        await it.advance(20)
        await first.membership.leave()
        await it.advance(0.5)
        assert second.is_node
        assert not first.is_node


@pytest.mark.parametrize("pause", [0.0, 0.25, 1.0, 7.0])
async def test_of_copies_of_one_installation_one_is_a_node(tmp_path, pause):
    """A copied machine has the same id: the younger process takes the name once, and the other stays refused."""
    async with world() as it:
        first = await it.member("a", state_dir=tmp_path)
        await it.advance(pause)
        second = await it.member("a", state_dir=tmp_path)
        await it.advance(300)
        assert nodes_among(first, second) == [second]
        assert first.joined == [True, False]
        assert second.joined == [True]
        assert first.membership.error is not None
        assert first.membership.error.permanent


async def test_a_copy_that_was_refused_does_not_take_the_name_back_on_a_new_session(tmp_path):
    """That the record has its own id helps only a process that was not a node before."""
    async with world() as it:
        first = await it.member("a", state_dir=tmp_path)
        second = await it.member("a", state_dir=tmp_path)
        await it.advance(20)
        for _ in range(5):
            await it.lose_session(first)
            await it.advance(3)
            it.connect(first)
            await it.advance(8)
        assert nodes_among(first, second) == [second]
        assert second.joined == [True]


@pytest.mark.parametrize("same", [True, False])
async def test_of_two_that_start_at_the_same_moment_one_is_a_node(tmp_path, same):
    """Both find no record; only one can create it, and five minutes later it is still the same one."""
    async with world() as it:
        it.cluster.latency = 0.01
        folders = [tmp_path, tmp_path if same else None]
        both = [await it.member("a", state_dir=folder) for folder in folders]
        await it.advance(30)
        (winner,) = nodes_among(*both)
        changes = [len(one.joined) for one in both]
        await it.advance(300)
        assert nodes_among(*both) == [winner]
        assert [len(one.joined) for one in both] == changes
        assert max(changes) <= 2


async def test_copies_of_a_running_process_do_not_share_the_name():
    """A machine that was copied while it ran has one run twice: who finds a write that is not its own is refused."""
    async with world() as it:
        both = [await it.member("a", run="same"), await it.member("a", run="same")]
        await it.advance(300)
        assert len(nodes_among(*both)) == 1
        assert max(len(one.joined) for one in both) <= 2


async def test_a_node_that_was_suspended_does_not_take_its_name_back():
    """A minute later another bridge has the name; it goes on, and who wakes is refused."""
    async with world() as it:
        first = await it.member("a")
        second = await it.member("a")
        it.suspend(first)
        await it.advance(62)
        assert second.is_node
        await it.resume(first)
        await it.advance(1)  # its heartbeat is overdue; it finds out before the other one writes again
        assert not first.is_node
        assert first.membership.error is not None
        await it.advance(60)
        assert first.joined == [True, False]
        assert second.joined == [True]


async def test_copies_that_were_both_refused_do_not_take_the_name_from_each_other(tmp_path):
    """When the third one dies, one of them has the name, and keeps it."""
    async with world() as it:
        holder = await it.member("a")
        both = [await it.member("a", state_dir=tmp_path) for _ in range(2)]
        await it.advance(20)
        await it.kill(holder)
        await it.advance(60)
        assert sorted(one.joined for one in both) == [[], [True]]


async def test_without_a_session_nobody_is_a_node():
    """The name may be another one's by the time there is a session again."""
    async with world() as it:
        a = await it.member("a")
        await it.lose_session(a)
        assert not a.is_node


async def test_who_was_suspended_takes_nobody_for_lost():
    """Its clock leaves the pause out, so the others were silent for no time; they saw it as lost meanwhile."""
    async with world() as it:
        a, b = await it.member("a"), await it.member("b")
        await it.advance(7)
        it.suspend(a)
        await it.advance(120)
        assert b.sees()["a"] == "lost"
        await it.resume(a)
        await it.advance(30)
        assert a.bus.statuses("b") == ["connected"]
        assert b.bus.statuses("a") == ["connected", "lost", "connected"]
        assert a.joined == [True]


async def test_a_write_whose_answer_is_lost_is_still_its_own():
    """The record has a revision that the node never heard of, but it is its own, and the name is, too."""
    async with world() as it:
        a = await it.member("a")
        await it.advance(4)
        it.cluster.silence(it.sessions[a].node, direction="from")
        await it.advance(3)  # the heartbeat is written, and nobody hears of it
        await it.lose_session(a)
        it.cluster.heal()
        it.connect(a)
        await it.advance(0.5)
        assert a.joined == [True, False, True]
        assert a.membership.error is None


async def test_a_broker_that_does_not_answer_is_an_error_and_costs_no_membership():
    """The call ends after five seconds; as long as the session lasts, the bridge still counts itself as a node."""
    async with world() as it:
        a = await it.member("a")
        it.cluster.jetstream = "silent"
        await it.advance(11)
        assert [error.kind for error in a.errors] == ["timeout"]
        assert a.is_node
        it.cluster.jetstream = "up"
        await it.advance(60)
        assert a.joined == [True]
        assert a.bus.statuses("a") == ["connected"]
        assert len(a.errors) <= 2


async def test_a_broker_that_was_away_does_not_give_the_name_to_another():
    """After an outage of a minute those who come back first do not take names of those who come later."""
    async with world() as it:
        first, second = await it.member("a"), await it.member("a")
        await it.advance(20)
        it.cluster.stop()
        await first.end()
        await second.end()
        await it.advance(60)
        it.cluster.start()
        it.connect(second)
        await it.advance(5)
        it.connect(first)
        await it.advance(60)
        assert first.joined == [True, False, True]
        assert second.joined == []


async def test_a_partition_is_seen_from_both_sides():
    """Who is cut off sees the others as lost, and they see it; when it is over, all are connected again."""
    async with world() as it:
        a, b, c = [await it.member(name) for name in "abc"]
        it.cluster.silence(it.sessions[a].node)
        await it.advance(40)
        assert a.sees() == {"a": "lost", "b": "lost", "c": "lost"}
        assert b.sees() == c.sees() == {"a": "lost", "b": "connected", "c": "connected"}
        it.cluster.heal()
        await it.advance(20)
        assert a.sees() == b.sees() == {"a": "connected", "b": "connected", "c": "connected"}
        assert a.is_node


async def test_a_bucket_that_is_deleted_is_an_error_and_then_filled_again():
    """The watch has ended, so the run does; the next one finds a new bucket, and all write themselves into it."""
    async with world() as it:
        a, b = await it.member("a"), await it.member("b")
        await it.advance(2)
        it.cluster.delete_bucket("NEMO_plant")
        await it.advance(20)
        assert len(a.errors) == 1
        assert a.sees() == b.sees() == {"a": "connected", "b": "connected"}
        assert a.joined == [True]


async def test_a_key_that_somebody_deletes_is_written_again():
    """A living node stays one."""
    async with world() as it:
        a = await it.member("a")
        it.cluster.put("NEMO_plant", "node.a", None)
        await it.advance(6)
        assert record(it, "a")["status"] == "connected"
        assert a.joined == [True]


async def test_garbage_in_the_own_key_is_written_over_and_counted():
    """No bridge has written that, so nobody has the name; a flood of it costs four writes a second at most."""
    async with world() as it:
        a = await it.member("a")
        await it.advance(1)
        before = it.writes()
        for _ in range(400):
            it.cluster.put("NEMO_plant", "node.a", b"\xff")
            await it.advance(0.025)
        await it.advance(6)
        assert record(it, "a")["node"] == "a"
        assert a.joined == [True]
        assert it.writes() - before <= 60
        assert a.context.counts.garbage == 400


async def test_garbage_in_the_bucket_is_counted_and_harms_nobody():
    """Values that are no records, and keys that are no names: each counts once, and is neither a node nor an error."""
    keys = ["node.", "node.a.b", "node.ä", "node." + "x" * 129, "node.bridge", "other", "lease"]
    values = [b"", b"\x00\xff", b"[" * 100_000, b"null", b"{}", invented("other"), invented("x", status="lost")]
    values += [invented("x", heartbeat_ms=1), invented("x", heartbeat_ms=10**12), invented("x", pid=-1)]
    values += [invented("x", max_age_ms=10**400), invented("x", integrations={"a": "fine"}), b" " * 70_000]
    async with world() as it:
        a, b = await it.member("a"), await it.member("b")
        for key in keys:
            it.cluster.put("NEMO_plant", key, invented("x"))
        for value in values:
            it.cluster.put("NEMO_plant", "node.x", value)
        it.cluster.put("NEMO_plant", "lease.nightly", b"not ours to read")
        await it.advance(30)
        assert a.context.counts.garbage == len(keys) + len(values)
        assert a.sees() == {"a": "connected", "b": "connected"}
        assert (a.errors, b.errors) == ([], [])
        late = await it.member("c")
        assert late.context.counts.garbage == len(keys) + 1
        assert late.sees() == {"a": "connected", "b": "connected", "c": "connected"}


async def test_a_later_version_may_say_more():
    """Keys that this one does not know are ignored."""
    async with world() as it:
        a = await it.member("a")
        it.cluster.put("NEMO_plant", "node.x", invented("x", colour="red", offers={"erp": {"status": "connected"}}))
        await it.settle()
        assert a.membership.offering("erp") == ["x"]
        assert a.context.counts.garbage == 0


async def test_ten_thousand_invented_nodes_leave_room_for_those_that_live():
    """At most a thousand are known, whoever was first; living nodes take the places of those that are lost."""
    async with world() as it:
        a, b = await it.member("a"), await it.member("b")
        for number in range(10_000):
            it.cluster.put("NEMO_plant", f"node.n{number}", invented(f"n{number}"))
        await it.advance(1)
        assert len(a.sees()) == MOST_NODES + 1
        assert a.context.counts.garbage == 10_000 - MOST_NODES + 1
        c = await it.member("c")
        await it.advance(40)
        for one in (a, b, c):
            assert len(one.sees()) == MOST_NODES + 1
            assert {"a", "b", "c"} <= {name for name, status in one.sees().items() if status == "connected"}
            assert one.bus.kept.keys() == {f"health.node.{name}" for name in one.sees()}
        assert len(a.bus.told) < 3 * MOST_NODES
        before = a.context.counts.garbage
        it.cluster.put("NEMO_plant", "node.gone", invented("gone", status="stopped"))
        await it.advance(1)
        assert a.context.counts.garbage == before + 1
        assert len(a.sees()) == MOST_NODES + 1


async def test_a_node_that_changes_all_the_time_is_told_ten_times_a_second():
    """What others write sets the rate of nothing on this bus."""
    async with world() as it:
        a = await it.member("a")
        await it.advance(1)
        before = len(a.bus.told)
        for number in range(1000):
            status = "connected" if number % 2 else "degraded"
            it.cluster.put("NEMO_plant", "node.x", invented("x", integrations={"erp": status}))
            await it.advance(0.002)
        assert len(a.bus.told) - before <= 21
        await it.advance(0.2)
        health = a.bus.health("x")
        assert health is not None
        assert health.integrations == {"erp": "connected"}


async def test_a_node_that_drains_or_has_no_connection_is_not_offered():
    """Only those are asked that can answer; the longest of their limits counts."""
    async with world() as it:
        user = await it.member("u")
        one = await it.member("a", state=OwnState({"erp": UP}, {"erp": 10.0}))
        other = await it.member("b", state=OwnState({"erp": ConnectionStatus.DEGRADED}, {"erp": 40.0}))
        await it.member("c", state=OwnState({"erp": UP}))
        await it.advance(0.5)
        assert user.membership.offering("erp") == ["a", "b"]
        assert user.membership.longest("erp") == 40.0
        other.set(erp="disconnected")
        await it.advance(0.5)
        assert user.membership.offering("erp") == ["a"]
        assert user.membership.longest("erp") == 10.0
        before = user.changes
        one.membership.drain()
        await it.advance(0.5)
        assert user.membership.offering("erp") == []
        assert user.membership.longest("erp") is None
        assert user.sees()["a"] == "draining"
        assert user.changes > before


async def test_a_node_that_is_lost_is_not_offered():
    """Three missing heartbeats end the offer, too."""
    async with world() as it:
        user = await it.member("u")
        one = await it.member("a", state=OwnState({"erp": UP}, {"erp": None}))
        await it.advance(1)
        assert user.membership.offering("erp") == ["a"]
        assert user.membership.longest("erp") is None
        await it.kill(one)
        await it.advance(16)
        assert user.membership.offering("erp") == []


async def test_a_node_that_leaves_in_order_is_stopped_at_once_and_writes_nothing_more():
    """The others know without a wait; whatever is said to have changed afterwards, the record stays."""
    async with world() as it:
        a, b = await it.member("a"), await it.member("b")
        await it.advance(3)
        await b.membership.leave()
        await it.settle()
        await it.advance(0.1)
        assert a.sees()["b"] == "stopped"
        b.membership.touch()
        await it.advance(60)
        assert record(it, "b")["status"] == "stopped"
        assert a.bus.statuses("b") == ["connected", "stopped"]
        assert b.joined == [True, False]


async def test_a_node_that_leaves_before_it_knows_that_it_has_joined():
    """The others have its record before it has the answer; they see it as stopped all the same, and not as lost."""
    async with world() as it:
        a = await it.member("a")
        it.cluster.latency, created = 0.05, it.cluster.calls["create"]
        b = await it.member("b")
        while it.cluster.calls["create"] == created:
            await it.advance(0.01)
        it.cluster.silence(it.sessions[b].node, direction="from")
        await it.advance(0.2)
        assert a.sees()["b"] == "connected"
        assert not b.is_node
        leaving = asyncio.create_task(b.membership.leave())
        await it.advance(0.1)
        it.cluster.heal()
        await it.advance(0.5)
        assert leaving.done()
        assert (b.joined, a.sees()["b"]) == ([], "stopped")


async def test_a_record_that_is_about_to_be_written_while_a_node_leaves_is_not():
    """Somebody has deleted the key, so there is nothing to say `stopped` in; it is not made again."""
    async with world() as it:
        a = await it.member("a")
        it.cluster.put("NEMO_plant", "node.a", None)
        it.cluster.latency = 0.6
        await it.advance(6.5)  # the heartbeat was refused, and the key is read again
        leaving = asyncio.create_task(a.membership.leave())
        await it.advance(30)
        await leaving
        entry = it.cluster.value("NEMO_plant", "node.a")
        assert entry is not None
        assert entry.value is None
        assert a.joined == [True, False]


async def test_leaving_takes_a_second_at_most():
    """A broker that is silent does not hold up the end of the bridge, even if a heartbeat is on its way."""
    async with world() as it:
        a = await it.member("a")
        await it.advance(4.5)
        it.cluster.jetstream = "silent"
        await it.advance(1)
        before = a.clock.monotonic()
        ended = []

        async def leave() -> None:
            await a.membership.leave()
            ended.append(a.clock.monotonic())

        task = asyncio.create_task(leave())
        await it.advance(2)
        await task
        assert ended[0] - before <= 1.25
        assert not a.is_node


async def test_a_node_that_is_gone_can_be_forgotten():
    """Its key, its consumer and its health disappear, for all nodes; to do it again does no harm."""
    async with world() as it:
        a = await it.member("a", delivery="at_least_once")
        b, c = await it.member("b"), await it.member("c")
        session = it.sessions[a]
        await session.stream(StreamSpec(name="NEMO_plant", subjects=("nemo.plant.event.>",), max_age=10))
        await session.consumer("NEMO_plant", "node_b", "nemo.plant.event.>")
        await it.advance(1)
        with pytest.raises(RejectedError, match="node `b` is `connected`; stop it first"):
            await a.membership.forget(session, "b")
        await it.kill(b)
        await it.advance(16)
        await a.membership.forget(session, "b")
        await it.advance(0.2)
        assert a.sees() == c.sees() == {"a": "connected", "c": "connected"}
        assert a.bus.health("b") is None
        assert c.bus.health("b") is None
        assert (await session.consumer("NEMO_plant", "node_b", "nemo.plant.event.>")).made
        await a.membership.forget(session, "b")
        assert (await session.consumer("NEMO_plant", "node_b", "nemo.plant.event.>")).made


async def test_what_cannot_be_forgotten_is_refused():
    """This bridge, a name that nobody had, and a node that has written since we saw it."""
    async with world() as it:
        a, b = await it.member("a"), await it.member("b")
        session = it.sessions[a]
        with pytest.raises(RejectedError, match="`a` is this bridge"):
            await a.membership.forget(session, "a")
        await it.kill(b)
        await it.advance(16)
        with pytest.raises(RejectedError, match="there is no node `x`; nodes that are gone: `b`"):
            await a.membership.forget(session, "x")
        it.cluster.silence(session.node)  # so that a does not see it yet
        it.cluster.put("NEMO_plant", "node.b", invented("b"))
        it.cluster.heal(session.node, direction="to")
        other = it.cluster.session("other")
        with pytest.raises(RejectedError, match="node `b` is alive, or was so just now"):
            await a.membership.forget(other, "b")


async def test_a_forgotten_node_that_was_away_while_it_happened_is_forgotten_too():
    """Who comes back finds only what the bucket has."""
    async with world() as it:
        a, b, c = [await it.member(name) for name in "abc"]
        await it.kill(c)
        await it.lose_session(b)
        await it.advance(20)
        assert b.sees()["c"] == "lost"
        await a.membership.forget(it.sessions[a], "c")
        it.connect(b)
        await it.advance(1)
        assert b.sees() == {"a": "connected", "b": "connected"}
        assert b.bus.health("c") is None


async def test_settings_that_differ_are_told_with_the_nodes_that_have_them():
    """One line for each setting and value; those of the stream count only where both use it."""
    async with world() as it:
        a = await it.member("a", delivery="at_least_once", max_age=3600.0)
        for name in "bcdefg":
            await it.member(name, delivery="at_least_once", max_age=60.0)
        await it.member("h", replicas=3, max_bytes=1024)
        gone = await it.member("i", replicas=5)
        await it.advance(0.5)
        await gone.membership.leave()
        await it.advance(0.5)
        rest = "it must be the same at all nodes of a fabric"
        assert a.membership.problems() == [
            f"`delivery` is `at_least_once` here and `at_most_once` at `h`; {rest}",
            f"`max_age` is `1h` here and `60s` at `b`, `c`, `d` and 3 more; {rest}",
            f"`replicas` is `1` here and `3` at `h`; {rest}",
        ]


async def test_a_record_that_would_be_too_large_leaves_out_what_the_others_need_least():
    """A bridge with thousands of integrations is a node all the same, and its offers are known."""
    many = {f"integration-{number:05}": UP for number in range(5000)}
    async with world() as it:
        a = await it.member("a", state=OwnState({**many, "erp": UP}, {"erp": 1.0}))
        b = await it.member("b")
        await it.advance(0.5)
        assert record(it, "a")["integrations"] == {"erp": "connected"}
        assert b.membership.offering("erp") == ["a"]
        assert "more than 65536 bytes" in a.membership.problems()[0]
        assert b.context.counts.garbage == 0


async def test_the_end_of_a_fabric_forgets_all_nodes_on_the_bus():
    """Nothing is repeated for later subscribers, and nothing calls back."""
    async with world() as it:
        a = await it.member("a")
        await it.member("b")
        await it.advance(1)
        assert a.bus.kept.keys() == {"health.node.a", "health.node.b"}
        await a.end()
        a.membership.close()
        before = a.changes
        assert a.bus.kept == {}
        assert a.clock.timers == 0
        await it.advance(60)
        assert a.changes == before


async def test_a_fabric_that_is_made_again_in_the_same_process_goes_on():
    """After a reload the same run finds its own record, and nobody sees a change."""
    async with world() as it:
        a, b = await it.member("a", run="one"), await it.member("b")
        await it.advance(1)
        await a.end()
        a.membership.close()
        it.members.remove(a)
        again = await it.member("a", run="one", delivery="at_least_once")
        await it.advance(20)
        assert again.joined == [True]
        assert b.bus.statuses("a") == ["connected"]


async def test_nodes_cost_what_they_write():
    """A heartbeat of one of fifty is one write and one entry for each node, and nothing is read again."""
    async with world() as it:
        members = [await it.member(f"n{number}") for number in range(50)]
        await it.advance(5)
        before = it.cluster.calls.copy()
        await it.advance(60)
        calls = it.cluster.calls - before
        assert calls["update"] == 50 * 12
        assert sum(calls.values()) == 50 * 12
        assert all(len(one.sees()) == 50 for one in members)


@pytest.mark.parametrize("seed", range(40))
async def test_after_whatever_happens_each_name_has_one_node(tmp_path, seed):
    """Processes with two names are killed, started, suspended, cut off, copied; once that ends, none of it lasts."""
    rng = random.Random(seed)
    async with world() as it:
        it.cluster.latency = rng.choice([0.0, 0.02])
        folders = [tmp_path / str(number) for number in range(2)]
        await it.member("a")
        await it.advance(1)
        for _ in range(25):
            step = rng.choice(_STEPS)
            awake = [one for one in it.members if one not in it.suspended]
            one = rng.choice(awake) if awake else None
            if step == "start" and len(it.members) < 6:
                await it.member(rng.choice("ab"), state_dir=rng.choice([None, *folders]))
            elif step == "resume" and it.suspended:
                await it.resume(it.suspended[-1])
            elif step == "heal":
                it.heal()
            elif step == "stall":
                it.cluster.jetstream = "silent"
            elif step == "garbage":
                it.cluster.put("NEMO_plant", "node.a", rng.choice([b"", None, invented("a", status="stopped")]))
            elif one is not None and step == "kill":
                await it.kill(one)
            elif one is not None and step == "suspend":
                it.suspend(one)
            elif one is not None and step == "silence":
                it.cluster.silence(it.sessions[one].node, direction=rng.choice(["both", "to", "from"]))
            elif one is not None and step == "lose":
                it.heal()
                await it.lose_session(one)
                it.connect(one)
            await it.advance(rng.choice([0.0, 0.5, 3.0, 10.0, 20.0]))
        it.heal()
        await it.resume(*it.suspended)
        await it.advance(60)
        by_name = {name: [one for one in it.members if one.node == name] for name in "ab"}
        changes = [len(one.joined) for one in it.members]
        for _ in range(30):
            assert all(len(nodes_among(*members)) == min(len(members), 1) for members in by_name.values())
            await it.advance(1)
        assert [len(one.joined) for one in it.members] == changes
        living = {name for name, members in by_name.items() if members}
        for one in it.members:
            assert {name for name, status in one.sees().items() if status == "connected"} == living
