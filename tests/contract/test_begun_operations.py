"""What every adapter keeps of `ports.ProtocolAdapter.begin` where it needs no task."""

import asyncio
from typing import Any, Final

import pytest

from bridge.core.errors import ConnectionLostError, InvalidError, NotConnectedError
from bridge.core.model import Command, Enqueue, Inbound, Publish
from bridge.core.ports import Context, ProtocolAdapter
from tests.contract.kits import KITS, Kit
from tests.contract.test_adapter_contract import kits_with, session
from tests.support.wait import until

_CONTEXT: Final = Context({"hop": "1"})


#: Who begins what; the others return a coroutine.
_BEGUN: Final = {"publish": {"mqtt", "nats", "redis"}, "enqueue": {"redis"}}


def kits_that_begin(operation: str) -> pytest.MarkDecorator:
    """Return the adapters that can do this operation without a task."""
    having = [kit for kit in KITS if kit.spec.protocol in _BEGUN[operation]]
    return pytest.mark.parametrize("kit", having, ids=[kit.name for kit in having])


@kits_with()
async def test_only_those_begin(kit: Kit) -> None:
    """Before it is connected an adapter that begins an operation refuses it; all others return a coroutine."""
    async with kit.start() as remote:
        adapter = kit.create(remote)
        for command in (Publish(topic="a", message=1), Enqueue(queue="a", message=1)):
            name = type(command).__name__.lower()
            if kit.spec.protocol in _BEGUN[name]:
                with pytest.raises(NotConnectedError):
                    begin(adapter, command, promises(1)[0])
            else:
                assert not begin(adapter, command, promises(1)[0])


def begin(adapter: ProtocolAdapter, command: Any, promise: asyncio.Future[Any]) -> bool:
    """Begin an operation; return whether that was without a task. The promise gets nothing before this returns."""
    work = adapter.begin(command, _CONTEXT, promise)
    assert not promise.done()
    if work is not None:
        work.close()
    return work is None


def promises(count: int) -> list[asyncio.Future[Any]]:
    """Make promises without an outcome."""
    return [asyncio.get_running_loop().create_future() for _ in range(count)]


@kits_that_begin("publish")
async def test_what_is_begun_arrives_in_order(kit: Kit) -> None:
    """Each promise gets what the method returns, in order; a cancelled one does not delay the others."""
    got: list[Any] = []

    async def deliver(inbound: Inbound) -> None:
        got.append(inbound.message)

    async with session(kit) as (adapter, _):
        await adapter.subscribe("topic", deliver)
        made = promises(50)
        for n, promise in enumerate(made):
            assert begin(adapter, Publish(topic="topic", message={"n": n}), promise)
        made[7].cancel()
        results = await asyncio.gather(*made[:7], *made[8:])
        assert {str(result) for result in results} == {str(await adapter.publish("topic", {"n": 50}))}
        await until(lambda: len(got) == 51, "all messages")
        assert got == [{"n": n} for n in range(51)]


@kits_that_begin("enqueue")
async def test_what_is_begun_is_stored_in_order(kit: Kit) -> None:
    """The result is `{message_id}`, and the message is stored under that id."""
    async with session(kit) as (adapter, _):
        made = promises(20)
        for n, promise in enumerate(made):
            assert begin(adapter, Enqueue(queue="queue", message={"n": n}), promise)
        results = await asyncio.gather(*made)
        taken = [await adapter.dequeue("queue", wait=1.0) for _ in range(20)]
        stored = [({"message_id": one.message_id}, one.message) for one in taken if one is not None]
        assert stored == [(results[n], {"n": n}) for n in range(20)]


@kits_that_begin("publish")
async def test_a_remote_that_dies_under_what_was_begun(kit: Kit) -> None:
    """When the remote dies, each operation fails once, with unknown outcome; later ones fail at once, unsent."""
    async with session(kit) as (adapter, remote):
        remote.freeze()
        made = promises(10)
        for promise in made:
            assert begin(adapter, Publish(topic="topic", message=1), promise)
        remote.kill()
        for error in await asyncio.gather(*made, return_exceptions=True):
            assert isinstance(error, ConnectionLostError)
            assert error.maybe_sent
        late = promises(1)[0]
        with pytest.raises(NotConnectedError):
            begin(adapter, Publish(topic="topic", message=1), late)
        assert not late.done()


@kits_that_begin("publish")
async def test_what_cannot_be_sent_fails_at_once(kit: Kit) -> None:
    """An operation that cannot be sent raises its error, the promise gets nothing, and the session goes on."""
    async with session(kit) as (adapter, _):
        promise = promises(1)[0]
        with pytest.raises(InvalidError):
            begin(adapter, Publish(topic="topic", message=b"\xff"), promise)
        assert not promise.done()
        await adapter.check()


#: Names and headers that would do more than name, by who begins what.
_HOSTILE: Final[dict[str, list[Command]]] = {
    "mqtt": [
        *(
            Publish(topic=topic, message=1)
            for topic in ("a/#", "+", "a\0", "a\n", "$CONTROL/x", "$SYS/x", "x" * 70_000)
        ),
        *(Publish(topic="a", message=1, headers=one) for one in ({"a\0": "b"}, {"a": "b\r\n"}, {"a": "x" * 70_000})),
    ],
    "nats": [
        *(Publish(topic=topic, message=1) for topic in ("a.*", ">", "a b", "a\r\nPUB x 0", "$JS.API.INFO", "$SYS.x")),
        *(Publish(topic="a", message=1, headers=one) for one in ({"a\r\nb": "c"}, {"a": "b\0"}, {"Nats-TTL": "1s"})),
    ],
    "redis": [
        *(Publish(topic=topic, message=1) for topic in ("a*", "a?", "[a]", "a\0", "a\r\n", "x" * 70_000)),
        *(Enqueue(queue=queue, message=1) for queue in ("a\0", "a\r\n", "x" * 70_000)),
    ],
}


@kits_that_begin("publish")
async def test_hostile_names_are_refused(kit: Kit) -> None:
    """Names with control characters and the like are `invalid`, and the session goes on."""
    async with session(kit) as (adapter, _):
        for command in _HOSTILE[kit.spec.protocol]:
            with pytest.raises(InvalidError):
                begin(adapter, command, promises(1)[0])
        await adapter.check()
