"""A stream of events of about 150 bytes, as a process that binds both ends of a bus.

A line with a number on standard input sets off that many events to the next subscriber; nothing is dropped on the way.
It then prints how many seconds sending took.
"""

import sys
import time
from typing import Any

import msgspec
import zmq

TYPE = "sensor.reading"


def event(number: int) -> dict[str, Any]:
    """A map of six, its payload a map of five."""
    payload = {"sensor": "kitchen-3", "value": 21.5, "unit": "C", "ok": True, "count": number}
    base = {"id": number, "event_type": TYPE, "payload": payload, "timestamp": time.time_ns() // 1_000_000}
    return {**base, "source": "sensors", "correlation_id": None}


def without_id(fields: dict[str, Any]) -> bytes:
    """Return the encoding of an event without the map's header and the id, which `with_id` puts before it."""
    return msgspec.msgpack.encode({key: value for key, value in fields.items() if key != "id"})[1:]


def with_id(number: int, end: bytes) -> bytes:
    """Return an event's encoding."""
    return b"\x86\xa2id\xcf" + number.to_bytes(8, "big") + end


def main(publish: str, subscribe: str) -> None:
    """Serve until killed."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as out, context.socket(zmq.SUB) as back:
        out.set(zmq.SNDHWM, 0)
        # Tell of each reader, even if the one before it has not quite left.
        out.set(zmq.XPUB_VERBOSE, 1)
        out.bind(subscribe)
        # What the reader itself publishes goes nowhere; it only must be able to.
        back.subscribe("")
        back.bind(publish)
        frame = TYPE.encode()
        bodies = [msgspec.msgpack.encode(event(number)) for number in range(1, 1001)]
        print("ready", flush=True)
        for line in sys.stdin:
            # A subscription to everything; the bridge also subscribes to a marker of its own.
            while out.recv() != b"\x01":
                pass
            started = time.perf_counter()
            for _ in range(int(line) // len(bodies)):
                for body in bodies:
                    out.send(frame, zmq.SNDMORE)
                    out.send(body)
            print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
