"""A program that repeats all that it hears: `python -m tests.support.bus.repeater PUBLISH SUBSCRIBE`.

It repeats events as Nemo's own record has them: without headers. It hears itself, too.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import msgpack
import zmq

_KEYS = ("id", "event_type", "payload", "timestamp", "source", "correlation_id")


@contextlib.contextmanager
def repeater(publish: str, subscribe: str) -> Iterator["subprocess.Popen[str]"]:
    """Run such a process, which is killed at the end; yield it when it has heard the first event."""
    command = [sys.executable, "-m", "tests.support.bus.repeater", publish, subscribe]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "hears\n"
            yield process
        finally:
            process.kill()


def main(publish: str, subscribe: str) -> None:
    """Repeat until killed."""
    with zmq.Context() as context, context.socket(zmq.PUB) as pub, context.socket(zmq.SUB) as sub:
        pub.connect(publish)
        sub.subscribe("")
        sub.connect(subscribe)
        said = False
        while True:
            frame, body = sub.recv_multipart()
            if not said:
                said = True
                print("hears", flush=True)
            event = msgpack.unpackb(body)
            values = event if isinstance(event, list) else [event[key] for key in _KEYS]
            pub.send_multipart([frame, msgpack.packb(dict(zip(_KEYS, values, strict=True)))])


if __name__ == "__main__":
    main(*sys.argv[1:3])
