"""From an operation to the adapter's method."""

from typing import Any

import msgspec

from bridge.core.model import Ack, Dequeue, Enqueue, Operation, Publish, Request
from bridge.core.ports import Context, ProtocolAdapter


async def perform(session: ProtocolAdapter, operation: Operation, context: Context) -> Any:
    """Call the adapter's method; the result is what the contract's table of commands names."""
    match operation.command:
        case Request() as call:
            return await session.request(call.method, call.params, notify=call.notify, context=context)
        case Publish() as message:
            return await session.publish(
                message.topic,
                message.message,
                qos=message.qos,
                retain=message.retain,
                headers=context.joined(message.headers),
                context=context,
            )
        case Enqueue() as entry:
            headers = context.joined(entry.headers)
            return {"message_id": await session.enqueue(entry.queue, entry.message, headers=headers, context=context)}
        case Dequeue() as wish:
            visibility = None if wish.visibility_ms is None else wish.visibility_ms / 1000
            taken = await session.dequeue(wish.queue, wait=wish.wait_ms / 1000, visibility=visibility)
            return None if taken is None else msgspec.structs.asdict(taken)
        case Ack() as settled:
            if operation.name == "ack":
                await session.ack(settled.message_id)
            else:
                delay = None if settled.delay_ms is None else settled.delay_ms / 1000
                await session.nack(settled.message_id, delay=delay)
            return {}
        case other:
            raise AssertionError(f"{type(other).__name__} reaches no adapter")
