"""JSON-RPC over WebSocket: calls and notifications over one connection."""

import asyncio
import json
from typing import Any

import pytest
from msgspec import UNSET
from websockets.asyncio.server import ServerConnection

from bridge.core.errors import (
    BridgeError,
    InvalidError,
    ProtocolError,
    RejectedError,
)
from bridge.core.model import Inbound
from bridge.core.ports import Context
from tests.support.adapters.jsonrpc_sessions import error_of, scripted, serving, session
from tests.support.bus.listener import Listener
from tests.support.wait import until


async def test_the_servers_notifications_are_messages() -> None:
    """Notifications are delivered by method or all of them, in order; without a subscription they are dropped."""
    async with scripted() as (script, adapter, ear):
        await adapter.check()
        prices, everything = Listener(), ear
        named = await adapter.subscribe("price", prices.deliver)
        await adapter.subscribe("*", everything.deliver)
        for n in range(3):
            await script.say({"jsonrpc": "2.0", "method": "price", "params": {"n": n}})
            await script.say({"jsonrpc": "2.0", "method": "news"})
        await until(lambda: len(everything.got) == 6)
        assert prices.pairs == [("price", {"n": n}) for n in range(3)]
        assert everything.pairs[:2] == [("price", {"n": 0}), ("news", None)]
        await adapter.unsubscribe(named)
        await script.say([{"jsonrpc": "2.0", "method": "price", "params": [n]} for n in (7, 8)])
        await until(lambda: len(everything.got) == 8)
        assert everything.pairs[6:] == [("price", [7]), ("price", [8])]
        assert len(prices.got) == 3


async def test_a_greeting_is_not_lost() -> None:
    """Notifications between the opening and the first subscriptions are delivered to each that they concern."""

    async def greet(connection: ServerConnection) -> None:
        for name in ("a", "b", "a"):
            await connection.send(json.dumps({"jsonrpc": "2.0", "method": name, "params": [name]}))
        await connection.wait_closed()

    async with serving(greet) as url, session(url) as (adapter, ear):
        await adapter.connect()
        await adapter.check()
        await adapter.subscribe("b", ear.deliver)
        await adapter.subscribe("a", ear.deliver)
        await until(lambda: len(ear.got) == 3)
        assert ear.pairs == [("b", ["b"]), ("a", ["a"]), ("a", ["a"])]


async def test_calls_that_wait_together_share_a_frame() -> None:
    """With `batch`, calls and notifications that wait share a frame; responses come in any order and split."""
    async with scripted(batch=True) as (script, adapter, _), asyncio.TaskGroup() as group:
        calls = [group.create_task(adapter.request("m", [n])) for n in range(3)]
        told = group.create_task(adapter.request("n", UNSET, notify=True))
        await until(lambda: script.frames)
        (frame,) = script.frames
        assert [one["method"] for one in frame] == ["m", "m", "m", "n"]
        assert "id" not in frame[3]
        assert await told is None
        for part in ([frame[2], frame[0]], [frame[1]]):
            await script.say([{"jsonrpc": "2.0", "id": one["id"], "result": one["params"]} for one in part])
        assert [await call for call in calls] == [[0], [1], [2]]


async def test_an_idempotency_key_is_the_id() -> None:
    """The idempotency key is the id; a second concurrent call with the same key has another id."""
    async with scripted() as (script, adapter, _), asyncio.TaskGroup() as group:
        context = Context(idempotency_key="order-7")
        calls = [group.create_task(adapter.request("m", UNSET, context=context)) for _ in range(2)]
        await until(lambda: len(script.frames) == 2)
        assert [one["id"] for one in script.frames] == ["order-7", 1]
        for one in reversed(script.frames):
            await script.say({"jsonrpc": "2.0", "id": one["id"], "result": one["id"]})
        assert [await call for call in calls] == ["order-7", 1]


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": -5, "message": "no", "data": [1]}}, RejectedError, "no"),
        ({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "bad"}}, RejectedError, "bad"),
        ({"jsonrpc": "2.0", "id": 1, "error": "no"}, ProtocolError, "error object"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "m"}, "result": 1}, ProtocolError, "both"),
        ({"jsonrpc": "2.0", "id": 1}, ProtocolError, "neither"),
        ({"jsonrpc": "1.0", "id": 1, "result": 1}, ProtocolError, "jsonrpc"),
        ({"jsonrpc": "2.0", "id": 1, "result": 2**64}, ProtocolError, "64 bit"),
        ("<html>", ProtocolError, "HTML"),
        (b"\xff\xfe", ProtocolError, "not JSON"),
        ("7", ProtocolError, "wrong shape"),
        ({"jsonrpc": "2.0", "method": 7}, ProtocolError, "not a name"),
    ],
)
async def test_every_wrong_answer_has_its_error(said: Any, kind: type[BridgeError], words: str) -> None:
    """A wrong answer that can concern one call only fails that call at once; the session goes on."""
    async with scripted() as (script, adapter, ear), asyncio.TaskGroup() as group:
        call = group.create_task(error_of(adapter.request("m", UNSET)))
        await until(lambda: script.frames)
        await script.say(said)
        error = await call
        assert isinstance(error, kind)
        assert words in error.message
        if kind is RejectedError:
            assert error.code in {-5, -32600}
        after = group.create_task(adapter.request("m", UNSET))
        await until(lambda: len(script.frames) == 2)
        await script.say({"jsonrpc": "2.0", "id": 2, "result": "ok"})
        assert await after == "ok"
        assert not ear.lost


async def test_what_belongs_to_nobody_is_told_and_harms_nobody() -> None:
    """Unmatched responses are told and affect no call; a request of the server is refused."""
    async with scripted() as (script, adapter, ear), asyncio.TaskGroup() as group:
        gone = group.create_task(adapter.request("late", UNSET))
        await until(lambda: script.frames)
        gone.cancel()
        calls = [group.create_task(adapter.request("m", [n])) for n in range(2)]
        await until(lambda: len(script.frames) == 3)
        for call_id in (1, 99, "2", 2.5, True, [], None):
            await script.say({"jsonrpc": "2.0", "id": call_id, "result": "wrong"})
        await script.say({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "whose?"}})
        await script.say("garbage")
        await script.say({"jsonrpc": "2.0", "id": "s1", "method": "ping"})
        await until(lambda: len(script.frames) == 4)
        assert script.frames[3] == {
            "jsonrpc": "2.0",
            "error": {"code": -32601, "message": "this client has no methods"},
            "id": "s1",
        }
        assert not any(call.done() for call in calls)
        for n in (0, 1):
            await script.say({"jsonrpc": "2.0", "id": n + 2, "result": n})
        assert [await call for call in calls] == [0, 1]
        await script.say({"jsonrpc": "2.0", "id": 3, "result": "again"})
        await until(lambda: len(ear.dropped) == 10)
        assert {(type(error), topic) for error, topic in ear.dropped} == {(ProtocolError, "*")}


async def test_what_a_server_writes_that_means_the_same() -> None:
    """Binary frames, a byte-order mark, an id 1.0 for 1 and `error: null` beside a result are understood."""
    async with scripted() as (script, adapter, ear), asyncio.TaskGroup() as group:
        for number in (1, 2, 3):
            call = group.create_task(adapter.request("m", UNSET))
            await until(lambda n=number: len(script.frames) == n)
            answer = {"jsonrpc": "2.0", "id": float(number), "result": number, "error": None}
            text = json.dumps(answer).encode()
            await script.say((text, b"\xef\xbb\xbf" + text, text.decode())[number - 1])
            assert await call == number
        assert ear.dropped == []


async def test_a_delivery_that_waits_holds_up_no_call() -> None:
    """While a notification cannot be delivered, calls are answered; then all come, in their order."""
    room, got = asyncio.Event(), []

    async def deliver(message: Inbound) -> None:
        await room.wait()
        got.append(message.message)

    async with scripted() as (script, adapter, ear):
        await adapter.subscribe("news", deliver)
        other = Listener()
        gone = await adapter.subscribe("*", other.deliver)
        for n in range(5):
            await script.say({"jsonrpc": "2.0", "method": "news", "params": [n]})
        async with asyncio.TaskGroup() as group:
            call = group.create_task(adapter.request("m", UNSET))
            await until(lambda: script.frames)
            await script.say({"jsonrpc": "2.0", "id": 1, "result": "ok"})
            assert await call == "ok"
        await adapter.check()
        await adapter.unsubscribe(gone)
        room.set()
        await until(lambda: len(got) == 5)
        assert got == [[n] for n in range(5)]
        assert other.got == []
        room.clear()
        await script.say([{"jsonrpc": "2.0", "method": "news"}] * 3)
        await script.say({"jsonrpc": "2.0", "id": 9, "result": "late"})
        await until(lambda: ear.dropped)
        await adapter.disconnect()
        assert "3 notifications waited" in ear.dropped[-1][0].message


async def test_what_cannot_be_said_is_refused() -> None:
    """Params that cannot be sent are `invalid`, before anything is sent."""
    async with scripted() as (script, adapter, _):
        for params in ("text", {"a": b"\x00"}, [float("nan")]):
            with pytest.raises(InvalidError):
                await adapter.request("m", params)
        await adapter.check()
        assert not script.frames


async def test_cancelling_leaves_nothing_behind() -> None:
    """A cancelled call is removed from those that wait for a response, and from those not yet sent."""
    async with scripted() as (script, adapter, _):
        calls = [asyncio.create_task(adapter.request("m", [n])) for n in range(5)]
        await until(lambda: len(script.frames) == 5)
        calls += [asyncio.create_task(adapter.request("m", [n])) for n in range(5)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert not adapter._calls._waiting  # type: ignore[attr-defined]
        assert not adapter._calls._unsent  # type: ignore[attr-defined]
        await adapter.check()
