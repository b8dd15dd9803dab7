"""Every messaging adapter with every codec: a value comes back unchanged, or is refused."""

import math
from dataclasses import replace
from typing import Any, Final

import pytest

from bridge.core.errors import InvalidError
from bridge.core.model import Inbound
from tests.contract.kits import KITS, Kit
from tests.support.wait import until

#: By codec: values that come back as they went, and values that it cannot carry.
GOOD: Final[dict[str, tuple[Any, ...]]] = {
    "auto": ({"a": [1, -1.5, None, True, 2**64 - 1]}, "text", "", 7, [], "ä\u2028", "[no json"),
    "json": ({"a": [1, -1.5, None, True, 2**64 - 1]}, "7", "true", "", 7, None, "ä\u2028"),
    "msgpack": ({"a": [1, None], "b": b"\x00\xff"}, "7", b"", b"\xc1", 2**64 - 1, -(2**63), None),
    "text": ("7", "{}", "null", "", "ä\u2028\n"),
    "bytes": (b"7", b"{}", b"\x00\xff", b""),
}
BAD: Final[dict[str, tuple[Any, ...]]] = {
    "auto": (math.nan, {1: 2}, {"a": b"x"}),
    "json": (b"x", math.inf, 2**64, {1: 2}),
    "msgpack": (math.nan, 2**64, {1: 2}),
    "text": (7, None, {"a": 1}, b"x"),
    "bytes": ("x", 7, None),
}


def _kits(*operations: str, without: str = "") -> pytest.MarkDecorator:
    having = [
        kit
        for kit in KITS
        if kit.spec.operations.issuperset(operations)
        and "codec" in kit.spec.config.model_fields
        and "topics" not in kit.lacks
        and kit.spec.protocol != without
    ]
    return pytest.mark.parametrize("kit", having, ids=[kit.name for kit in having])


def _with(kit: Kit, codec: str) -> Kit:
    """Return the same kit with this codec."""

    def config(remote: Any) -> Any:
        made = kit.spec.config() if kit.config is None else kit.config(remote)
        return made.model_copy(update={"codec": codec})

    return replace(kit, config=config)


def _same(came: Any, went: Any) -> bool:
    """Return whether values are equal and of the same types: 1 is not True, "7" is not 7."""
    return repr(came) == repr(went)


@_kits("publish", "subscribe")
async def test_messages(kit: Kit) -> None:
    """Published values are received unchanged, or refused, with every codec."""
    async with kit.start() as remote:
        for codec, values in GOOD.items():
            got: list[Any] = []

            async def deliver(inbound: Inbound, got: list[Any] = got) -> None:
                got.append(inbound)

            adapter = _with(kit, codec).create(remote)
            await adapter.connect()
            try:
                await adapter.subscribe("topic", deliver)
                for value in values:
                    await adapter.publish("topic", value)
                await until(lambda got=got, values=values: len(got) == len(values), f"all messages of {codec}")
                for inbound, value in zip(got, values, strict=True):
                    assert _same(inbound.message, value), codec
                    assert "codec_error" not in inbound.headers
                for value in BAD[codec]:
                    with pytest.raises(InvalidError):
                        await adapter.publish("topic", value)
            finally:
                await adapter.disconnect()


@_kits("enqueue", "dequeue", "ack")
async def test_entries_of_queues(kit: Kit) -> None:
    """Enqueued values are dequeued unchanged, or refused, with every codec."""
    async with kit.start() as remote:
        for codec, values in GOOD.items():
            adapter = _with(kit, codec).create(remote)
            await adapter.connect()
            try:
                for value in values:
                    await adapter.enqueue("queue", value)
                    taken = await adapter.dequeue("queue", wait=5.0)
                    assert taken is not None
                    assert _same(taken.message, value), codec
                    await adapter.ack(taken.message_id)
                for value in BAD[codec]:
                    with pytest.raises(InvalidError):
                        await adapter.enqueue("queue", value)
            finally:
                await adapter.disconnect()


@_kits("publish", "subscribe", without="websocket")  # whose server sends back to the sender only; it has its own test
async def test_what_the_codec_cannot_read_comes_as_it_is(kit: Kit) -> None:
    """A message that the codec cannot decode is delivered as bytes, with `codec_error`."""
    got: list[Inbound] = []

    async def deliver(inbound: Inbound) -> None:
        got.append(inbound)

    async with kit.start() as remote:
        reader, writer = _with(kit, "json").create(remote), _with(kit, "text").create(remote)
        await reader.connect()
        await writer.connect()
        try:
            await reader.subscribe("topic", deliver)
            await writer.publish("topic", "{no json")
            await writer.publish("topic", '{"is": "json"}')
            await until(lambda: len(got) == 2)
            assert got[0].message in {b"{no json", "{no json"}
            assert got[0].headers["codec_error"]
            assert got[1].message == {"is": "json"}
        finally:
            await reader.disconnect()
            await writer.disconnect()
