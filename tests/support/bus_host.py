"""A process that hosts a bus: `python -m tests.support.bus_host PUBLISH SUBSCRIBE`; prints a line when it is ready."""

import asyncio
import sys

from bridge.bus import Broker


async def main() -> None:
    """Host until killed."""
    broker = Broker(sys.argv[1], sys.argv[2], 4096)
    await broker.start()
    print(broker.publish_endpoint, broker.subscribe_endpoint, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
