"""What every adapter keeps (`ports.ProtocolAdapter`), written once and run by each."""

import asyncio
import os
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from bridge.core.errors import BridgeError, NotConnectedError, NotSupportedError, RejectedError
from bridge.core.model import OPERATIONS, Inbound
from bridge.core.ports import ProtocolAdapter, Subscription
from tests.contract.kits import KITS, Kit, Remote
from tests.support.adapters.direct import Direct
from tests.support.wait import until

each_kit = pytest.mark.parametrize("kit", KITS, ids=[kit.name for kit in KITS])


def kits_with(*operations: str, remote: str = "") -> pytest.MarkDecorator:
    """Return the adapters whose protocol has these operations, and whose remote can do this, too."""
    having = [kit for kit in KITS if kit.spec.operations.issuperset(operations) and remote not in kit.lacks]
    return pytest.mark.parametrize("kit", having, ids=[kit.name for kit in having])


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208  # a count


@asynccontextmanager
async def session(kit: Kit) -> AsyncIterator[tuple[Direct, Remote]]:
    """Connect a session with a running remote; afterwards no task, socket or file of it is left."""
    async with kit.start() as remote:
        first = kit.create(remote)  # event loop and resolver open things of their own at first use
        await first.connect()
        await first.disconnect()
        tasks, descriptors = asyncio.all_tasks(), _descriptors()
        adapter = kit.create(remote)
        await adapter.connect()
        try:
            yield adapter, remote
        finally:
            remote.thaw()
            await adapter.disconnect()
        await until(lambda: asyncio.all_tasks() <= tasks, "the end of all tasks")
        await until(lambda: _descriptors() <= descriptors, "the close of all descriptors")


async def error_of(call: Awaitable[Any]) -> BridgeError | None:
    """Return the error with which a call fails."""
    try:
        await call
    except BridgeError as error:
        return error
    return None


async def in_the_middle_of(remote: Remote, method: str, before: int = 0) -> None:
    """Wait until the remote has begun one call more."""
    while await remote.calls(method) <= before:  # noqa: ASYNC110  # the remote may be another process
        await asyncio.sleep(0.005)


def test_every_adapter_is_in_the_list() -> None:
    """The entry points in pyproject.toml and the kits are the same, except for the tests' own."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    registered = project["project"]["entry-points"]["nemo_bridge.adapters"]
    assert {kit.spec.protocol for kit in KITS} - {"lines", "memory"} == registered.keys()


@each_kit
async def test_connect_check_disconnect(kit: Kit) -> None:
    """A session opens, passes its check, and may be closed several times."""
    async with session(kit) as (adapter, _):
        assert adapter.protocol == kit.spec.protocol
        await adapter.check()
        await adapter.disconnect()
        await adapter.disconnect()
        assert isinstance(await error_of(adapter.check()), NotConnectedError)


CALLS: dict[str, Callable[[ProtocolAdapter], Awaitable[Any]]] = {
    "request": lambda adapter: adapter.request("echo", UNSET),
    "publish": lambda adapter: adapter.publish("topic", "x"),
    "subscribe": lambda adapter: adapter.subscribe("topic", _ignore),
    "unsubscribe": lambda adapter: adapter.unsubscribe(Subscription("topic")),
    "enqueue": lambda adapter: adapter.enqueue("queue", "x"),
    "dequeue": lambda adapter: adapter.dequeue("queue"),
    "ack": lambda adapter: adapter.ack("1"),
    "nack": lambda adapter: adapter.nack("1"),
}


async def _ignore(_: Inbound) -> None:
    pass


@each_kit
async def test_what_the_protocol_lacks_is_not_supported(kit: Kit) -> None:
    """Each operation that the spec does not name is not supported, and no other."""
    assert CALLS.keys() == OPERATIONS.keys()
    async with session(kit) as (adapter, _):
        for operation in OPERATIONS.keys() - kit.spec.operations:
            assert isinstance(await error_of(CALLS[operation](adapter)), NotSupportedError), operation


@kits_with("request", remote="methods")
async def test_values_come_back_as_they_went(kit: Kit) -> None:
    """Values of JSON's data model come back unchanged, up to 64 bits."""
    value = {"text": "ä\u2028\n", "list": [1, -1.5, None, True, 2**64 - 1, -(2**63)], "map": {"": {}}}
    async with session(kit) as (adapter, _):
        assert await adapter.request("echo", value) == value
        assert await adapter.request("echo", [value]) == [value]


@kits_with("request", remote="methods")
async def test_many_at_the_same_time(kit: Kit) -> None:
    """Each of many concurrent callers gets its own answer."""
    async with session(kit) as (adapter, _):
        results = await asyncio.gather(*[adapter.request("echo", {"n": n}) for n in range(300)])
        assert results == [{"n": n} for n in range(300)]


@kits_with("request", remote="methods")
async def test_one_after_the_other_arrives_in_order(kit: Kit) -> None:
    """A call has been carried out before the next one begins."""
    async with session(kit) as (adapter, _):
        numbers = [(await adapter.request("orders.create", {"id": n}))["number"] for n in range(20)]
        assert numbers == list(range(20))


@kits_with("request", remote="methods")
async def test_a_refusal_arrives_as_the_remote_said_it(kit: Kit) -> None:
    """A refusal has the remote's code, message and data, and the session goes on."""
    async with session(kit) as (adapter, _):
        with pytest.raises(RejectedError) as caught:
            await adapter.request("fail", {"code": 42, "message": "out of stock", "data": {"left": 0}})
        assert (caught.value.code, caught.value.message, caught.value.data) == (42, "out of stock", {"left": 0})
        assert await adapter.request("echo", [1]) == [1]


@kits_with("request", remote="methods")
async def test_a_notification_is_sent_and_has_no_result(kit: Kit) -> None:
    """A notification is sent and has no result, not even an error."""
    async with session(kit) as (adapter, remote):
        assert await adapter.request("echo", [1], notify=True) is None
        assert await adapter.request("no.such.method", [1], notify=True) is None
        await in_the_middle_of(remote, "echo")


@kits_with("request", remote="methods")
async def test_cancelling_one_call_harms_no_other(kit: Kit) -> None:
    """A cancelled call affects neither the one beside it nor the next."""
    async with session(kit) as (adapter, remote), asyncio.TaskGroup() as group:
        cancelled = group.create_task(adapter.request("sleep", {"ms": 60_000}))
        await in_the_middle_of(remote, "sleep")
        beside = [group.create_task(adapter.request("echo", [n])) for n in range(10)]
        cancelled.cancel()
        assert [await task for task in beside] == [[n] for n in range(10)]
        assert await adapter.request("echo", ["next"]) == ["next"]
        await adapter.check()


@kits_with("request", remote="methods")
async def test_a_remote_that_dies_under_a_call(kit: Kit) -> None:
    """When the remote dies, the outcome of a call is unknown, and the next one was surely not sent."""
    async with session(kit) as (adapter, remote), asyncio.TaskGroup() as group:
        calls = [group.create_task(error_of(adapter.request("sleep", {"ms": 60_000}))) for _ in range(3)]
        await in_the_middle_of(remote, "sleep", before=2)
        remote.kill()
        for call in calls:
            error = await call
            assert error is not None
            assert error.kind in kit.lost
            assert error.maybe_sent
            assert error.retryable
        after = await error_of(adapter.request("echo", [1]))
        assert isinstance(after, NotConnectedError)
        assert not after.maybe_sent
        assert isinstance(await error_of(adapter.check()), BridgeError)


@kits_with(remote="death")
async def test_the_loss_of_a_session_is_told_once(kit: Kit) -> None:
    """The loss of a session is reported once; without a session nothing is lost between calls."""
    told: list[BridgeError] = []
    async with kit.start() as remote:
        adapter = kit.create(remote, told.append)
        await adapter.connect()
        remote.kill()
        if kit.spec.has_session:
            await until(lambda: told, "the news of the loss")
        await adapter.disconnect()
        assert len(told) == (1 if kit.spec.has_session else 0)


@kits_with(remote="death")
async def test_connecting_to_nobody(kit: Kit) -> None:
    """Connecting to a port where nobody listens fails at once, and closing is safe."""
    async with kit.start() as remote:
        remote.kill()
        adapter = kit.create(remote)
        error = await error_of(adapter.connect())
        assert isinstance(error, NotConnectedError)
        assert not error.maybe_sent
        await adapter.disconnect()


@kits_with(remote="frost")
async def test_a_frozen_remote_fails_the_check(kit: Kit) -> None:
    """A frozen remote does not pass the check; when it runs again, it does."""
    async with session(kit) as (adapter, remote):
        remote.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await adapter.check()
        remote.thaw()
        await adapter.check()


@kits_with("publish", "subscribe", "unsubscribe", remote="topics")
async def test_messages_reach_the_subscriber_in_order(kit: Kit) -> None:
    """Messages are delivered in order, from `subscribe` to `unsubscribe`."""
    got: list[Any] = []

    async def deliver(inbound: Inbound) -> None:
        got.append((inbound.topic, inbound.message))

    async with session(kit) as (adapter, _):
        subscription = await adapter.subscribe("topic", deliver)
        for n in range(20):
            await adapter.publish("topic", {"n": n})
        await until(lambda: len(got) == 20, "all messages")
        assert got == [("topic", {"n": n}) for n in range(20)]
        await adapter.unsubscribe(subscription)
        await adapter.publish("topic", "late")
        await adapter.check()
        assert len(got) == 20


@kits_with("enqueue", "dequeue", "ack", "nack")
async def test_a_queue_gives_until_it_is_acknowledged(kit: Kit) -> None:
    """A queue gives messages in order; after `nack` again and counted, after `ack` never; None when empty."""
    async with session(kit) as (adapter, _):
        sent = [await adapter.enqueue("queue", {"n": n}) for n in range(3)]
        taken = [await adapter.dequeue("queue", wait=1.0) for _ in range(3)]
        assert [(one.message_id, one.message) for one in taken if one] == [(sent[n], {"n": n}) for n in range(3)]
        await adapter.ack(sent[0])
        await adapter.ack(sent[1])
        await adapter.nack(sent[2])
        again = await adapter.dequeue("queue", wait=1.0)
        assert again is not None
        assert (again.message, again.attempts) == ({"n": 2}, 2)
        await adapter.ack(again.message_id)
        assert await adapter.dequeue("queue", wait=0.01) is None
