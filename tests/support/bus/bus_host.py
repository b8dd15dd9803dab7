"""A process that hosts a bus and prints a line when ready: `python -m tests.support.bus.bus_host PUBLISH SUBSCRIBE`."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

from bridge.bus import Broker
from bridge.core.clock import RealClock


@contextlib.contextmanager
def bus_host(publish: str, subscribe: str) -> Iterator[tuple["subprocess.Popen[str]", str, str]]:
    """Run such a process, which is killed at the end; yield it and the real endpoints."""
    command = [sys.executable, "-m", "tests.support.bus.bus_host", publish, subscribe]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            real = process.stdout.readline().split()
            assert len(real) == 2
            yield process, *real
        finally:
            process.kill()


async def main() -> None:
    """Host a bus until the process is killed."""
    broker = Broker(sys.argv[1], sys.argv[2], 4096, RealClock())
    await broker.start()
    print(broker.publish_endpoint, broker.subscribe_endpoint, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
