"""Queues on Redis Streams against the real server: what is acknowledged pattern must keep."""

import asyncio
import contextlib
import gc
import json
from typing import Any

import pytest

from bridge.core.errors import InvalidError, RejectedError
from bridge.core.model import Inbound
from bridge.core.ports import Context
from tests.support.servers.redis_server import redis_server, redis_session
from tests.support.wait import until


class Inbox:
    """What was delivered; `hold` keeps the deliveries from returning."""

    def __init__(self) -> None:
        self.got: list[Inbound] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, message: Inbound) -> None:
        self.got.append(message)
        await self.go_on.wait()

    @property
    def messages(self) -> list[object]:
        return [one.message for one in self.got]


def pending(client, queue, group="nemo"):
    """How many entries are delivered and not acknowledged."""
    return client.xpending(queue, group)["pending"]


async def test_an_entry_has_data_and_headers():
    """As the contract says; the idempotency key travels with the headers."""
    with redis_server() as server:
        async with redis_session(server) as session:
            context = Context({"hop": "1", "traceparent": "00-1"}, idempotency_key="k")
            await session.enqueue("queue", {"n": 1}, context=context)
            await session.enqueue("queue", "text", headers={"a": "b"})
            await session.enqueue("queue", "bare")
            with server.client() as client:
                first, second, third = [fields for _, fields in client.xrange("queue")]
            assert json.loads(first["data"]) == {"n": 1}
            assert json.loads(first["headers"]) == {"hop": "1", "traceparent": "00-1", "idempotency_key": "k"}
            assert (second["data"], json.loads(second["headers"])) == ("text", {"a": "b"})
            assert third == {"data": "bare"}
            taken = await session.dequeue("queue")
            assert taken is not None
            assert taken.headers == {"hop": "1", "traceparent": "00-1", "idempotency_key": "k"}


async def test_entries_of_others_come_as_a_map():
    """Of their fields."""
    with redis_server() as server:
        async with redis_session(server) as session:
            with server.client() as client:
                client.xadd("queue", {"sensor": "a", "value": "21.5"})
            taken = await session.dequeue("queue")
            assert taken is not None
            assert taken.message == {"sensor": "a", "value": 21.5}


async def test_consuming_acknowledges_in_batches_after_delivery():
    """In order, everything once, nothing pending in the end; nothing is acknowledged before it is delivered."""
    with redis_server() as server:
        async with redis_session(server) as session:
            with server.client() as client, client.pipeline(transaction=False) as pipeline:
                for n in range(1000):
                    pipeline.xadd("queue", {"data": n})
                pipeline.execute()
                inbox = Inbox()
                inbox.go_on.clear()
                subscription = await session.consume("queue", inbox)
                await until(lambda: inbox.got)
                assert pending(client, "queue") == 100
                inbox.go_on.set()
                await until(lambda: len(inbox.got) == 1000)
                await until(lambda: pending(client, "queue") == 0)
                assert inbox.messages == list(range(1000))
                assert {one.attempts for one in inbox.got} == {1}
                acknowledged = client.info("commandstats")["cmdstat_xack"]["calls"]
                assert acknowledged <= 12
                await session.enqueue("queue", "later")
                await until(lambda: len(inbox.got) == 1001)
                await session.unsubscribe(subscription)
                await session.enqueue("queue", "too late")
                await session.check()
            assert inbox.messages[-1] == "later"


async def test_what_a_killed_session_left_comes_again():
    """Under the same name at once, counted; what was acknowledged does not."""
    with redis_server() as server:
        stuck = Inbox()
        stuck.go_on.clear()
        async with redis_session(server) as session:
            for n in range(5):
                await session.enqueue("queue", n)
            await session.consume("queue", stuck)
            await until(lambda: stuck.got)
        inbox = Inbox()
        async with redis_session(server) as session:
            await session.consume("queue", inbox)
            await until(lambda: len(inbox.got) == 5)
            assert [(one.message, one.attempts) for one in inbox.got] == [(n, 2) for n in range(5)]
            with server.client() as client:
                await until(lambda: pending(client, "queue") == 0)


async def test_what_a_dead_consumer_left_is_claimed():
    """By a consumer of another name, after `claim_after`."""
    with redis_server() as server:
        with server.client() as client:
            for n in range(3):
                client.xadd("queue", {"data": n})
            client.xgroup_create("queue", "nemo", "0")
            client.xreadgroup("nemo", "dead", {"queue": ">"}, count=3)
        inbox = Inbox()
        async with redis_session(server, claim_after=0.2, consumer="living") as session:
            await session.consume("queue", inbox)
            await until(lambda: len(inbox.got) == 3)
            assert [(one.message, one.attempts) for one in inbox.got] == [(n, 2) for n in range(3)]
            with server.client() as client:
                await until(lambda: pending(client, "queue") == 0)


async def test_no_message_is_lost_over_a_restart_of_the_server():
    """Killed in the middle of consuming and of enqueuing: what was confirmed is delivered at least once."""
    with redis_server() as server:
        lost, confirmed, inbox = [], [], Inbox()
        async with redis_session(server, lost=lost) as session:
            await session.consume("queue", inbox)

            async def enqueue(worker):
                n = 0
                with contextlib.suppress(Exception):
                    while True:
                        await session.enqueue("queue", [worker, n])
                        confirmed.append([worker, n])
                        n += 1

            async with asyncio.TaskGroup() as group:
                for worker in range(8):
                    group.create_task(enqueue(worker))
                await until(lambda: len(confirmed) > 300 and inbox.got)
                server.kill()
        assert len(lost) == 1
        server.restart()
        async with redis_session(server, claim_after=0.2) as session:
            await session.consume("queue", inbox)
            got = lambda: {tuple(message) for message in inbox.messages}  # noqa: E731
            await until(lambda: got() >= {tuple(message) for message in confirmed})


async def test_delivered_too_often_goes_to_the_dead():
    """With where it came from; by consume as by dequeue."""
    with redis_server() as server:
        async with redis_session(server, max_deliveries=2) as session:
            sent = await session.enqueue("queue", "poison")
            for attempt in (1, 2):
                taken = await session.dequeue("queue")
                assert taken is not None
                assert taken.attempts == attempt
                await session.nack(taken.message_id)
            assert await session.dequeue("queue") is None
            with server.client() as client:
                ((_, fields),) = client.xrange("queue:dead")
                assert pending(client, "queue") == 0
            assert fields == {
                "data": "poison",
                "dead_letter_id": sent.split("/")[0],
                "dead_letter_group": "nemo",
                "dead_letter_attempts": "2",
            }
        with server.client() as client:
            client.xadd("other", {"data": "poison"})
            client.xgroup_create("other", "nemo", "0")
            client.xreadgroup("nemo", "dead", {"other": ">"})
            client.xclaim("other", "nemo", "dead", 0, [client.xrange("other")[0][0]], retrycount=9)
        async with redis_session(server, max_deliveries=2, claim_after=0.1) as session:
            inbox = Inbox()
            await session.consume("other", inbox)
            with server.client() as client:
                await until(lambda: client.xlen("other:dead") == 1)
                assert pending(client, "other") == 0
            assert not inbox.got


async def test_trimming_spares_what_is_not_acknowledged():
    """Pending and unread entries of every group stay; acknowledged ones go, down to `max_length`."""
    with redis_server() as server:
        async with redis_session(server, max_length=10) as session:
            for n in range(50):
                await session.enqueue("queue", n)
            with server.client() as client:
                assert client.xlen("queue") == 10  # nobody reads it: the newest stay
                client.xgroup_create("queue", "slow", "0")
                held = [await session.dequeue("queue") for _ in range(4)]
                for n in range(50):
                    await session.enqueue("queue", n)
                await until(lambda: client.xlen("queue") == 60)
                for entry in client.xreadgroup("slow", "c", {"queue": ">"}, count=100)[0][1]:
                    client.xack("queue", "slow", entry[0])
                await session.ack(held[0].message_id)
                await session.enqueue("queue", "next")
                assert client.xlen("queue") == 60
                assert client.xrange("queue")[0][0] == held[1].message_id.split("/")[0]
                while (taken := await session.dequeue("queue")) is not None:
                    await session.ack(taken.message_id)
                for one in held[1:]:
                    await session.ack(one.message_id)
                client.xgroup_destroy("queue", "slow")
                await session.enqueue("queue", "last")
                await until(lambda: client.xlen("queue") <= 11)


async def test_giving_back_with_delay():
    """It stays away that long, and then comes before what is new."""
    with redis_server() as server:
        async with redis_session(server, claim_after=5.0) as session:
            await session.enqueue("queue", "first")
            await session.enqueue("queue", "second")
            taken = await session.dequeue("queue")
            assert taken is not None
            loop = asyncio.get_running_loop()
            given_back = loop.time()
            await session.nack(taken.message_id, delay=0.3)
            second = await session.dequeue("queue")
            assert second is not None
            assert second.message == "second"
            again = await session.dequeue("queue", wait=5.0)
            assert loop.time() - given_back > 0.29
            assert again is not None
            assert (again.message, again.attempts) == ("first", 2)
            with pytest.raises(InvalidError, match="claim_after"):
                await session.nack(again.message_id, delay=6.0)


async def test_visibility():
    """What is not acknowledged within it comes again."""
    with redis_server() as server:
        async with redis_session(server) as session:
            await session.enqueue("queue", "x")
            assert await session.dequeue("queue", visibility=0.2) is not None
            assert await session.dequeue("queue") is None
            again = await session.dequeue("queue", wait=5.0)
            assert again is not None
            assert again.attempts == 2


async def test_waiting_ends_when_something_comes():
    """Many wait at the same time, each gets one, and other calls go on meanwhile."""
    with redis_server() as server:
        async with redis_session(server) as session, asyncio.TaskGroup() as group:
            waiting = [group.create_task(session.dequeue("queue", wait=10.0)) for _ in range(20)]
            with server.client() as client:
                await until(lambda: client.info("clients")["blocked_clients"] == 20)
            await session.check()
            for n in range(20):
                await session.enqueue("queue", n)
            taken = [await task for task in waiting]
            assert sorted(one.message for one in taken if one) == list(range(20))


async def test_an_entry_for_a_caller_who_left_comes_to_the_next():
    """Cancelled while it waits: what arrives then is given back at once."""
    with redis_server() as server:
        async with redis_session(server) as session:
            with server.client() as client, contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                    waiting = group.create_task(session.dequeue("queue", wait=10.0))
                    await until(lambda: client.info("clients")["blocked_clients"] == 1)
                    waiting.cancel()
            await session.enqueue("queue", "x")
            taken = await session.dequeue("queue", wait=5.0)
            assert taken is not None
            assert taken.message == "x"


async def test_a_loss_after_the_caller_left_is_not_complained_about():
    """Cancelled while it waits, then the server dies: nobody wants that error any more."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    with redis_server() as server:
        async with redis_session(server) as session:
            with server.client() as client:
                waiting = asyncio.ensure_future(session.dequeue("queue", wait=10.0))
                await until(lambda: client.info("clients")["blocked_clients"] == 1)
                waiting.cancel()
                await asyncio.wait({waiting})
            server.kill()
    del waiting
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_what_the_server_refuses():
    """A key of another type is `rejected`, with the server's code; the session lives on."""
    with redis_server() as server:
        async with redis_session(server) as session:
            with server.client() as client:
                client.set("text", "x")
            for call in (session.enqueue("text", 1), session.dequeue("text"), session.consume("text", Inbox())):
                with pytest.raises(RejectedError) as caught:
                    await call
                assert caught.value.code == "WRONGTYPE"
            with pytest.raises(InvalidError):
                await session.ack("nonsense")
            await session.check()


async def test_two_groups_each_get_everything():
    """And settle each for itself; the message id knows the group."""
    with redis_server() as server:
        async with redis_session(server) as session:
            await session.enqueue("queue", 1)
            ours, theirs = Inbox(), Inbox()
            theirs.go_on.clear()
            await session.consume("queue", ours)
            await session.consume("queue", theirs, group="audit")
            await until(lambda: ours.got and theirs.got)
            with server.client() as client:
                await until(lambda: pending(client, "queue") == 0)
                assert pending(client, "queue", "audit") == 1
                await session.ack(theirs.got[0].message_id)
                assert pending(client, "queue", "audit") == 0
            theirs.go_on.set()


async def test_a_stream_that_is_deleted_under_the_reader():
    """The session says so and ends; the next one makes the group again."""
    with redis_server() as server:
        lost = []
        async with redis_session(server, lost=lost) as session:
            await session.consume("queue", Inbox())
            with server.client() as client:
                client.delete("queue")
            await until(lambda: lost)
        inbox = Inbox()
        async with redis_session(server) as session:
            await session.consume("queue", inbox)
            await session.enqueue("queue", 1)
            await until(lambda: inbox.got)


async def test_commands_of_one_moment_share_a_write():
    """A thousand of them take a few reads of the server, not a thousand."""
    with redis_server() as server:
        async with redis_session(server) as session:
            with server.client() as client:
                before = client.info("stats")["total_reads_processed"]
                await asyncio.gather(*[session.enqueue("queue", n) for n in range(1000)])
                assert client.info("stats")["total_reads_processed"] - before < 50
                assert client.xlen("queue") == 1000
