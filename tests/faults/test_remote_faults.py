"""Each acknowledging remote is killed, frozen and cut off amid a steady flow; the account of every command balances.

All four at once, on one sidecar: what happens to one must not hide what happens to another. The flow is commands
without a key, each of which may act once at most, and commands with one, which may be repeated by it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.support.servers.proxy import FaultProxy, Mode, fault_proxy
from tests.support.servers.remotes import KINDS, Stand, stand
from tests.support.sidecar.flows import flowing
from tests.support.wait import until


@pytest.fixture
def stands() -> Iterator[list[Stand]]:
    """All of them."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(stand(kind)) for kind in KINDS]


async def test_killed_amid_a_flow(stands: list[Stand]) -> None:
    """Kill -9 and a new start: well again within 10 s, and nothing acknowledged is lost."""
    async with flowing(stands) as (_, flows):
        for one in stands:
            one.kill()
        await flows.run(0.4)
        for one in stands:
            await asyncio.to_thread(one.start)
        await flows.recover()
        await flows.account()


async def test_frozen_amid_a_flow(stands: list[Stand]) -> None:
    """SIGSTOP for longer than an attempt and its checks may take: nothing is taken for done, nothing is done twice."""
    async with flowing(stands) as (_, flows):
        for one in stands:
            one.freeze()
        try:
            await flows.run(1.5, rate=20)
        finally:
            for one in stands:
                one.thaw()
        await flows.recover()
        await flows.account()


def _line(mode: Mode, *, delay: float = 0.0, after: int = 0) -> Callable[[FaultProxy], None]:
    def spoil(proxy: FaultProxy) -> None:
        proxy.delay, proxy.after, proxy.mode = delay, after, mode

    return spoil


def _refuse(proxy: FaultProxy) -> None:
    proxy.mode = "refuse"
    proxy.end_all(reset=True)


_LINES: dict[str, Callable[[FaultProxy], None]] = {
    "half-open": _line("vanish"),
    "stalled": _line("stall"),
    "slow": _line("slow", delay=0.05),
    "dripping": _line("drip", delay=0.005),
    "reset-after-request": _line("reset"),
    "cut-within-answer": _line("cut", after=3),
    "refused": _refuse,
}


@pytest.mark.parametrize("line", _LINES)
async def test_a_bad_line(stands: list[Stand], line: str) -> None:
    """A peer that has gone without a word, latency, answers drip by drip, RST after a request, and worse."""
    async with contextlib.AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(fault_proxy("127.0.0.1", one.port)) for one in stands]
        _, flows = await stack.enter_async_context(flowing(stands, [proxy.port for proxy in proxies]))
        for proxy in proxies:
            _LINES[line](proxy)
        await flows.run(0.7, rate=20)
        for proxy in proxies:
            proxy.mode = "pass"
        await flows.recover()
        await flows.account()
        if line == "slow":
            assert all(set(flow.kinds) == {"ok"} for flow in flows.all)


async def test_remotes_that_die_again_and_again(stands: list[Stand]) -> None:
    """Seven deaths later there are no more descriptors and threads, and hardly more memory, than after the second."""
    descriptors, memory = 0, 0
    async with flowing(stands) as (running, flows):
        for turn in range(7):
            for one in stands:
                one.kill()
            await flows.run(0.02)
            for one in stands:
                await asyncio.to_thread(one.start)
            await flows.recover()
            if turn == 1:
                await flows.account()
                descriptors, memory = running.descriptors, running.rss
        await flows.account()
        # Idle connections of the HTTP pool may differ by what happened to run at the same time.
        await until(lambda: running.descriptors <= descriptors + 6, "an end of the descriptors' growth")
        assert running.rss - memory < 8 << 20
        assert running.threads < 12
