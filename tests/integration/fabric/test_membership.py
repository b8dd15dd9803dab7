"""Nodes of a fabric on a real nats-server that is killed, frozen, restarted and filled with garbage."""

import asyncio
import time

import pytest

from bridge.fabric.nodes import MOST_NODES
from tests.support.fabric.nats import NatsMember, members_of
from tests.support.servers.nats_server import NatsServer, nats_client, nats_server
from tests.support.wait import until

#: The shortest heartbeat that there is: a node is lost after 1.5 s.
_HEARTBEAT = 0.5


def member(server: NatsServer, node: str, run: str, **options: object) -> NatsMember:
    """A process that has started."""
    it = NatsMember(f"nats://127.0.0.1:{server.port}", node, run=run, heartbeat=_HEARTBEAT, **options)
    it.start()
    return it


def all_see(members: list[NatsMember], wanted: dict[str, str]) -> bool:
    """Whether each of them sees these nodes and no others."""
    return all(one.member.sees() == wanted for one in members)


async def test_nodes_find_each_other_again_after_the_server_was_killed():
    """Each has its name again, and is connected for all; the server was away for longer than three heartbeats."""
    with nats_server() as server:
        async with members_of() as members:
            members += [member(server, name, name) for name in "abc"]
            connected = dict.fromkeys("abc", "connected")
            await until(lambda: all_see(members, connected), "that all see each other")
            server.kill()
            await until(lambda: all_see(members, dict.fromkeys("abc", "lost")), "that all are lost")
            server.start()
            await until(lambda: all_see(members, connected), "that all see each other again")
            # The others may know it before its own answer has come.
            await until(lambda: all(one.member.is_node for one in members), "that each has its name again")
            assert all(one.member.garbage.total() == 0 for one in members)


async def test_a_server_that_stands_still_costs_nobody_the_name():
    """Calls are not answered for three seconds; all go on afterwards, on the same session or a new one."""
    with nats_server() as server:
        async with members_of() as members:
            members += [member(server, name, name) for name in "ab"]
            connected = dict.fromkeys("ab", "connected")
            await until(lambda: all_see(members, connected), "that both see each other")
            server.freeze()
            await asyncio.sleep(3)
            server.thaw()
            await until(lambda: all_see(members, connected), "that both see each other again")
            await until(lambda: all(one.member.is_node for one in members), "that both have their names")


async def test_of_two_with_one_name_one_is_refused_until_the_other_dies():
    """The refused one tells which bridge has its name, and takes over three heartbeats after that was killed."""
    with nats_server() as server:
        async with members_of() as members:
            first = member(server, "a", "first", bridge="left")
            members.append(first)
            await until(lambda: first.member.is_node, "that the first has the name")
            second = member(server, "a", "second", bridge="right")
            members.append(second)
            await until(lambda: second.member.membership.error is not None and second.member.membership.error.permanent)
            assert "`left`" in str(second.member.membership.error)
            assert first.member.joined == [True]
            await first.kill()
            await until(lambda: second.member.is_node, "that the second has the name")
            assert second.member.membership.error is None


async def test_of_copies_that_start_at_the_same_moment_one_is_a_node(tmp_path):
    """Both have the same installation, and so would take the name from each other; it ends after one change."""
    with nats_server() as server:
        async with members_of() as members:
            members += [member(server, "a", run, state_dir=tmp_path) for run in ("one", "two")]
            await until(lambda: sum(one.member.is_node for one in members) == 1)
            await asyncio.sleep(4)  # eight heartbeats, in which nothing may change any more
            changes = [len(one.member.joined) for one in members]
            await asyncio.sleep(2)
            assert sum(one.member.is_node for one in members) == 1
            assert [len(one.member.joined) for one in members] == changes
            assert max(changes) <= 2


async def test_a_node_that_was_killed_has_its_name_again_at_once(tmp_path):
    """The others never see it as lost."""
    with nats_server() as server:
        async with members_of() as members:
            other, one = member(server, "b", "b"), member(server, "a", "first", state_dir=tmp_path)
            members += [other, one]
            await until(lambda: other.member.sees() == dict.fromkeys("ab", "connected"))
            await one.kill()
            began = time.monotonic()
            again = member(server, "a", "second", state_dir=tmp_path)
            members.append(again)
            await until(lambda: again.member.is_node)
            assert time.monotonic() - began < 3 * _HEARTBEAT
            await asyncio.sleep(3 * _HEARTBEAT)
            assert other.member.bus.statuses("a") == ["connected"]


async def test_a_node_that_leaves_and_one_that_is_forgotten():
    """The others know at once that a node is stopped; its key can be deleted, and is gone for all."""
    with nats_server() as server:
        async with members_of() as members:
            members += [member(server, name, name) for name in "abc"]
            a, b, c = members
            await until(lambda: all_see(members, dict.fromkeys("abc", "connected")))
            await b.member.membership.leave()
            await until(lambda: a.member.sees()["b"] == c.member.sees()["b"] == "stopped", seconds=_HEARTBEAT)
            await b.kill()
            assert a.session is not None
            await a.member.membership.forget(a.session, "b")
            await until(lambda: all_see([a, c], dict.fromkeys("ac", "connected")))


@pytest.mark.timeout(120)
async def test_ten_thousand_invented_keys_harm_nobody():
    """Half of them no record, half of them one: counted, at most a thousand are known, and living nodes join."""
    with nats_server() as server:
        async with members_of() as members:
            first = member(server, "a", "a")
            members.append(first)
            await until(lambda: first.member.is_node)
            async with nats_client(server.port) as client:
                async with asyncio.timeout(60):
                    bucket = await client.jetstream().key_value("NEMO_plant")
                    own = await bucket.get("node.a")
                    assert own.value is not None
                    for number in range(10_000):
                        name = f"n{number}"
                        value = own.value.replace(b'"node":"a"', f'"node":"{name}"'.encode())
                        value = value if number % 2 else b"\xff"
                        await client.publish(f"$KV.NEMO_plant.node.{name}", value)
                    await client.flush()
            late = member(server, "b", "b")
            members.append(late)
            for one in members:
                await until(lambda one=one: {"a", "b"} <= {n for n, s in one.member.sees().items() if s == "connected"})
                assert len(one.member.sees()) <= MOST_NODES + 1
                await until(
                    lambda one=one: one.member.is_node
                )  # its own record may come before the answer to its write
                assert one.member.context.counts.garbage >= 5_000
