"""A callback that raises, deep in a library: most of them swallow it and go on deaf, or die without a word.

What our own code hands to a library as a callback may have a bug. The session must end and say so, and whoever closes
it must get the bug itself; otherwise an integration would look alive that never hears anything again.
"""

import contextlib

import pytest

from bridge.core.errors import BridgeError, ConnectionLostError
from bridge.core.model import Inbound
from tests.contract.kits import KITS, Kit
from tests.support.wait import until

_REAL = [kit for kit in KITS if kit.spec.protocol not in {"memory", "lines"}]
_TOPICS = [kit for kit in _REAL if {"subscribe", "publish"} <= kit.spec.operations and "topics" not in kit.lacks]
_QUEUES = [kit for kit in _REAL if "enqueue" in kit.spec.operations]


async def _raises(_: Inbound) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("kit", "way"),
    [*((kit, "topic") for kit in _TOPICS), *((kit, "queue") for kit in _QUEUES)],
    ids=[*(f"{kit.spec.protocol}-topic" for kit in _TOPICS), *(f"{kit.spec.protocol}-queue" for kit in _QUEUES)],
)
async def test_a_bug_in_a_callback_is_heard(kit: Kit, way: str) -> None:
    """The loss is told once, and closing raises what the callback raised."""
    lost: list[BridgeError] = []
    async with kit.start() as remote:
        adapter = kit.create(remote, lost.append)
        await adapter.connect()
        try:
            await (adapter.subscribe("t", _raises) if way == "topic" else adapter.consume("queue", _raises))
            with contextlib.suppress(ConnectionLostError):  # the session may be over before its confirmation comes
                await (adapter.publish("t", 1) if way == "topic" else adapter.enqueue("queue", 1))
            await until(lambda: lost, "the news")
        finally:
            with pytest.raises((ZeroDivisionError, ExceptionGroup)) as caught:
                await adapter.disconnect()
        if isinstance(caught.value, ExceptionGroup):
            assert caught.value.subgroup(ZeroDivisionError) is not None
        assert len(lost) == 1
