"""Calls joined into arrays: each call has its own outcome."""

import asyncio
import json
from typing import Any

import pytest

from bridge.adapters.jsonrpc.batch import MAX_BATCH
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    ProtocolError,
    RejectedError,
    ThrottledError,
)
from bridge.core.ports import Context
from tests.support.adapters.adapters import connected
from tests.support.servers.demo import demo_service
from tests.support.servers.http_server import Received, http, scripted_server
from tests.support.wait import until


def answers(request: Received) -> list[dict[str, Any]]:
    """Return what a correct server answers to an array of echoes."""
    return [{"jsonrpc": "2.0", "id": c["id"], "result": c.get("params")} for c in request.call if "id" in c]


def echo(request: Received) -> None:
    """Answer each batch in reverse order."""
    if isinstance(request.call, dict):
        request.result(request.call.get("params"))
    elif replies := answers(request):
        request.send(http(json.dumps(replies[::-1])))
    else:
        request.send(http(b"", 204))


async def outcome(call: Any) -> Any:
    """Return a call's result, or its error."""
    try:
        return await call
    except BridgeError as error:
        return error


async def test_what_waits_at_the_same_moment_goes_together() -> None:
    """Calls that wait at the same moment share a request, and each gets its own response."""
    async with scripted_server(echo) as server, connected(server.url, batch=True) as adapter:
        results = await asyncio.gather(*[adapter.request("m", [n]) for n in range(10)])
        assert results == [[n] for n in range(10)]
        assert len(server.requests) == 1
        ids = [call["id"] for call in server.requests[0].call]
        assert ids == sorted(set(ids))


async def test_a_lone_call_is_no_array() -> None:
    """A single call is sent without an array."""
    async with scripted_server(echo) as server, connected(server.url, batch=True) as adapter:
        assert await adapter.request("m", [1]) == [1]
        assert isinstance(server.requests[0].call, dict)


async def test_more_than_fit_go_in_several() -> None:
    """More calls than fit into one array are sent in several, in order."""
    async with scripted_server(echo) as server, connected(server.url, batch=True) as adapter:
        many = 2 * MAX_BATCH + 3
        results = await asyncio.gather(*[adapter.request("m", [n]) for n in range(many)])
        assert results == [[n] for n in range(many)]
        assert [len(request.call) for request in server.requests] == [MAX_BATCH, MAX_BATCH, 3]


async def test_notifications_are_in_it_without_an_answer() -> None:
    """Notifications are sent among calls, and in an array of their own, whose answer is empty."""
    async with scripted_server(echo) as server, connected(server.url, batch=True) as adapter:
        mixed = [adapter.request("n", [1], notify=True), adapter.request("m", [2])]
        assert await asyncio.gather(*mixed) == [None, [2]]
        only = [adapter.request("n", [n], notify=True) for n in range(3)]
        assert await asyncio.gather(*only) == [None] * 3
        assert [len(request.call) for request in server.requests] == [2, 3]


async def test_against_a_real_service() -> None:
    """A real service answers a batch with successes and errors side by side."""
    with demo_service() as demo:
        async with connected(demo.url, batch=True) as adapter:
            calls = [
                adapter.request("add", [1, 2]),
                adapter.request("no.such", []),
                adapter.request("fail", {"code": 7}),
            ]
            added, missing, failed = await asyncio.gather(*[outcome(call) for call in calls])
    assert added == 3
    assert (missing.code, failed.code) == (-32601, 7)


async def test_calls_with_other_headers_go_alone() -> None:
    """A call with an idempotency key is sent in a request of its own, because the header is for one call."""
    async with scripted_server(echo) as server, connected(server.url, batch=True) as adapter:
        keyed = [adapter.request("m", [n], context=Context(idempotency_key=f"k{n}")) for n in range(2)]
        plain = [adapter.request("m", [n]) for n in range(2, 4)]
        assert await asyncio.gather(*keyed, *plain) == [[0], [1], [2], [3]]
        assert sorted(str(request.header("Idempotency-Key")) for request in server.requests) == ["None", "k0", "k1"]


async def test_one_key_twice_in_an_array_is_two_ids() -> None:
    """Two calls with the same key have two ids, and each gets its own response."""
    key = Context(idempotency_key="k")
    async with scripted_server(echo) as server, connected(server.url, batch=True) as adapter:
        calls = [adapter.request("m", [n], context=key) for n in range(3)]
        assert await asyncio.gather(*calls) == [[0], [1], [2]]
        (request,) = server.requests
        assert [call["id"] for call in request.call] == ["k", 1, 2]


async def test_bad_params_harm_only_their_own_call() -> None:
    """A call with wrong params fails alone, and is not sent."""
    async with scripted_server(echo) as server, connected(server.url, batch=True) as adapter:
        calls = [adapter.request("m", [1]), adapter.request("m", [b"x"]), adapter.request("m", [3])]
        good, bad, other = await asyncio.gather(*[outcome(call) for call in calls])
        assert (good, other) == ([1], [3])
        assert isinstance(bad, InvalidError)
        assert len(server.requests) == 1


ERROR = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}}


@pytest.mark.parametrize(
    ("body", "status", "headers", "kind"),
    [
        (json.dumps(ERROR), 200, (), RejectedError),
        (json.dumps(ERROR), 500, (), RejectedError),
        ("{}", 200, (), ProtocolError),
        ("<html>", 200, (), ProtocolError),
        ("", 200, (), ProtocolError),
        ("[]", 200, (), ProtocolError),
        ("", 401, (), AuthError),
        ("", 429, ("Retry-After: 1",), ThrottledError),
    ],
)
async def test_one_wrong_answer_is_everybodys(
    body: str, status: int, headers: tuple[str, ...], kind: type[BridgeError]
) -> None:
    """A wrong answer to the batch fails each call, with an exception of its own."""

    def respond(request: Received) -> None:
        request.send(http(body, status, *headers))

    async with scripted_server(respond) as server, connected(server.url, batch=True) as adapter:
        errors = await asyncio.gather(*[outcome(adapter.request("m", [n])) for n in range(3)])
    assert [type(error) for error in errors] == [kind] * 3
    assert len({id(error) for error in errors}) == 3


async def test_a_missing_answer_is_missed_by_its_own_call() -> None:
    """A call without a response in the answer fails alone."""

    def respond(request: Received) -> None:
        request.send(http(json.dumps(answers(request)[:-1])))

    async with scripted_server(respond) as server, connected(server.url, batch=True) as adapter:
        first, last = await asyncio.gather(*[outcome(adapter.request("m", [n])) for n in range(2)])
        assert first == [0]
        assert isinstance(last, ProtocolError)


@pytest.mark.parametrize("leaver", [0, 1, 2])
@pytest.mark.parametrize("sent", [False, True])
async def test_who_leaves_disturbs_no_other(leaver: int, sent: bool) -> None:
    """A cancelled call, the leader or another, before or after sending, does not affect the others."""
    held: list[Received] = []
    async with scripted_server(held.append) as server, connected(server.url, batch=True) as adapter:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(adapter.request("m", [n])) for n in range(3)]
            await (until(lambda: held, "the batch") if sent else asyncio.sleep(0))
            tasks[leaver].cancel()
            await until(lambda: held, "the batch")
            echo(held[0])
        stayed = [n for n in range(3) if n != leaver]
        assert [tasks[n].result() for n in stayed] == [[n] for n in stayed]
        assert tasks[leaver].cancelled()
        assert len(held) == 1


async def test_when_all_have_left_the_connection_goes_too() -> None:
    """When all calls of a request are cancelled, its connection is closed, so that its answer reaches nobody."""
    held: list[Received] = []
    async with scripted_server(held.append) as server, connected(server.url, batch=True) as adapter:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(adapter.request("m", [n])) for n in range(3)]
            await until(lambda: held, "the batch")
            for task in tasks:
                task.cancel()
        await until(lambda: server.ended == 1, "the end of the connection")


async def test_a_lost_connection_is_everybodys() -> None:
    """A lost connection fails all calls with unknown outcome; without a server they were surely not sent."""
    async with scripted_server(Received.close) as server, connected(server.url, batch=True) as adapter:
        errors = await asyncio.gather(*[outcome(adapter.request("m", [n])) for n in range(3)])
        assert [type(error) for error in errors] == [ConnectionLostError] * 3
        url = server.url
    async with connected(url, batch=True) as adapter:
        errors = await asyncio.gather(*[outcome(adapter.request("m", [n])) for n in range(3)])
        assert [type(error) for error in errors] == [NotConnectedError] * 3
        assert not any(error.maybe_sent for error in errors)
