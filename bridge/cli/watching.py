"""Show what a bridge answers again and again, for the commands that have `--watch`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from rich.console import RenderableType
from rich.live import Live

from bridge.cli.talk import BusOptions
from bridge.cli.terminal import complain, console
from bridge.client import BusClient
from bridge.core.errors import NoBusError

#: Seconds between two updates.
_EVERY: Final = 1.0


async def watch(
    options: BusOptions, look: Callable[[BusClient], Awaitable[RenderableType]], *, as_json: bool
) -> NoReturn:
    """Ask a bridge every second and show what it answers, until the person interrupts.

    Where no bridge answers, this is said, and it is asked again.

    Args:
        options: The bus.
        look: Asks the bridge, and returns what is shown.
        as_json: Whether that is text, of which each is a line of its own; else it takes the place of what is shown.

    Raises:
        BusError: There is no bus, or the bridge refuses, or its answer cannot be read.
    """
    screen = console()
    with Live(console=screen, auto_refresh=False, screen=screen.is_terminal and not as_json) as live:
        async with options.client(("response.bridge.",)) as bus:
            while True:
                try:
                    shown = await look(bus)
                except NoBusError:
                    complain("no bridge answers")
                    continue
                if as_json:
                    print(shown, flush=True)
                else:
                    live.update(shown, refresh=True)
                await asyncio.sleep(_EVERY)
