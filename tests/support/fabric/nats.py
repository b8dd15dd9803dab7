"""Members of a fabric on a real nats-server, each with a connection of its own that comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from bridge.adapters import nats
from bridge.core.clock import RealClock
from bridge.core.cluster import ClusterSession, cluster_of
from bridge.core.endpoint import Endpoint
from bridge.core.errors import BridgeError
from bridge.core.ports import ProtocolAdapter
from tests.support.adapters.setup import adapter_setup
from tests.support.fabric.members import Member

#: Seconds between two tries to connect.
_PAUSE = 0.1


class NatsMember:
    """A process that is a node of a fabric; it connects again as long as it lives.

    Attributes:
        member: The process.
        session: The part of the newest session that a fabric uses; None before the first.
    """

    def __init__(self, url: str, node: str, **options: Any) -> None:
        """Start the process; `connect` runs it."""
        self.member = Member(RealClock(), node, **options)
        self.member.pause = 0.2
        self.session: ClusterSession | None = None
        self._endpoint = Endpoint(url=url)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and again whenever the session is lost."""
        self._task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        while True:
            lost = asyncio.Event()
            adapter = nats.SPEC.create(
                adapter_setup(self.member.node, self._endpoint, on_lost=lambda _error, event=lost: event.set())
            )
            try:
                await self._session(adapter, lost)
            except BridgeError:
                await asyncio.sleep(_PAUSE)

    async def _session(self, adapter: ProtocolAdapter, lost: asyncio.Event) -> None:
        try:
            await adapter.connect()
            self.session = cluster_of(adapter)
            self.member.begin(self.session)
            await lost.wait()
        finally:
            await self.member.end()
            await adapter.disconnect()

    async def kill(self) -> None:
        """End the process without a word to the others."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.member.membership.close()


@asynccontextmanager
async def members_of() -> AsyncIterator[list[NatsMember]]:
    """A list; the members that are put into it end with the test."""
    members: list[NatsMember] = []
    try:
        yield members
    finally:
        for one in members:
            await one.kill()
