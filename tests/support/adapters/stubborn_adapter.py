"""An adapter for real processes that does not end where it should; `install` makes a sidecar find it."""

import asyncio
import time
from pathlib import Path
from typing import Any, Literal

from bridge.core.endpoint import Strict
from bridge.core.model import Request
from bridge.core.ports import AdapterBase, AdapterSetup, AdapterSpec, Context
from tests.support.stubborn import Stubborn


class StubbornConfig(Strict):
    """What hangs, and how.

    Attributes:
        hang: Methods of the adapter.
        how: By swallowing each cancellation, by blocking the event loop, or in a thread.
    """

    hang: tuple[str, ...] = ()
    how: Literal["swallow", "block", "thread"] = "swallow"


class StubbornAdapter(AdapterBase):
    """Hangs where its configuration tells it to."""

    protocol = "stubborn"

    def __init__(self, setup: AdapterSetup) -> None:
        self._config: StubbornConfig = setup.config

    async def _go_through(self, method: str) -> None:
        if method not in self._config.hang:
            return
        if self._config.how == "block":
            time.sleep(60)  # noqa: ASYNC251 - that is the fault
        elif self._config.how == "thread":
            await asyncio.to_thread(time.sleep, 60)
        else:
            await Stubborn(float("inf"))()

    async def connect(self) -> None:
        await self._go_through("connect")

    async def check(self) -> None:
        await self._go_through("check")

    async def disconnect(self) -> None:
        await self._go_through("disconnect")

    async def request(self, command: Request, context: Context) -> Any:
        await self._go_through("request")
        return command.method


SPEC = AdapterSpec(
    protocol="stubborn",
    summary="Hangs",
    operations=frozenset({"request"}),
    auth=frozenset({"none"}),
    config=StubbornConfig,
    schemes={},
    create=StubbornAdapter,
    needs_endpoint=False,
)


def install(directory: Path) -> dict[str, str]:
    """Write the entry point of a package into a directory; return the environment in which it is found."""
    package = directory / "stubborn-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: stubborn\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[nemo_bridge.adapters]\nstubborn = {__name__}:SPEC\n")
    return {"PYTHONPATH": str(directory)}
