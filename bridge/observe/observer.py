"""Show the bridge's state beside the bus: console, probes, metrics, service manager."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import msgspec

from bridge.core.payloads import BridgeHealth
from bridge.core.ports import Clock
from bridge.core.settings import Listen
from bridge.observe.summary import ReadStatus, headline, is_ready
from bridge.observe.systemd import ServiceManager

if TYPE_CHECKING:
    from bridge.observe.details import ReadDetails
    from bridge.observe.live import Live
    from bridge.observe.metrics import Metrics
    from bridge.observe.server import StatusServer

#: Seconds between two measurements of how late the event loop is, and how many of them are kept.
_TICK: Final = 0.5
_REMEMBERED: Final = 20


class Observer:
    """Show the bridge's state while its context lasts; `run` does what is repeated.

    Probes, metrics and service manager read the answer of `bridge.status`, so that they agree.
    """

    def __init__(
        self,
        read_status: ReadStatus,
        read_details: "ReadDetails",
        alive: Callable[[], bool],
        live: "Callable[[], Live]",
        *,
        listen: Listen | None,
        hosts: tuple[str, ...],
        must_listen: bool,
        environ: Mapping[str, str],
        clock: Clock,
        read: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create it; nothing is opened yet.

        Args:
            read_status: Returns the answer of `bridge.status`.
            read_details: Returns what the metrics show beside that.
            alive: Returns whether the bus is read.
            live: Returns what serves the open consoles; called when the first one comes.
            listen: The address of console, probes and metrics; None for none of these.
            hosts: Host names under which they are served, beside this machine's own.
            must_listen: Whether it is an error if another program listens there; if not, there are none then.
            environ: The environment; it names the service manager's socket.
            clock: For the console.
            read: Returns the system's monotonic clock, in seconds. `clock` leaves out the time in which the process
                stood still, which is measured here.
        """
        self._read_status = read_status
        self._read_details = read_details
        self._alive = alive
        self._read = read
        self._late: deque[float] = deque([0.0], _REMEMBERED)
        self._manager = ServiceManager(environ)
        self._was_ready = False
        self._metrics: Metrics | None = None
        self._server: StatusServer | None = None
        if listen is not None:
            from bridge.observe import server  # noqa: PLC0415 - nobody else needs its library

            self._server = server.StatusServer(
                read_status, alive, self._scraped, live, listen=listen, hosts=hosts, clock=clock
            )
        self._must_listen = must_listen

    def _scraped(self, accept: str) -> tuple[bytes, str]:
        """Return the body of `/metrics`; its library is imported only now, since it takes megabytes of memory."""
        from bridge.observe.metrics import Metrics  # noqa: PLC0415

        if self._metrics is None:
            self._metrics = Metrics(self._read_status, self._read_details, lambda: max(self._late))
        return self._metrics.text(accept)

    @property
    def url(self) -> str | None:
        """Return the URL of the console; None where there is none."""
        return None if self._server is None else self._server.url

    async def __aenter__(self) -> Self:
        """Serve the console.

        Raises:
            ConfigError: It cannot listen at its address.
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
        """Measure the event loop and tell the service manager that it runs, until cancelled."""
        if self._server is None and self._manager.watchdog is None:  # nobody asks
            await asyncio.get_running_loop().create_future()
        tick = _TICK if self._manager.watchdog is None else min(_TICK, self._manager.watchdog / 3)
        while True:
            before = self._read()
            await asyncio.sleep(tick)
            self._late.append(max(0.0, self._read() - before - tick))
            if self._manager.watchdog is not None and self._alive():
                self._manager.alive()

    def changed(self, health: BridgeHealth) -> None:
        """Tell the service manager that a status has changed.

        Args:
            health: The state of the bridge. To make that of all integrations at each change of one would keep a core
                busy for long where there are 1,000.
        """
        if not self._manager.listens:
            return
        status = {"bridge": msgspec.to_builtins(health)}
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
        """Tell the service manager that a reload begins, and at its end that the bridge is ready again."""
        self._manager.reloading()
        try:
            yield
        finally:
            if self._was_ready:
                self._manager.ready()
