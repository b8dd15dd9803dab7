"""Starts the processes of a plan and ends them again."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from stack_lib.plan import Plan, Service, StackError

#: Seconds for a server to open its ports, and for any process to end in order before it is killed.
_START: Final = 10.0
_STOP: Final = 12.0
#: Seconds until what somebody has ended starts again: longer than the others need to see that it is lost.
_AWAY: Final = 30.0


class Processes:
    """What runs, by name. `until` waits for the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, service: Service) -> None:
        """Start one process and wait until its ports are open.

        Raises:
            StackError: It ended, or does not listen; its last words are in the message.
        """
        with self.log(service.name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *service.command,
                cwd=self._folder,
                env={**os.environ, **service.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the stack, which ends all in their order
            )
        self._running[service.name] = process
        try:
            async with asyncio.timeout(_START):
                for port in service.ports:
                    await self._open(service.name, process, port)
        except TimeoutError:
            raise StackError(f"{service.name} does not listen: {self.last_words(service.name)}") from None

    async def _open(self, name: str, process: asyncio.subprocess.Process, port: int) -> None:
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
        raise StackError(f"{name} did not start: {self.last_words(name)}")

    def log(self, name: str) -> Path:
        """What a process writes."""
        return self._folder / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The end of what it wrote, in one line."""
        lines = self.log(name).read_text("utf-8", errors="replace").split("\n")
        return " | ".join([line.strip() for line in lines if line.strip()][-3:]) or "it said nothing"

    def number(self, name: str) -> int:
        """The number of a process, by which it can be killed."""
        return self._running[name].pid

    async def until(self, stop: asyncio.Event) -> str | None:
        """Wait until told to stop (None), or until a process ends by itself: which, and how."""
        ends: asyncio.Queue[str | None] = asyncio.Queue()

        async def watch(name: str, process: asyncio.subprocess.Process) -> None:
            code = await process.wait()
            ends.put_nowait(self._ended(name, code))

        return await self._first(ends, stop, [watch(*one) for one in self._running.items()])

    async def until_with_restarts(self, stop: asyncio.Event, plan: Plan, say: Callable[[str], None]) -> str | None:
        """Do the same, but start again what ends, some time later; only what then does not start is the end of all."""
        ends: asyncio.Queue[str | None] = asyncio.Queue()

        async def watch(service: Service) -> None:
            name = service.name
            while True:
                code = await self._running[name].wait()
                how = f"{name} was killed" if code < 0 else self._ended(name, code)
                say(f"{how}\n{name} is started again in {_AWAY:.0f} s")
                await asyncio.sleep(_AWAY)
                try:
                    await self.start(service)
                except StackError as error:
                    ends.put_nowait(str(error))
                    return
                say(f"{name} runs again, as process {self.number(name)}")

        return await self._first(ends, stop, [watch(one) for one in plan.services])

    def _ended(self, name: str, code: int) -> str:
        return f"{name} ended by itself with {code}: {self.last_words(name)}"

    async def _first(
        self, ends: asyncio.Queue[str | None], stop: asyncio.Event, watches: list[Coroutine[None, None, None]]
    ) -> str | None:
        """Watch until the first end, or until told to stop."""

        async def heed() -> None:
            await stop.wait()
            ends.put_nowait(None)

        async with asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(one) for one in (*watches, heed())]
            why = await ends.get()
            for wait in waits:
                wait.cancel()
        return why

    async def stop(self) -> None:
        """End all, the last that was started first; what does not heed SIGTERM is killed."""
        for process in reversed(self._running.values()):
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), _STOP)
                except TimeoutError:
                    process.kill()
                    await process.wait()


@asynccontextmanager
async def running(plan: Plan, folder: Path) -> AsyncIterator[Processes]:
    """All of it, the sidecars last; ended in the end, whatever happened.

    Raises:
        StackError: Something did not start.
    """
    processes = Processes(folder)
    try:
        for service in plan.services:
            await processes.start(service)
        yield processes
    finally:
        await processes.stop()
