"""One node of a fabric emits for a `singleton` subscription; another one goes on when it is gone."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from bridge.core.errors import RejectedError
from bridge.fabric.leases import LeaseRecord
from bridge.simulation.cluster import MemoryCluster
from tests.support.clock import FakeClock
from tests.support.fabric.lease_nodes import BUCKET, KEY, LeaseNode, Said, nodes_that_freeze


class Plant:
    """A cluster in memory, its nodes, and what they said.

    Attributes:
        nodes: All processes, also those that were killed.
    """

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.cluster = MemoryCluster(self.clock)
        self.cluster.latency = 0.005
        self.said: list[Said] = []
        self.nodes: list[LeaseNode] = []

    def node(self, name: str, **settings: Any) -> LeaseNode:
        """Start a process of a node."""
        node = LeaseNode(name, self.cluster, self.clock, self.said, **settings)
        self.nodes.append(node)
        return node

    @property
    def leader(self) -> LeaseNode:
        """The only node that has the lease."""
        [leader] = [node for node in self.nodes if not node.is_dead and node.leases.held()]
        return leader

    def record(self) -> LeaseRecord:
        """Return the value of the lease's key."""
        entry = self.cluster.value(BUCKET, KEY)
        assert entry is not None
        assert entry.value is not None
        return msgspec.json.decode(entry.value, type=LeaseRecord)

    def check(self) -> None:
        """Check that no tick was said twice or after a later one, and that terms do not overlap."""
        ticks = [one.tick for one in self.said]
        assert ticks == sorted(set(ticks))
        terms = [one.term for one in self.said]
        assert None not in terms
        assert terms == sorted(terms, key=lambda term: term or 0)
        assert len({(one.term, one.run) for one in self.said}) == len(set(terms))

    def gaps(self) -> list[float]:
        """Return the seconds between each two that were said, longest first."""
        times = [one.at for one in self.said]
        return sorted((b - a for a, b in itertools.pairwise(times)), reverse=True)


@asynccontextmanager
async def plant(*names: str, **settings: Any) -> AsyncIterator[Plant]:
    """Start nodes, and end them after the test."""
    with nodes_that_freeze():
        one = Plant()
        for name in names:
            one.node(name, **settings)
        try:
            yield one
        finally:
            for node in one.nodes:
                await node.close()
        one.check()


async def test_one_of_three_nodes_says_each_tick() -> None:
    """Each tick is said once, by one node; all buses hear who it is, and its term."""
    async with plant("a", "b", "c") as fabric:
        await fabric.clock.advance(60)
        assert len(fabric.said) in {59, 60}
        assert len({one.node for one in fabric.said}) == 1
        assert fabric.gaps()[0] == pytest.approx(1.0, abs=0.05)
        for node in fabric.nodes:
            [(_, change)] = node.told
            assert (change.node, change.previous, change.gap_ms) == (fabric.leader.name, None, None)
            assert change.term == fabric.said[0].term
            assert node.leases.problems() == []


async def test_another_node_goes_on_when_the_leader_is_killed() -> None:
    """Within 15 s, with the tick that was due since, and the gap is told on each bus."""
    async with plant("a", "b", "c") as fabric:
        await fabric.clock.advance(30)
        dead = fabric.leader
        dead.kill()
        await fabric.clock.advance(30)
        assert fabric.leader is not dead
        assert 9 < fabric.gaps()[0] < 11.5
        before = [one for one in fabric.said if one.run == dead.run][-1]
        after = next(one for one in fabric.said if one.run != dead.run)
        assert after.tick == before.tick + 1000, "the first tick that nobody has said is said late"
        for node in fabric.nodes:
            if node is not dead:
                change = node.told[-1][1]
                assert (change.node, change.previous) == (fabric.leader.name, dead.name)
                assert change.gap_ms is not None
                assert 8_900 < change.gap_ms < 11_000


async def test_a_leader_that_ends_in_order_gives_its_lease_up() -> None:
    """The next node goes on within a second and misses no tick; who leaves says so on its own bus."""
    async with plant("a", "b", "c") as fabric:
        await fabric.clock.advance(30.5)
        left = fabric.leader
        leaving = asyncio.create_task(left.leases.leave())
        await fabric.clock.advance(0.4)
        assert leaving.done()
        assert fabric.leader is not left
        assert (left.told[-1][1].node, left.told[-1][1].previous) == (fabric.leader.name, left.name)
        assert (left.told[-2][1].node, left.told[-2][1].previous) == (None, left.name)
        await fabric.clock.advance(10)
        assert fabric.gaps()[0] == pytest.approx(1.0, abs=0.05)


async def test_a_leader_whose_session_ends_while_it_leaves_waits_no_longer() -> None:
    """The broker does not answer who leaves, and then the session ends: nothing can be given up any more."""
    async with plant("a") as fabric:
        await fabric.clock.advance(30.5)
        leaving = asyncio.create_task(fabric.leader.leases.leave())
        fabric.cluster.jetstream = "silent"
        await fabric.clock.advance(0.5)
        assert not leaving.done()
        session = fabric.nodes[0].session
        assert session is not None
        session.lose()
        await fabric.clock.advance(0.3)
        assert leaving.done()
        fabric.cluster.jetstream = "up"


async def test_a_subscription_that_is_not_live_leaves_the_lease_to_others() -> None:
    """It is given up at once, and competed for again when the subscription is live again."""
    async with plant("a", "b") as fabric:
        await fabric.clock.advance(30.5)
        first = fabric.leader
        first.lease.resign()
        assert first.lease.term is None
        await fabric.clock.advance(1)
        second = fabric.leader
        assert second is not first
        first.lease.campaign()
        await fabric.clock.advance(5)
        second.kill()
        await fabric.clock.advance(12)
        assert fabric.leader is first
        assert fabric.gaps()[1] < 1.1


@pytest.mark.parametrize("seconds", [7, 30, 600])
async def test_a_suspended_leader_says_nothing_in_a_term_that_is_over(seconds: float) -> None:
    """It wakes up with claims and writes in hand, while another node leads or nobody does yet."""
    async with plant("a", "b", "c") as fabric:
        for offset in (0.0, 0.003, 0.006, 0.5, 0.999):
            await fabric.clock.advance(10 + offset)
            fabric.leader.freeze(seconds)
            await fabric.clock.advance(seconds + 12)
        assert fabric.gaps()[0] < 12


async def test_a_leader_is_suspended_at_each_await_between_claim_and_event() -> None:
    """Whatever step of the event loop it is in, each tick is said once, and terms do not overlap."""
    async with plant("a", "b", "c") as fabric:
        await fabric.clock.advance(12)
        for step in range(1, 20):
            rounds = 0
            leader = fabric.leader

            def freeze(leader: LeaseNode = leader, step: int = step) -> None:
                nonlocal rounds
                rounds += 1
                if rounds == step:
                    leader.freeze(20)

            await fabric.clock.advance(1.0 - fabric.clock.monotonic() % 1.0 - 0.001)
            fabric.clock.each_round = freeze
            await fabric.clock.advance(1)
            fabric.clock.each_round = lambda: None
            await fabric.clock.advance(35)
        assert fabric.gaps()[0] < 13
        assert len({one.term for one in fabric.said}) > 10


async def test_a_claim_is_not_granted_by_an_answer_that_comes_too_late() -> None:
    """The write succeeded, but more than six seconds after it began: another node may have the lease soon."""
    async with plant("a") as fabric:
        await fabric.clock.advance(20.5)
        [node] = fabric.nodes
        node.leases.lease("job")
        claim = asyncio.create_task(node.lease.claim(fabric.clock.wall_ms() + 10_000))
        await fabric.clock.advance(0.001)
        node.freeze()
        await fabric.clock.advance(6.1)
        node.thaw()
        await asyncio.sleep(0)
        assert node.lease.term is None
        await fabric.clock.advance(1)
        assert claim.done(), "it is granted by another write, which nobody has come before"
        assert node.told[-2][1].node is None
        assert node.told[-1][1].node == "a"


async def test_a_write_whose_answer_is_lost_is_found_again() -> None:
    """The node reads its own value, and goes on in the same term: a lost answer costs no tick and no term."""
    async with plant("a", "b") as fabric:
        await fabric.clock.advance(20.5)
        leader = fabric.leader
        term = leader.lease.term
        for _ in range(5):
            fabric.cluster.silence(leader.name, direction="from")
            await fabric.clock.advance(1)
            assert leader.session is not None
            leader.session.lose()
            fabric.cluster.heal()
            await fabric.clock.advance(4)
        assert (fabric.leader, leader.lease.term) == (leader, term)
        assert [one.tick for one in fabric.said] == list(range(fabric.said[0].tick, fabric.said[-1].tick + 1, 1000))


async def test_a_write_that_arrives_late_does_no_harm() -> None:
    """What waited on a silent link for seconds is refused, or was the node's own."""
    async with plant("a", "b") as fabric:
        for seconds in (1, 3, 5, 8, 12, 30):
            await fabric.clock.advance(20.5)
            fabric.cluster.silence(fabric.leader.name, direction="to")
            await fabric.clock.advance(seconds)
            fabric.cluster.heal()
            await fabric.clock.advance(15)
            assert len([node for node in fabric.nodes if node.leases.held()]) == 1
        assert fabric.gaps()[0] < 12


@pytest.mark.parametrize("state", ["silent", "off"])
async def test_a_broker_without_a_leader_for_ten_seconds(state: Any) -> None:
    """Nobody says anything while nobody can claim; whose term has ended says so; then it goes on at once."""
    async with plant("a", "b") as fabric:
        await fabric.clock.advance(20.5)
        leader = fabric.leader
        fabric.cluster.jetstream = state
        await fabric.clock.advance(10)
        assert [node.leases.held() for node in fabric.nodes] == [[], []]
        assert leader.told[-1][1].node is None
        assert any("cannot be used" in line for line in leader.leases.problems())
        fabric.cluster.jetstream = "up"
        await fabric.clock.advance(3)
        change = fabric.leader.told[-1][1]
        assert (change.node, change.previous) == (fabric.leader.name, leader.name)
        assert change.gap_ms is not None
        assert 9_000 < change.gap_ms < 14_000
        assert fabric.gaps()[0] < 13
        assert fabric.leader.leases.problems() == []


async def test_the_lease_is_taken_as_soon_as_the_broker_answers_again() -> None:
    """A call that was not answered in two seconds is made again at once, so none of them is a pause."""
    for tenths in range(0, 30, 2):
        async with plant("a") as fabric:
            await fabric.clock.advance(20.5)
            fabric.cluster.jetstream = "silent"
            await fabric.clock.advance(15 + tenths / 10)
            assert fabric.nodes[0].leases.held() == []
            fabric.cluster.jetstream = "up"
            await fabric.clock.advance(0.3)
            assert fabric.leader is fabric.nodes[0], f"after {15 + tenths / 10} s"


async def test_refusals_far_apart_cost_no_more_than_the_first() -> None:
    """Each delays a tick by a tenth of a second; what was refused long ago is forgotten."""
    async with plant("a") as fabric:
        await fabric.clock.advance(20.5)
        for _ in range(8):
            fabric.cluster.refuse("update", RejectedError("no leader"))
            await fabric.clock.advance(10)
        assert fabric.gaps()[0] < 1.2


async def test_a_lease_that_may_not_be_written_is_tried_once_a_second() -> None:
    """That it can be read makes no difference: the broker is not asked without a pause."""
    async with plant("a") as fabric:
        await fabric.clock.advance(20.5)
        for _ in range(1000):
            fabric.cluster.refuse("update", RejectedError("permissions violation"))
        await fabric.clock.advance(5)
        before = fabric.cluster.calls["update"]
        await fabric.clock.advance(60)
        assert 60 <= fabric.cluster.calls["update"] - before <= 120


async def test_the_broker_is_away_for_minutes() -> None:
    """Nothing is said meanwhile, health says so, and a tick that has waited for too long is given up."""
    async with plant("a", "b") as fabric:
        await fabric.clock.advance(20)
        fabric.cluster.stop()
        await fabric.clock.advance(7)
        count = len(fabric.said)
        await fabric.clock.advance(113)
        assert len(fabric.said) == count
        assert fabric.nodes[0].leases.problems() == ["no node has the lease of 'job'"]
        assert fabric.nodes[0].leases.vacant() == ["job"]
        fabric.cluster.start()
        await fabric.clock.advance(15)
        assert fabric.nodes[0].leases.vacant() == []
        late = fabric.said[count]
        assert late.at - fabric.clock.elapsed() < 15
        assert (fabric.clock.wall_ms() - late.tick) / 1000 < 50, "a tick is said at most half a minute late"


async def test_a_node_restarts_within_its_own_term() -> None:
    """Its new process does not go on in the term of the old one, which may be only suspended."""
    async with plant("a") as fabric:
        await fabric.clock.advance(20.5)
        [old] = fabric.nodes
        old.freeze()
        new = fabric.node("a", run="second")
        await fabric.clock.advance(8)
        assert new.leases.held() == []
        old.thaw()
        await fabric.clock.advance(5)
        assert (old.leases.held(), new.leases.held()) == (["job"], []), "who comes back in time goes on"
        old.kill()
        await fabric.clock.advance(12)
        assert new.leases.held() == ["job"]
        assert fabric.gaps()[0] < 12


async def test_two_subscriptions_of_one_name_share_a_lease() -> None:
    """As while a reload moves it to another integration: each tick is granted to one of them."""
    async with plant("a") as fabric:
        await fabric.clock.advance(10.5)
        [node] = fabric.nodes
        second = node.leases.lease("job")
        assert (second.term, await second.claim(1)) == (None, False), "it does not compete yet"
        second.campaign()
        tick = fabric.clock.wall_ms() + 500
        claims = [asyncio.create_task(lease.claim(tick)) for lease in (node.lease, second)]
        await fabric.clock.advance(0.2)
        assert sorted(claim.result() for claim in claims) == [False, True]
        node.lease.resign()
        assert second.term == 1
        assert await second.claim(tick) is False


async def test_a_reload_removes_and_adds_the_subscription() -> None:
    """The node keeps what it has said in mind by the value, whether it gives the lease up in between or not."""
    async with plant("a") as fabric:
        [node] = fabric.nodes
        for pause in (0.0, 0.002, 0.3):
            await fabric.clock.advance(10.2)
            node.lease.resign()
            await fabric.clock.advance(pause)
            node.lease.campaign()
        await fabric.clock.advance(10)
        assert fabric.gaps()[0] < 1.5


async def test_wall_clocks_that_differ_by_seconds() -> None:
    """A tick is what a node calls it: those that a fast clock has said are not said again after it."""
    async with plant() as fabric:
        fabric.node("fast", ahead=4.0)
        await fabric.clock.advance(15)
        fabric.node("slow", ahead=-3.0)
        await fabric.clock.advance(15)
        fabric.leader.kill()
        await fabric.clock.advance(30)
        assert fabric.leader.name == "slow"
        assert fabric.gaps()[0] < 9 + 7 + 3


async def test_a_clock_that_is_set_back_says_nothing_twice_and_is_told() -> None:
    """The ticks until then were said; health says why nothing comes."""
    async with plant("a") as fabric:
        await fabric.clock.advance(10)
        [node] = fabric.nodes
        node.clock.set_wall(-60)
        await fabric.clock.advance(10)
        count = len(fabric.said)
        [problem] = node.leases.problems()
        assert "the clock of this machine or of another node is wrong" in problem
        await fabric.clock.advance(60)
        assert len(fabric.said) > count
        assert node.leases.problems() == []


async def test_fast_ticks_are_claimed_ahead() -> None:
    """Ten ticks a second cost about one write a second, and a leader that gives up leaves none unsaid."""
    async with plant("a", "b", every=0.1) as fabric:
        await fabric.clock.advance(10)
        fabric.cluster.calls.clear()
        count = len(fabric.said)
        await fabric.clock.advance(10)
        assert len(fabric.said) - count == pytest.approx(100, abs=2)
        assert fabric.cluster.calls["update"] <= 12
        leader = fabric.leader
        leader.lease.resign()
        await fabric.clock.advance(5)
        assert fabric.leader is not leader
        assert fabric.gaps()[0] < 0.5
        fabric.leader.freeze(8)
        await fabric.clock.advance(20)
        assert fabric.gaps()[0] < 12


async def test_what_has_no_tick_is_granted_to_the_leader_only() -> None:
    """A poll's change is granted by a write after the call; a follower drops it at once."""
    async with plant("a", "b") as fabric:
        await fabric.clock.advance(20.5)
        leader = fabric.leader
        [follower] = [node for node in fabric.nodes if node is not leader]
        assert await follower.lease.claim() is False
        before = fabric.cluster.calls["update"]
        claims = [asyncio.create_task(leader.lease.claim()) for _ in range(100)]
        await fabric.clock.advance(0.02)
        assert all(claim.result() for claim in claims)
        assert fabric.cluster.calls["update"] - before == 1, "claims at the same time share a write"


async def test_what_has_no_tick_waits_until_a_first_leader_is_known() -> None:
    """A fabric that nobody has led begins with the first change of a poll, which is not lost."""
    async with plant() as fabric:
        fabric.cluster.stop()
        node = fabric.node("a", every=3600)
        await fabric.clock.advance(0.1)
        claim = asyncio.create_task(node.lease.claim())
        await fabric.clock.advance(5)
        assert not claim.done()
        fabric.cluster.start()
        await fabric.clock.advance(1)
        assert claim.result() is True


async def test_a_node_that_is_no_member_has_no_lease() -> None:
    """While its name is taken it leads nothing, gives up what it had, and comes back."""
    async with plant("a", "b") as fabric:
        await fabric.clock.advance(20.5)
        leader = fabric.leader
        leader.is_member = False
        assert leader.lease.term is None
        await fabric.clock.advance(3)
        assert fabric.leader is not leader
        other = fabric.leader
        leader.is_member = True
        await fabric.clock.advance(3)
        other.kill()
        await fabric.clock.advance(12)
        assert fabric.leader is leader


GARBAGE = [b"", b"\xff\xfe", b"[]", b'{"node": 5}', b'{"node":"x","run":"y","since_ms":-1}', b"{" * 5000, b"null"]


@pytest.mark.parametrize("value", GARBAGE)
async def test_garbage_in_the_key_is_counted_and_overcome(value: bytes) -> None:
    """Who led has lost the lease by it; after nine seconds a node takes it, and no tick is said twice."""
    async with plant("a", "b") as fabric:
        await fabric.clock.advance(20.5)
        leader = fabric.leader
        fabric.cluster.put(BUCKET, KEY, value)
        await fabric.clock.advance(1)
        assert all(node.garbage for node in fabric.nodes)
        assert leader.told[-1][1].node is None
        await fabric.clock.advance(15)
        assert fabric.leader.leases.problems() == []
        assert fabric.gaps()[0] < 12


async def test_a_key_that_is_deleted_is_written_again() -> None:
    """An operator who deletes the key of a lease gets another term, and no tick twice."""
    async with plant("a", "b") as fabric:
        await fabric.clock.advance(20.5)
        fabric.cluster.put(BUCKET, KEY, None)
        await fabric.clock.advance(15)
        assert fabric.record().node == fabric.leader.name
        assert fabric.gaps()[0] < 12


async def test_another_key_of_garbage_is_counted() -> None:
    """A lease that this bridge does not have is checked all the same."""
    async with plant("a") as fabric:
        await fabric.clock.advance(5)
        fabric.cluster.put(BUCKET, "lease.other", b"what?")
        fabric.cluster.put(BUCKET, "node.other", b"what?")
        await fabric.clock.advance(1)
        assert len(fabric.nodes[0].garbage) == 1


async def test_a_watch_that_ends_is_the_end_of_the_part() -> None:
    """It raises why, and who runs it begins again; terms go on."""
    async with plant("a", "b") as fabric:
        await fabric.clock.advance(20.5)
        for node in fabric.nodes:
            assert node.session is not None
            node.session.end_watches(BUCKET, RejectedError("the stream was deleted"))
        await fabric.clock.advance(20)
        assert fabric.gaps()[0] < 1.5
