"""A process that hosts a bus and prints a line when ready: `python -m tests.support.bus.bus_host PUBLISH SUBSCRIBE`."""

import asyncio
import sys

from bridge.bus import Broker
from bridge.core.clock import RealClock


async def main() -> None:
    """Host a bus until the process is killed."""
    broker = Broker(sys.argv[1], sys.argv[2], 4096, RealClock())
    await broker.start()
    print(broker.publish_endpoint, broker.subscribe_endpoint, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
