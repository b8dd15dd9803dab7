"""Queues on Redis Streams against the real server: what is acknowledged pattern must keep."""

import asyncio
import contextlib
import gc
import json
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.core.endpoint import AuthBasic
from bridge.core.errors import InvalidError, RejectedError
from bridge.core.model import Inbound
from bridge.core.ports import Context
from tests.support.servers.redis_server import Told, redis_server, redis_session
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


async def test_entries_that_come_often():
    """They are read together, in order, and the stream can be left in the middle of it."""
    with redis_server() as server:
        async with redis_session(server) as session:
            inbox = Inbox()
            subscription = await session.consume("queue", inbox)
            for n in range(100):
                await session.enqueue("queue", n)
                while len(inbox.got) <= n:  # noqa: ASYNC110 - so that they come often
                    await asyncio.sleep(0)
            await session.unsubscribe(subscription)
            assert inbox.messages == list(range(100))
            with server.client() as client:
                assert pending(client, "queue") == 0


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
            await until(lambda: lost)
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
                await until(lambda: pending(client, "other") == 0)
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
    """That subscription ends with the server's reason, and no other; made again, it gets all of the new stream."""
    with redis_server() as server, server.client() as client:
        told, inbox, other = Told(), Inbox(), Inbox()
        async with redis_session(server, told=told) as session:
            await session.consume("queue", inbox)
            await session.consume("other", other)
            for again in (1, 2):
                await session.enqueue("queue", again)
                await until(lambda: len(inbox.got) == again)  # noqa: B023 - it is waited for here
                client.delete("queue")
                client.xadd("queue", {"data": "new"}, id="1-1")
                await until(lambda: len(told.ended) == again)  # noqa: B023
                await session.consume("queue", inbox)
                await until(lambda: inbox.messages[-1] == "new")
                client.delete("queue")
                await until(lambda: len(told.ended) == again + 1)  # noqa: B023
                told.ended.pop()
                await session.consume("queue", inbox)
            assert {topic for topic, _ in told.ended} == {"queue"}
            assert {error.code for _, error in told.ended} <= {"NOGROUP", "UNBLOCKED"}  # the second: up to Redis 7.0
            assert {error.kind for _, error in told.ended} == {"unavailable"}  # it is made again soon
            assert {one.attempts for one in inbox.got} == {1}
            await session.enqueue("other", 1)
            await until(lambda: other.got)
            assert not told.lost


async def test_a_stream_that_is_deleted_between_two_takes():
    """Its group is made again, and the new entries come."""
    with redis_server() as server, server.client() as client:
        async with redis_session(server) as session:
            assert await session.dequeue("queue") is None
            client.delete("queue")
            client.xadd("queue", {"data": 1})
            taken = await session.dequeue("queue")
            assert taken is not None
            assert taken.message == 1


async def test_a_group_that_is_set_back():
    """After `XGROUP SETID 0` everything is delivered once more, as for the first time."""
    with redis_server() as server, server.client() as client:
        inbox = Inbox()
        async with redis_session(server) as session:
            for n in range(8):
                await session.enqueue("queue", n)
            await session.consume("queue", inbox)
            await until(lambda: len(inbox.got) == 8)
            await until(lambda: pending(client, "queue") == 0)
            client.xgroup_setid("queue", "nemo", "0")
            client.xadd("queue", {"data": 8})  # wakes the reader
            await until(lambda: len(inbox.got) == 17)
            assert inbox.messages == [*range(8), *range(9)]
            assert {one.attempts for one in inbox.got} == {1}


async def test_content_that_the_codec_cannot_read():
    """It comes as bytes with the reason, by `consume` and by `dequeue`, and is acknowledged like any other."""
    with redis_server() as server, server.client() as client:
        inbox = Inbox()
        async with redis_session(server, codec="json") as session:
            for queue in ("read", "taken"):
                client.xadd(queue, {"data": b"not \xff json"})
                client.xadd(queue, {"data": "{}"})
            await session.consume("read", inbox)
            await until(lambda: len(inbox.got) == 2)
            await until(lambda: pending(client, "read") == 0)
            assert inbox.messages == [b"not \xff json", {}]
            assert ["codec_error" in one.headers for one in inbox.got] == [True, False]
            taken = await session.dequeue("taken")
            assert taken is not None
            assert taken.message == b"not \xff json"
            assert "codec_error" in taken.headers


async def test_dead_letters_that_the_server_refuses():
    """The entry stays pending, a warning says why, and what comes after it is delivered; then it is moved."""
    with redis_server() as server, server.client() as client:
        told, inbox = Told(), Inbox()
        client.set("queue:dead", "no stream")
        client.set("other:dead", "no stream")
        for queue in ("queue", "other"):
            client.xadd(queue, {"data": "poison"})
            client.xadd(queue, {"data": "good"})
            client.xgroup_create(queue, "nemo", "0")
            client.xreadgroup("nemo", "dead", {queue: ">"}, count=1)
            client.xclaim(queue, "nemo", "dead", 0, [client.xrange(queue)[0][0]], retrycount=9)
        async with redis_session(server, told=told, max_deliveries=2, claim_after=0.3) as session:
            await session.consume("queue", inbox)
            await until(lambda: told.warnings)
            await until(lambda: inbox.messages == ["good"])
            assert pending(client, "queue") == 1
            assert "WRONGTYPE" in told.warnings["dead letters of queue"]
            taken = await session.dequeue("other", wait=2.0)
            assert taken is not None
            assert taken.message == "good"
            client.delete("queue:dead")
            await until(lambda: client.exists("queue:dead"))
            await until(lambda: pending(client, "queue") == 0)
            assert client.xrange("queue:dead")[0][1]["data"] == "poison"
            await until(lambda: "dead letters of queue" not in told.warnings)
        assert not told.ended


async def test_reading_that_is_forbidden_while_it_goes_on():
    """Rights taken away end that subscription, with the server's own reason; the others go on."""
    with redis_server() as server, server.client() as client:
        client.acl_setuser("app", enabled=True, passwords=["+pw"], keys=["*"], channels=["*"], categories=["+@all"])
        told, inbox = Told(), Inbox()
        auth = AuthBasic(type="basic", username="app", password=SecretStr("pw"))
        async with redis_session(server, auth=auth, told=told) as session:
            await session.consume("queue", inbox)
            await session.subscribe("channel", inbox)
            client.execute_command("ACL", "SETUSER", "app", "-xreadgroup")
            await until(lambda: told.ended)
            ((topic, error),) = told.ended
            assert (topic, error.kind, error.code) == ("queue", "rejected", "NOPERM")
            assert "xreadgroup" in error.message
            with pytest.raises(RejectedError, match="xreadgroup"):
                await session.dequeue("queue")
            await session.publish("channel", 1)
            await until(lambda: inbox.got)
            client.execute_command("ACL", "SETUSER", "app", "+xreadgroup")
            await session.consume("queue", inbox)
            await session.enqueue("queue", 2)
            await until(lambda: inbox.messages == [1, 2])
        assert not told.lost


async def test_commands_of_one_moment_share_a_write():
    """A thousand of them take a few reads of the server, not a thousand."""
    with redis_server() as server:
        async with redis_session(server) as session:
            with server.client() as client:
                before = client.info("stats")["total_reads_processed"]
                await asyncio.gather(*[session.enqueue("queue", n) for n in range(1000)])
                assert client.info("stats")["total_reads_processed"] - before < 50
                assert client.xlen("queue") == 1000
