"""A service that speaks Lines (docs/adapters.md), as a process of its own: tests kill and freeze it."""

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from tests.support.servers.demo import DemoProcess

_ROOT = Path(__file__).parents[3]


class _RefusedError(Exception):
    pass


class _Service:
    """Methods `echo`, `sleep` (`ms`), `fail`, `orders.create` and `count` (`method`); topics, without wildcards."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._orders = itertools.count()
        self._subscribers: dict[tuple[asyncio.StreamWriter, int], str] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; each call is answered when it is done."""
        try:
            async with asyncio.TaskGroup() as group:
                async for line in reader:
                    match json.loads(line):
                        case ["call", number, method, *params]:
                            group.create_task(self._answer(writer, number, method, params))
                        case ["notify", method, *params]:
                            self._calls[method] += 1
                        case [verb, number, *arguments]:
                            _write(writer, "ok", number, self._at_once(writer, verb, number, arguments))
        except* OSError:
            pass
        finally:
            self._subscribers = {key: topic for key, topic in self._subscribers.items() if key[0] is not writer}
            writer.close()

    def _at_once(self, writer: asyncio.StreamWriter, verb: str, number: int, arguments: list[Any]) -> Any:
        match verb, arguments:
            case "subscribe", [topic]:
                self._subscribers[writer, number] = topic
            case "unsubscribe", [subscription]:
                self._subscribers.pop((writer, subscription), None)
            case "publish", [topic, message]:
                takers = [key for key, wanted in self._subscribers.items() if wanted == topic]
                for taker, subscription in takers:
                    _write(taker, "message", subscription, topic, message)
                return len(takers)
        return None

    async def _answer(self, writer: asyncio.StreamWriter, number: int, method: str, params: list[Any]) -> None:
        try:
            _write(writer, "ok", number, await self._call(method, *params))
        except _RefusedError as error:
            _write(writer, "error", number, *error.args)

    async def _call(self, method: str, params: Any = None) -> Any:
        if method == "count":
            return self._calls[params["method"]]
        self._calls[method] += 1
        match method:
            case "echo":
                return params
            case "sleep":
                return await asyncio.sleep(params["ms"] / 1000)
            case "fail":
                raise _RefusedError(params["code"], params["message"], params["data"])
            case "orders.create":
                return {**params, "number": next(self._orders)}
        raise _RefusedError("unknown", f"there is no method {method}", None)


def _write(writer: asyncio.StreamWriter, *line: Any) -> None:
    writer.write(json.dumps(line).encode() + b"\n")


async def _main(port: int) -> None:
    server = await asyncio.start_server(_Service().serve, "127.0.0.1", port)
    print(f"lines://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


@contextmanager
def line_service(port: int = 0) -> Iterator[DemoProcess]:
    """Start the service, wait until it listens, and kill it at the end."""
    command = [sys.executable, "-m", "tests.support.servers.line_service", str(port)]
    with Popen(command, cwd=_ROOT, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("lines://"), f"the service printed {url!r}"
            yield DemoProcess(url, process)
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
