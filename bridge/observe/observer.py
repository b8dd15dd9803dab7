"""Everything by which an outsider sees the bridge beside the bus: status page, probes, metrics, service manager."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from bridge.core.ports import Clock
from bridge.core.settings import Listen
from bridge.observe.server import StatusServer
from bridge.observe.summary import Report, headline, is_ready
from bridge.observe.systemd import ServiceManager

if TYPE_CHECKING:
    from bridge.observe.metrics import Metrics

#: Seconds between two looks at how late the event loop is, and how many of them are remembered.
_TICK: Final = 0.5
_REMEMBERED: Final = 20


class Observer:
    """Shows how the bridge is, from entering the context to leaving it; `run` holds what takes time.

    It reads what `bridge.status` answers and nothing else, so all doors say the same.
    """

    def __init__(
        self,
        report: Report,
        alive: Callable[[], bool],
        *,
        listen: Listen | None,
        hosts: tuple[str, ...],
        must_listen: bool,
        environ: Mapping[str, str],
        clock: Clock,
        read: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is opened yet.

        Args:
            report: What `bridge.status` answers.
            alive: Whether the bus is read.
            listen: Where the status page is served; None for nowhere.
            hosts: Names by which it may be asked for, beside this machine's own.
            must_listen: Whether it is an error if something else listens there; else there is no page then.
            environ: For the service manager's socket.
            clock: For the status page.
            read: The system's monotonic clock, in seconds. The house's own leaves out the time that the process stood
                still, and that is what is looked for here.
        """
        self._report = report
        self._alive = alive
        self._read = read
        self._late: deque[float] = deque([0.0], _REMEMBERED)
        self._manager = ServiceManager(environ)
        self._was_ready = False
        self._metrics: Metrics | None = None
        self._server = (
            None if listen is None else StatusServer(report, alive, self._scraped, listen, hosts, clock=clock)
        )
        self._must_listen = must_listen

    def _scraped(self, accept: str) -> tuple[bytes, str]:
        """`/metrics`. Its library costs megabytes, and most sidecars on a desktop are never scraped."""
        from bridge.observe.metrics import Metrics  # noqa: PLC0415

        if self._metrics is None:
            self._metrics = Metrics(self._report, lambda: max(self._late))
        return self._metrics.text(accept)

    @property
    def url(self) -> str | None:
        """Where the status page is; None where there is none."""
        return None if self._server is None else self._server.url

    async def __aenter__(self) -> Self:
        """Serve the page.

        Raises:
            ConfigError: Something else listens at the address that was asked for.
        """
        if self._server is not None and not await self._server.start(must=self._must_listen):
            self._server = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()
        if self._server is not None:
            await self._server.stop()

    async def run(self) -> None:
        """Measure the event loop and let the service manager know that it runs, until cancelled."""
        tick = _TICK if self._manager.watchdog is None else min(_TICK, self._manager.watchdog / 3)
        while True:
            before = self._read()
            await asyncio.sleep(tick)
            self._late.append(max(0.0, self._read() - before - tick))
            if self._manager.watchdog is not None and self._alive():
                self._manager.alive()

    def changed(self) -> None:
        """Some status has changed: tell the service manager."""
        status = self._report()
        self._manager.status(headline(status))
        if is_ready(status):
            if not self._was_ready:
                self._was_ready = True
                self._manager.ready()
        elif self._was_ready:
            self._was_ready = False
            self._manager.stopping()

    @contextlib.asynccontextmanager
    async def reloading(self) -> AsyncIterator[None]:
        """The configuration is being read again; after it, whatever came of it, the bridge is ready."""
        self._manager.reloading()
        try:
            yield
        finally:
            if self._was_ready:
                self._manager.ready()
