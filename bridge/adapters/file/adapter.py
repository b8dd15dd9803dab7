"""Read, list, write and watch files below one directory: `type = "file"`.

`root` names the directory. Nothing outside of it is touched, and no link is followed. Changes are found by polling,
which works on every file system. Messages from files are delivered at most once: what changes while there is no session
is not reported later.
"""

import asyncio
import os
import stat
import threading
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from msgspec import UNSET

from bridge.adapters._common.background import Background
from bridge.adapters._common.content import BYTES, MSGPACK, Codec
from bridge.adapters.file.config import FileConfig
from bridge.adapters.file.paths import Glob, split_path
from bridge.adapters.file.tree import Tree
from bridge.adapters.file.watch import MAX_OPEN, Changes, Piece, Tail, describe
from bridge.core.errors import BridgeError, InvalidError, NotConnectedError, NotSupportedError
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
    refuse_group,
)

PROTOCOL: Final = "file"
#: The beginning of a topic that asks for appended lines instead of changes.
TAIL: Final = "tail:"
#: The header of `publish` that overrides the configuration's `append`.
APPEND: Final = "append"

#: Codecs whose content is no text, so that a byte-order mark would be a part of it.
_BINARY: Final = frozenset({"bytes", "msgpack"})
#: Threads of one integration.
_MOST_THREADS: Final = 8
#: Files that a warning names.
_NAMED: Final = 3
_CROWDED: Final = (
    f'"{{}}" matches more than {MAX_OPEN} files: only those that grew last are kept open; what is written to another '
    "one is lost if that is renamed, replaced or deleted before the next look. Narrow the glob, or make several "
    "subscriptions"
)

Result = TypeVar("Result")
P = ParamSpec("P")


class _Threads:
    """The threads of one integration. A file system that does not answer keeps some of them, and none of anybody else.

    All sessions of the integration share them, so their number stays bounded however often it reconnects.

    Attributes:
        appending: Held by whoever appends to a file.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_MOST_THREADS, "file")
        self.appending = threading.Lock()

    @classmethod
    def of(cls, session_state: dict[str, Any]) -> "_Threads":
        """Return those of the integration with this state."""
        found = session_state.get("threads")
        if not isinstance(found, cls):
            found = session_state["threads"] = cls()
        return found

    def run(self, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[Result]":
        """Run work in a thread; cancelling what this returns leaves the work to itself."""
        return asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))

    async def run_to_end(self, work: Callable[[], Result]) -> Result:
        """Run work in a thread; a cancellation waits for its end, because its files must not be closed under it."""
        future = self.run(work)
        future.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # a cancelled caller takes no exception
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            await asyncio.wait({future})
            raise
        return future.result()


class _Watch(Protocol):
    """Finds what is new in files: `Changes` or `Tail`."""

    @property
    def more(self) -> bool: ...
    @property
    def left_out(self) -> dict[str, str]: ...
    @property
    def crowded(self) -> bool: ...
    def begin(self) -> None: ...
    def poll(self) -> list[tuple[str, Any]]: ...
    def close(self) -> None: ...


class FileAdapter(AdapterBase):
    """Work with the files of one directory; see `ports.ProtocolAdapter`. What blocks runs in threads."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Take the settings; nothing is opened yet. Raises ValueError where there is no `root`."""
        if not isinstance(setup.config, FileConfig):
            raise ValueError("`file` needs a `config` block with `root`")  # noqa: TRY004  # the port's error
        self._config = setup.config
        self._codec = Codec(setup.config.codec)
        self._setup = setup
        self._clock = setup.clock
        self._threads = _Threads.of(setup.session_state)
        self._background = Background(self._lose)
        self._tree: Tree | None = None
        self._watches: list[_Watch] = []

    async def connect(self) -> None:
        """Check that the root can be listed, and again at each `interval`. Raises NotConnectedError where it cannot."""
        root = self._config.root.absolute()
        tree = await self._threads.run(Tree, root, self._threads.appending)
        await self._threads.run(tree.check)
        await self._background.open()
        self._tree = tree
        self._background.start(self._guard_root(tree))

    async def disconnect(self) -> None:
        """End all subscriptions and close their files."""
        self._tree = None
        await self._background.close()
        while self._watches:
            self._watches.pop().close()

    async def check(self) -> None:
        """List the root: an unreachable file system does not answer that. Raises NotConnectedError."""
        await self._threads.run(self._open_tree().check)

    def _open_tree(self) -> Tree:
        if self._tree is None:
            raise NotConnectedError("there is no session")
        return self._tree

    def _lose(self, error: BridgeError) -> None:
        if self._tree is not None:
            self._tree = None
            self._setup.on_lost(error)

    async def _guard_root(self, tree: Tree) -> None:
        while True:
            await self._clock.sleep(self._config.interval)
            try:
                await self._threads.run_to_end(tree.check)
            except BridgeError as error:
                self._lose(error)
                return

    def is_idempotent(self, command: Command) -> bool:
        """Return True for reading, and for replacing a file by the same content."""
        if isinstance(command, Publish):
            return not self._config.append and APPEND not in (command.headers or {})
        return isinstance(command, Request)

    async def request(self, command: Request, context: Context) -> Any:  # noqa: ARG002
        """Do `read` with `{path}`, or `list` with `{path?, glob?}`.

        Returns:
            The content of the file; or for each entry of the directory `{kind, path, size, modified_ms}`.

        Raises:
            InvalidError: The parameters are wrong, or the path would leave the root.
            NotSupportedError: There is no such method.
            ProtocolError: The content is not what `codec` names.
            RejectedError: The operating system refuses; `errors` has the codes.
        """
        tree = self._open_tree()
        try:
            _check_method(command.method)
            result = await self._answer(tree, command.method, command.params)
        except BridgeError:
            if not command.notify:
                raise
            return None
        return None if command.notify else result

    async def _answer(self, tree: Tree, method: str, params: Any) -> Any:
        if method == "read":
            path = _text_params(params, method, "path")["path"]
            parts = _file_parts(path)
            return self._decoded(await self._threads.run(tree.read, parts, self._config.max_size), path[:200])
        given = _text_params(params, method, path=".", glob="*")
        below, glob = split_path(given["path"]), Glob(given["glob"])
        found, left_out = await self._threads.run(tree.scan, glob, below, directories=True)
        self._setup.on_warning("list", _left_out_of("`list`", left_out) if left_out else None)
        return [{"kind": _kind(one), **describe(path, one)} for path, one in found.items()]

    def _decoded(self, content: bytes, name: str) -> Any:
        """Return the content of a file; without its byte-order mark where it is text."""
        if self._codec.name not in _BINARY and content.startswith(BOM_UTF8):
            value = self._codec.decode(content[len(BOM_UTF8) :], name=name)
            return content if isinstance(value, bytes) else value
        return self._codec.decode(content, name=name)

    async def publish(self, command: Publish, context: Context) -> dict[str, Any]:
        """Write a file, whole or not at all, or append to it; missing directories are created.

        Returns:
            `{size}`: the size of the file in bytes afterwards.

        Raises:
            InvalidError: `topic` names no file below the root, or the codec cannot carry the message.
            RejectedError: The operating system refuses; `errors` has the codes.
        """
        tree, parts = self._open_tree(), _file_parts(command.topic, "topic")
        content, content_type = self._codec.encode(command.message)
        if not self._appends(context.joined(command.headers)):
            return {"size": await self._threads.run(tree.replace, parts, content)}
        is_text = content_type not in {MSGPACK, BYTES}
        line = content + b"\n" if is_text and not content.endswith(b"\n") else content
        return {"size": await self._threads.run(tree.append, parts, line, as_line=is_text)}

    def _appends(self, headers: Mapping[str, str] | None) -> bool:
        value = (headers or {}).get(APPEND)
        if value not in {None, "true", "false"}:
            raise InvalidError(f'headers.{APPEND}: must be "true" or "false"')
        return self._config.append if value is None else value == "true"

    async def subscribe(
        self,
        topic: str,
        deliver: Deliver,
        options: SubscriptionOptions = NO_OPTIONS,  # noqa: ARG002
    ) -> Subscription:
        """Report changes of files, or lines that are appended to them, from now on.

        Args:
            topic: A glob, for changes; or `tail:` and a glob, for lines.
            deliver: Takes `{change, path, size?, modified_ms?}` for a change, or the line, decoded.
            options: Not used.

        Raises:
            InvalidError: The glob is wrong.
        """
        tree, glob = self._open_tree(), Glob(topic.removeprefix(TAIL), "topic")

        async def change(path: str, message: Any) -> None:
            await deliver(Inbound(topic=path, message=message))

        async def line(path: str, content: bytes) -> None:
            message, headers = self._codec.decode_or_keep(content, as_text=True)
            if isinstance(content, Piece):
                headers |= {"piece": str(content.number), "last_piece": "true" if content.last else "false"}
            await deliver(Inbound(topic=path, message=message, headers=headers))

        tails = topic.startswith(TAIL)
        is_text = self._codec.name not in _BINARY
        watch: _Watch = Tail(tree, glob, self._config.max_line, is_text=is_text) if tails else Changes(tree, glob)
        self._watches.append(watch)
        try:
            await self._threads.run_to_end(watch.begin)
            self._tell(topic, watch, {}, crowded=False)
            task = self._background.start(self._poll_until_lost(topic, watch, line if tails else change))
        except BaseException:
            self._forget(watch)
            raise
        return Subscription(topic, (task, watch))

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Stop reporting to this subscription, and close its files."""
        if subscription.handle is not None:
            task, watch = subscription.handle
            task.cancel()
            await asyncio.wait({task})
            self._forget(watch)
            for name in _warnings_of(subscription.topic):
                self._setup.on_warning(name, None)

    def _forget(self, watch: _Watch) -> None:
        watch.close()
        if watch in self._watches:
            self._watches.remove(watch)

    async def _poll_until_lost(self, topic: str, watch: _Watch, report: Callable[[str, Any], Awaitable[None]]) -> None:
        try:
            while True:
                if not watch.more:
                    await self._clock.sleep(self._config.interval)
                before, crowded = watch.left_out, watch.crowded
                found = await self._threads.run_to_end(watch.poll)
                self._tell(topic, watch, before, crowded=crowded)
                for path, content in found:
                    await report(path, content)
        except BridgeError as error:
            self._lose(error)

    def _tell(self, topic: str, watch: _Watch, left_out: Mapping[str, str], *, crowded: bool) -> None:
        """Tell what a watch cannot do, where that has changed: files left out, more files than can be kept open."""
        names, now = _warnings_of(topic), watch.left_out
        if now != left_out:
            self._setup.on_warning(names[0], _left_out_of(f'"{topic}"', now) if now else None)
        if watch.crowded != crowded:
            self._setup.on_warning(names[1], _CROWDED.format(topic) if watch.crowded else None)


def _warnings_of(topic: str) -> tuple[str, str]:
    """Return the names of the warnings that a subscription may give: files left out, and too many files."""
    return f"left out: {topic}", f"too many files: {topic}"


def _left_out_of(what: str, files: Mapping[str, str]) -> str:
    some = ", ".join(f"{path} ({why})" for path, why in islice(files.items(), _NAMED))
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return f"{what} leaves out {some}{more}"


def check_names(operation: str, name: str, group: str | None, config: Any) -> None:  # noqa: ARG001
    """Check the method of a request, the file of a publish, or the glob of a subscription; see `ports.NameCheck`."""
    match operation:
        case "request":
            _check_method(name)
        case "publish":
            _file_parts(name, "topic")
        case _:
            refuse_group(PROTOCOL, group)
            Glob(name.removeprefix(TAIL), "topic")


def comes_back(path: str, topic: str) -> bool:
    """Return whether a file that is written is noticed by a subscription; see `AdapterSpec.comes_back`."""
    return Glob(topic.removeprefix(TAIL), "topic").matches(split_path(path))


def _check_method(method: str) -> None:
    if method not in {"read", "list"}:
        raise NotSupportedError(f"method: `file` has no {method!r}; there are `read` and `list`")


def _kind(found: os.stat_result) -> str:
    return "directory" if stat.S_ISDIR(found.st_mode) else "file"


def _file_parts(path: str, name: str = "path") -> tuple[str, ...]:
    parts = split_path(path, name)
    if not parts or path.endswith("/"):
        raise InvalidError(f"{name}: must name a file, not a directory")
    return parts


def _text_params(params: Any, method: str, *needed: str, **optional: str) -> dict[str, str]:
    """Check and return the parameters by name; all of them are text."""
    given = {} if params is UNSET or params is None else params
    known = {*needed, *optional}
    if not isinstance(given, dict) or given.keys() - known or not all(isinstance(one, str) for one in given.values()):
        raise InvalidError(f"params: `{method}` takes {', '.join(sorted(known))} as text")
    for name in needed:
        if name not in given:
            raise InvalidError(f"params: `{method}` needs `{name}`")
    return {**optional, **given}


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="a directory: read, list, write, watch, follow lines",
    operations=frozenset({"request", "publish", "subscribe", "unsubscribe"}),
    auth=frozenset({"none"}),
    config=FileConfig,
    schemes={},
    create=FileAdapter,
    needs_endpoint=False,
    check_names=check_names,
    comes_back=comes_back,
    unfit_for_lease=lambda *_: None,
)
