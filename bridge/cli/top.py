"""The command `nemo-bridge top`: show what the bridge does, and what is wrong, until the person quits."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console, Group
from rich.live import Live

from bridge.cli.exit_codes import ExitCode
from bridge.cli.figures import age
from bridge.cli.keyboard import Keyboard
from bridge.cli.options import seconds
from bridge.cli.talk import BusOptions, ask
from bridge.cli.terminal import console
from bridge.cli.top_pages import Signs
from bridge.cli.top_view import TopView
from bridge.client import BusClient
from bridge.core.errors import BusError, InvalidError, NoBusError
from bridge.core.payloads import Inspection, Overview

#: Seconds to wait for an answer of the bridge.
_PATIENCE: Final = 5.0


def top(options: BusOptions, every: str) -> ExitCode:
    """Show the bridge until the person quits, and return the exit code.

    Raises:
        InvalidError: Standard input or output is not a terminal, or an option is not valid.
        NoBusError: There is no bus, or no bridge has answered at first.
        BusError: The first answer cannot be read.
    """
    interval = seconds("--every", every)
    screen = console()
    if not (screen.is_terminal and sys.stdin.isatty()) or screen.is_dumb_terminal:
        raise InvalidError("top needs a terminal; `nemo-bridge status` prints the state once")
    asyncio.run(_Top(options, interval, screen).run())
    return ExitCode.OK


class _Top:
    def __init__(self, options: BusOptions, interval: float, screen: Console) -> None:
        self._options = options
        self._interval = interval
        self._screen = screen
        self._keyboard = Keyboard()
        self._view = TopView(Signs(ascii_only=screen.options.ascii_only))
        self._live = Live(console=screen, auto_refresh=False, screen=True)
        self._asked_for = asyncio.Event()
        self._answered = time.monotonic()

    async def run(self) -> None:
        """Show the bridge until the person quits.

        Raises:
            InvalidError: Standard input is not a terminal.
            NoBusError: There is no bus, or no bridge has answered at first.
            BusError: The first answer cannot be read.
        """
        async with self._options.client(("response.bridge.",), listens=False) as bus:
            await self._refresh(bus)
            with self._keyboard.opened(), self._live, self._signals():
                self._draw()
                tasks = [asyncio.create_task(one) for one in (self._obey(), self._follow(bus), self._tick())]
                try:
                    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                for task in ended:
                    task.result()

    async def _obey(self) -> None:
        while not self._view.ended:
            before = self._view.opened
            key = await self._keyboard.get()
            if key is None:  # the terminal is gone
                return
            self._view.press(key)
            if self._view.opened != before:
                self._asked_for.set()
            self._draw()

    async def _follow(self, bus: BusClient) -> None:
        """Ask the bridge again and again, at once where another page was opened."""
        while True:
            self._asked_for.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._asked_for.wait()
            if self._view.held and not self._asked_for.is_set():
                continue
            try:
                await self._refresh(bus)
                self._answered = time.monotonic()
            except NoBusError:
                self._view.trouble = f"no answer for {age(1000 * (time.monotonic() - self._answered))}"
            except BusError as error:
                self._answered = time.monotonic()
                self._view.trouble = str(error)
            self._draw()

    async def _refresh(self, bus: BusClient) -> None:
        name = self._view.opened
        if name is None:
            self._view.take_overview(await ask(bus, "bridge.overview", {}, Overview, _PATIENCE))
        else:
            wanted = {"integration": name}
            self._view.take_inspection(await ask(bus, "bridge.inspect", wanted, Inspection, _PATIENCE))

    async def _tick(self) -> None:
        """Draw once a second, so that the age of the last answer is right."""
        while True:
            await asyncio.sleep(1)
            if self._view.trouble is not None:
                self._draw()

    def _draw(self) -> None:
        width, height = self._screen.size
        lines = self._view.lines(width, height, int(time.time() * 1000))
        self._live.update(Group(*lines), refresh=True)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Draw anew when the terminal's size has changed, and give the terminal back while the process is stopped."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        loop.add_signal_handler(signal.SIGTSTP, self._stop)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            loop.remove_signal_handler(signal.SIGTSTP)

    def _stop(self) -> None:
        """Stop the process, as Ctrl-Z does; go on when the shell continues it."""
        self._live.stop()
        self._keyboard.give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._keyboard.take()
        self._live.start()
        self._draw()
