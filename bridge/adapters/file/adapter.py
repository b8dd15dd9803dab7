"""A directory as a source and a target: `type = "file"`.

Reads, lists and writes files below `root`, tells of their changes, and follows lines as they are appended. Nothing
outside of the root is ever touched, and no link is followed. Watching polls, which works on every file system. Messages
from files are delivered at most once: what happens while there is no session is not made up for.
"""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, TypeVar

import structlog
from msgspec import UNSET
from pydantic import Field

from bridge.adapters._common.background import Background
from bridge.adapters._common.content import BYTES, MSGPACK, Codec, CodecName
from bridge.adapters.file.paths import Glob, split_path
from bridge.adapters.file.tree import Tree
from bridge.adapters.file.watch import Changes, Tail, describe
from bridge.core.endpoint import Strict
from bridge.core.errors import BridgeError, InvalidError, NotConnectedError, NotSupportedError, ProtocolError
from bridge.core.model import Command, Inbound, Publish, Request
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Deliver,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.units import PositiveDuration, Size

PROTOCOL: Final = "file"
#: What a topic begins with that asks for lines instead of changes.
TAIL: Final = "tail:"
#: The header of `publish` that goes before the configuration's `append`.
APPEND: Final = "append"

log = structlog.get_logger(__name__)
Result = TypeVar("Result")


class FileConfig(Strict):
    """`config { … }` of a directory."""

    root: Annotated[Path, Field(description="the directory; nothing outside of it is read or written")]
    codec: Annotated[CodecName, Field(description="how contents become messages and back")] = "auto"
    interval: Annotated[
        Annotated[PositiveDuration, Field(ge=0.01)],
        Field(description="time between two looks for changes, 10 ms or more"),
    ] = 1.0
    append: Annotated[
        bool,
        Field(
            description="`publish` appends the message to the file, as a line where it is text, instead of replacing "
            'the file; the header `append` ("true" or "false") of a command goes before it'
        ),
    ] = False
    max_size: Annotated[Size, Field(description="the largest file that `read` takes")] = 16 * 1024 * 1024
    max_line: Annotated[Size, Field(description="a longer line comes in pieces")] = 256 * 1024


class _Watch(Protocol):
    @property
    def more(self) -> bool: ...
    def begin(self) -> None: ...
    def look(self) -> list[tuple[str, Any]]: ...
    def close(self) -> None: ...


class FileAdapter(AdapterBase):
    """One directory; see `ports.ProtocolAdapter`. What blocks runs in threads."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where there is no `root`."""
        if not isinstance(setup.config, FileConfig):
            raise ValueError("`file` needs a `config` block with `root`")  # noqa: TRY004  # the port's error
        self._config = setup.config
        self._codec = Codec(setup.config.codec)
        self._clock = setup.clock
        self._on_lost = setup.on_lost
        self._background = Background(self._lose)
        self._tree: Tree | None = None
        self._watches: list[_Watch] = []

    async def connect(self) -> None:
        """See that the root is there, and keep watch over it. Raises NotConnectedError."""
        root = self._config.root.absolute()
        tree = await asyncio.to_thread(Tree, root)
        await asyncio.to_thread(tree.check)
        await self._background.open()
        self._tree = tree
        self._background.start(self._guard_root(tree))

    async def disconnect(self) -> None:
        """End all subscriptions."""
        self._tree = None
        await self._background.close()
        while self._watches:
            self._watches.pop().close()

    async def check(self) -> None:
        """List the root, which an unreachable file system does not answer."""
        await asyncio.to_thread(self._open_tree().check)

    def _open_tree(self) -> Tree:
        if self._tree is None:
            raise NotConnectedError("there is no session")
        return self._tree

    def _lose(self, error: BridgeError) -> None:
        if self._tree is not None:
            self._tree = None
            self._on_lost(error)

    async def _guard_root(self, tree: Tree) -> None:
        while True:
            await self._clock.sleep(self._config.interval)
            try:
                await _in_thread(tree.check)
            except BridgeError as error:
                self._lose(error)
                return

    def is_idempotent(self, command: Command) -> bool:
        """Return True for reading, and for replacing a file by the same content."""
        if isinstance(command, Publish):
            return not self._config.append and APPEND not in (command.headers or {})
        return isinstance(command, Request)

    async def request(self, command: Request, context: Context) -> Any:  # noqa: ARG002
        """`read` with `{path}`: the content; `list` with `{path?, glob?}`: what is in a directory."""
        tree = self._open_tree()
        try:
            result = await self._answer(tree, command.method, command.params)
        except BridgeError:
            if not command.notify:
                raise
            return None
        return None if command.notify else result

    async def _answer(self, tree: Tree, method: str, params: Any) -> Any:
        if method == "read":
            path = _texts(params, method, "path")["path"]
            parts = _file(path)
            return self._codec.decode(await asyncio.to_thread(tree.read, parts, self._config.max_size), name=path[:200])
        if method == "list":
            given = _texts(params, method, path=".", glob="*")
            below, glob = split_path(given["path"]), Glob(given["glob"])
            found = await asyncio.to_thread(tree.scan, glob, below, directories=True)
            return [{"kind": _kind(one), **describe(path, one)} for path, one in found.items()]
        raise NotSupportedError(f"`file` has no method {method!r}; there are `read` and `list`")

    async def publish(self, command: Publish, context: Context) -> dict[str, Any]:
        """Write a file, whole or not at all, or append to it; directories on the way are made. Returns `{size}`."""
        tree, parts = self._open_tree(), _file(command.topic, "topic")
        content, content_type = self._codec.encode(command.message)
        if not self._appends(context.joined(command.headers)):
            return {"size": await asyncio.to_thread(tree.replace, parts, content)}
        is_text = content_type not in {MSGPACK, BYTES}
        line = content + b"\n" if is_text and not content.endswith(b"\n") else content
        return {"size": await asyncio.to_thread(tree.append, parts, line)}

    def _appends(self, headers: Mapping[str, str] | None) -> bool:
        wish = (headers or {}).get(APPEND)
        if wish not in {None, "true", "false"}:
            raise InvalidError(f'headers.{APPEND}: "true" or "false"')
        return self._config.append if wish is None else wish == "true"

    async def subscribe(
        self,
        topic: str,
        deliver: Deliver,
        options: SubscriptionOptions = NO_OPTIONS,  # noqa: ARG002
    ) -> Subscription:
        """`topic` is a glob, for changes, or `tail:` and a glob, for lines. What comes after this returns is told."""
        tree, glob = self._open_tree(), Glob(topic.removeprefix(TAIL))

        async def change(path: str, news: Any) -> None:
            await deliver(Inbound(topic=path, message=news))

        async def line(path: str, news: bytes) -> None:
            await self._deliver_line(path, news, deliver)

        tails = topic.startswith(TAIL)
        watch: _Watch = Tail(tree, glob, self._config.max_line) if tails else Changes(tree, glob)
        self._watches.append(watch)
        try:
            await _in_thread(watch.begin)
            task = self._background.start(self._poll(watch, line if tails else change))
        except BaseException:
            self._forget(watch)
            raise
        return Subscription(topic, (task, watch))

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Nothing comes after this."""
        if subscription.handle is not None:
            task, watch = subscription.handle
            task.cancel()
            await asyncio.wait({task})
            self._forget(watch)

    def _forget(self, watch: _Watch) -> None:
        watch.close()
        if watch in self._watches:
            self._watches.remove(watch)

    async def _poll(self, watch: _Watch, tell: Callable[[str, Any], Awaitable[None]]) -> None:
        try:
            while True:
                if not watch.more:
                    await self._clock.sleep(self._config.interval)
                for path, news in await _in_thread(watch.look):
                    await tell(path, news)
        except BridgeError as error:
            self._lose(error)

    async def _deliver_line(self, path: str, line: bytes, deliver: Deliver) -> None:
        try:
            message = self._codec.decode(line, name="the line")
        except ProtocolError as error:
            log.warning("line left out", path=path, error=error.message)
            return
        await deliver(Inbound(topic=path, message=message))


def _kind(found: os.stat_result) -> str:
    return "directory" if stat.S_ISDIR(found.st_mode) else "file"


def _file(path: str, name: str = "path") -> tuple[str, ...]:
    parts = split_path(path, name)
    if not parts or path.endswith("/"):
        raise InvalidError(f"{name}: names no file")
    return parts


def _texts(params: Any, method: str, *needed: str, **optional: str) -> dict[str, str]:
    """The parameters by name, all of them text."""
    given = {} if params is UNSET or params is None else params
    known = {*needed, *optional}
    if not isinstance(given, dict) or given.keys() - known or not all(isinstance(one, str) for one in given.values()):
        raise InvalidError(f"params: `{method}` takes {', '.join(sorted(known))} as text")
    for name in needed:
        if name not in given:
            raise InvalidError(f"params: `{method}` needs `{name}`")
    return {**optional, **given}


async def _in_thread(work: Callable[[], Result]) -> Result:
    """Work that must be over before its files are closed: a cancellation waits for it."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to take it
    try:
        await asyncio.wait({future})
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
    return future.result()


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="a directory: read, list, write, watch, follow lines",
    operations=frozenset({"request", "publish", "subscribe", "unsubscribe"}),
    auth=frozenset({"none"}),
    config=FileConfig,
    schemes={},
    create=FileAdapter,
    needs_endpoint=False,
)
