"""The sidecar itself is killed, frozen and told to end while it works for every acknowledging remote."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator

import pytest

from tests.support.servers.programs import freeze
from tests.support.servers.remotes import KINDS, Stand, stand
from tests.support.sidecar.flows import DECLARED, flowing
from tests.support.sidecar.sidecar import Sidecar


@pytest.fixture
def stands() -> Iterator[list[Stand]]:
    """A remote of each kind."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(stand(kind)) for kind in KINDS]


async def test_killed_amid_a_flow(stands: list[Stand]) -> None:
    """Kill -9: what had no answer has none, nothing else is lost or done twice; the next one answers within 10 s."""
    async with flowing(stands) as (running, flows):
        busy = asyncio.create_task(flows.run(0.8))
        await asyncio.sleep(0.3)
        running.kill()
        after = Sidecar(running.directory, running.file.read_text(), name="after")
        try:
            await busy
            await flows.recover()
            for flow in flows.all:
                await flow.bus.ask("bridge.ping")
                flow.take()
                assert set(flow.kinds) <= DECLARED
                flow.check(gone=True)
        finally:
            after.kill()
        assert "Traceback" not in after.text


async def test_frozen_amid_a_flow(stands: list[Stand]) -> None:
    """SIGSTOP for longer than any time limit here: afterwards each command ends well, as if nothing had been."""
    async with flowing(stands) as (running, flows):
        since = flows.all[0].bus.mark()
        freeze(running.process)
        await flows.run(2.5, rate=20)
        running.process.send_signal(signal.SIGCONT)
        await flows.recover()
        await flows.account(declared={"ok"})
        told = {event["payload"]["status"] for event in flows.all[0].bus.seen(prefix="health.", since=since)}
        assert told <= {"connected", "degraded", "ready"}


async def test_told_to_end_amid_a_flow(stands: list[Stand]) -> None:
    """SIGTERM: exit code 0, and every command that it read has its one answer, `stopping` where it came too late."""
    async with flowing(stands) as (running, flows):
        busy = asyncio.create_task(flows.run(0.8))
        await asyncio.sleep(0.3)
        running.term()
        await busy
        assert await asyncio.to_thread(running.wait) == 0
        for flow in flows.all:
            flow.take()
            assert set(flow.kinds) <= DECLARED | {"stopping"}
            # They were read in order: where one has its answer, so have all before it.
            assert flow.outcomes.keys() == set(range(len(flow.outcomes)))
            flow.check(gone=True)
        assert "Traceback" not in running.text
