"""The file adapter: methods, publishing, subscriptions, and the loss of its root."""

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from pydantic import ValidationError

from bridge.adapters.file import watch
from bridge.adapters.file.adapter import SPEC, FileAdapter
from bridge.adapters.file.config import FileConfig
from bridge.adapters.file.tree import Tree
from bridge.adapters.file.watch import Changes
from bridge.core.errors import (
    BridgeError,
    InvalidError,
    NotConnectedError,
    NotSupportedError,
    ProtocolError,
    RejectedError,
)
from bridge.core.model import Inbound, Publish, Request
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.wait import until


@asynccontextmanager
async def opened(root: Path, lost: list[BridgeError] | None = None, **config: Any) -> AsyncIterator[Direct]:
    """Connect an adapter that polls every 10 ms."""
    told: list[BridgeError] = [] if lost is None else lost
    setup = adapter_setup("files", None, config=FileConfig(root=root, interval=0.01, **config), on_lost=told.append)
    adapter = FileAdapter(setup)
    await adapter.connect()
    try:
        yield Direct(adapter)
    finally:
        await adapter.disconnect()


def descriptors() -> int:
    """Return how many file descriptors this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


async def test_read(tmp_path: Path) -> None:
    """`read` decodes by codec; `auto` returns JSON where it parses, else text, else bytes."""
    (tmp_path / "a.json").write_text('{"a": [1]}')
    (tmp_path / "a.txt").write_text("grüße\n")
    (tmp_path / "a.bin").write_bytes(b"\xff\x00")
    async with opened(tmp_path) as adapter:
        assert await adapter.request("read", {"path": "a.json"}) == {"a": [1]}
        assert await adapter.request("read", {"path": "a.txt"}) == "grüße\n"
        assert await adapter.request("read", {"path": "a.bin"}) == b"\xff\x00"
        assert adapter.is_idempotent(Request(method="read"))
    async with opened(tmp_path, codec="json") as adapter:
        with pytest.raises(ProtocolError, match=r"a\.txt is not JSON"):
            await adapter.request("read", {"path": "a.txt"})


async def test_list(tmp_path: Path) -> None:
    """`list` returns files and directories of the root or of a directory, by glob."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.txt").write_text("12")
    (tmp_path / "a.txt").touch()
    async with opened(tmp_path) as adapter:
        whole = await adapter.request("list", UNSET)
        assert [(one["path"], one["kind"]) for one in whole] == [("a.txt", "file"), ("sub", "directory")]
        (one,) = await adapter.request("list", {"path": "sub"})
        modified = (tmp_path / "sub" / "x.txt").stat().st_mtime_ns // 1_000_000
        assert one == {"kind": "file", "path": "sub/x.txt", "size": 2, "modified_ms": modified}
        found = await adapter.request("list", {"glob": "**/*.txt"})
        assert [one["path"] for one in found] == ["a.txt", "sub/x.txt"]


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("read", UNSET, InvalidError),
        ("read", {}, InvalidError),
        ("read", ["a"], InvalidError),
        ("read", {"path": 1}, InvalidError),
        ("read", {"path": "a", "other": "b"}, InvalidError),
        ("read", {"path": "../a"}, InvalidError),
        ("read", {"path": "/etc/passwd"}, InvalidError),
        ("read", {"path": "."}, InvalidError),
        ("read", {"path": "n" * 300}, InvalidError),
        ("read", {"path": "missing"}, RejectedError),
        ("list", {"glob": "../*"}, InvalidError),
        ("list", {"path": ".."}, InvalidError),
        ("list", {"path": "missing"}, RejectedError),
        ("delete", {"path": "a"}, NotSupportedError),
    ],
)
async def test_what_cannot_be(tmp_path: Path, method: str, params: Any, error: type[BridgeError]) -> None:
    """Each wrong request has its error; a notification has none, since it has no answer."""
    async with opened(tmp_path) as adapter:
        with pytest.raises(error):
            await adapter.request(method, params)
        assert await adapter.request(method, params, notify=True) is None


async def test_publish_writes_and_appends(tmp_path: Path) -> None:
    """`publish` replaces a file, or appends lines; the header `append` overrides the configuration."""
    async with opened(tmp_path) as adapter:
        assert await adapter.publish("out/a.json", {"a": 1}) == {"size": 7}
        await adapter.publish("out/a.json", "text")
        assert (tmp_path / "out" / "a.json").read_text() == "text"
        await adapter.publish("log", {"a": 1}, headers={"append": "true"})
        await adapter.publish("log", "b\n", headers={"append": "true"})
        assert (tmp_path / "log").read_text() == '{"a":1}\nb\n'
        with pytest.raises(InvalidError, match=r"headers\.append"):
            await adapter.publish("log", "x", headers={"append": "yes"})
        for topic in (".", "out/", "../x", "/x"):
            with pytest.raises(InvalidError, match="topic: "):
                await adapter.publish(topic, "x")
    async with opened(tmp_path, append=True, codec="bytes") as adapter:
        await adapter.publish("log", b"c")
        await adapter.publish("log", b"d")
        assert (tmp_path / "log").read_text() == '{"a":1}\nb\ncd'
        await adapter.publish("log", b"new", headers={"append": "false"})
        assert (tmp_path / "log").read_text() == "new"


def test_only_replacing_may_be_repeated(tmp_path: Path) -> None:
    """Replacing a file may be repeated, appending may not."""
    plain = FileAdapter(adapter_setup("files", None, config=FileConfig(root=tmp_path)))
    appending = FileAdapter(adapter_setup("files", None, config=FileConfig(root=tmp_path, append=True)))
    command = Publish(topic="x", message=1)
    assert plain.is_idempotent(command)
    assert not plain.is_idempotent(Publish(topic="x", message=1, headers={"append": "true"}))
    assert not appending.is_idempotent(command)


async def test_many_writers_at_once(tmp_path: Path) -> None:
    """Concurrent writers tear no line and mix no file."""
    async with opened(tmp_path) as adapter:
        append = {"append": "true"}
        await asyncio.gather(*[adapter.publish("log", {"n": n, "x": "x" * 500}, headers=append) for n in range(50)])
        await asyncio.gather(*[adapter.publish("whole", str(n) * 1000) for n in range(10)])
        lines = [one for one in (tmp_path / "log").read_text().splitlines() if one.endswith('x"}')]
        assert len(lines) == 50
        assert len(set((tmp_path / "whole").read_text())) == 1


async def test_changes_and_lines(tmp_path: Path) -> None:
    """Changes and lines are delivered from `subscribe` to `unsubscribe`; the adapter's own drafts are not."""
    got: list[tuple[str, Any]] = []

    async def change(message: Inbound) -> None:
        got.append((message.topic, message.message["change"]))

    async def line(message: Inbound) -> None:
        got.append((message.topic, message.message))

    async with opened(tmp_path) as adapter:
        watching = await adapter.subscribe("*.txt", change)
        await adapter.publish("a.txt", "x\n")
        await until(lambda: got == [("a.txt", "created")], "the news of a file")
        await adapter.unsubscribe(watching)
        got.clear()
        await adapter.subscribe("tail:*.txt", line)
        await adapter.publish("a.txt", {"n": 1}, headers={"append": "true"})
        await until(lambda: len(got) == 1, "the line")
        await adapter.publish("a.txt", "two words", headers={"append": "true"})
        await until(lambda: len(got) == 2, "the other line")
        assert got[1] == ("a.txt", "two words")
        with pytest.raises(InvalidError):
            await adapter.subscribe("tail:../x", line)


@pytest.mark.parametrize(
    ("codec", "line", "message"),
    [
        ("json", b"not json", "not json"),
        ("json", b"", ""),
        ("json", b"\xff", b"\xff"),
        ("text", b"\xff\xfe", b"\xff\xfe"),
        ("msgpack", b"\xc1", b"\xc1"),
    ],
)
async def test_a_line_that_the_codec_cannot_read(tmp_path: Path, codec: Any, line: bytes, message: Any) -> None:
    """It is delivered as text, or as bytes where it is none, with the reason in a header; it is not lost."""
    got: list[Inbound] = []

    async def take(message: Inbound) -> None:
        got.append(message)

    async with opened(tmp_path, codec=codec) as adapter:
        await adapter.subscribe("tail:log", take)
        (tmp_path / "log").write_bytes(line + b"\n")
        await until(lambda: got, "the line")
    assert (got[0].topic, got[0].message) == ("log", message)
    assert "not " in got[0].headers["codec_error"] or "empty" in got[0].headers["codec_error"]


async def test_a_long_line_comes_in_pieces(tmp_path: Path) -> None:
    """Each piece is a message; its headers tell which one it is, and whether it is the last."""
    got: list[Inbound] = []

    async def take(message: Inbound) -> None:
        got.append(message)

    async with opened(tmp_path, codec="text", max_line=4) as adapter:
        await adapter.subscribe("tail:log", take)
        (tmp_path / "log").write_text("abcdef\nshort\nend\n")
        await until(lambda: len(got) == 5, "all pieces")
    assert [(one.message, one.headers) for one in got] == [
        ("abcd", {"piece": "1", "last_piece": "false"}),
        ("ef", {"piece": "2", "last_piece": "true"}),
        ("shor", {"piece": "1", "last_piece": "false"}),
        ("t", {"piece": "2", "last_piece": "true"}),
        ("end", {}),
    ]


@pytest.mark.parametrize(
    ("codec", "content", "value"),
    [
        ("auto", b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ("auto", b"\xef\xbb\xbfhello", "hello"),
        ("auto", b"\xef\xbb\xbf\xff", b"\xef\xbb\xbf\xff"),
        ("json", b"\xef\xbb\xbf[1]", [1]),
        ("text", b"\xef\xbb\xbfhello\n", "hello\n"),
        ("bytes", b"\xef\xbb\xbfhello", b"\xef\xbb\xbfhello"),
    ],
)
async def test_reading_a_file_with_a_byte_order_mark(tmp_path: Path, codec: Any, content: bytes, value: Any) -> None:
    """A byte-order mark at the beginning of a text file is not a part of its content; bytes stay as they are."""
    (tmp_path / "x").write_bytes(content)
    async with opened(tmp_path, codec=codec) as adapter:
        assert await adapter.request("read", {"path": "x"}) == value


async def test_files_that_are_left_out_are_told(tmp_path: Path) -> None:
    """A subscription and `list` warn of files whose names are no text, and take the warning back; the others go on."""
    got: list[str] = []
    warnings: dict[str, str] = {}

    def warn(name: str, text: str | None) -> None:
        if text is None:
            warnings.pop(name, None)
        else:
            warnings[name] = text

    async def take(message: Inbound) -> None:
        got.append(message.topic)

    bad = os.fsencode(tmp_path) + b"/\xff.log"
    os.close(os.open(bad, os.O_CREAT))
    setup = adapter_setup("files", None, config=FileConfig(root=tmp_path, interval=0.01), on_warning=warn)
    adapter = Direct(FileAdapter(setup))
    await adapter.connect()
    try:
        subscriptions = [await adapter.subscribe(topic, take) for topic in ("*.log", "tail:*.log")]
        assert await adapter.request("list", UNSET) == []
        assert warnings == {
            "left out: *.log": r'"*.log" leaves out \xff.log (its name is not UTF-8)',
            "left out: tail:*.log": r'"tail:*.log" leaves out \xff.log (its name is not UTF-8)',
            "list": r"`list` leaves out \xff.log (its name is not UTF-8)",
        }
        (tmp_path / "good.log").write_text("line\n")
        await until(lambda: got.count("good.log") >= 2, "the change and the line")
        os.remove(bad)  # noqa: PTH107  # its name is bytes
        await until(lambda: list(warnings) == ["list"], "the end of two warnings")
        assert len(await adapter.request("list", UNSET)) == 1
        assert warnings == {}
        os.close(os.open(bad, os.O_CREAT))
        await until(lambda: len(warnings) == 2, "two new warnings")
        for subscription in subscriptions:
            await adapter.unsubscribe(subscription)
        assert warnings == {}
    finally:
        await adapter.disconnect()


async def test_too_many_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If more files match than can be kept open, a warning says what that means."""
    monkeypatch.setattr(watch, "MAX_OPEN", 1)
    warnings: list[tuple[str, str | None]] = []

    async def ignore(_: Inbound) -> None:
        pass

    for name in "ab":
        (tmp_path / name).touch()
    setup = adapter_setup(
        "files", None, config=FileConfig(root=tmp_path), on_warning=lambda *warning: warnings.append(warning)
    )
    adapter = FileAdapter(setup)
    await adapter.connect()
    try:
        await adapter.subscribe("tail:*", ignore)
    finally:
        await adapter.disconnect()
    ((name, text),) = warnings
    assert name == "too many files: tail:*"
    assert text is not None
    assert "is lost if that is renamed, replaced or deleted" in text


async def test_the_loss_of_the_root(tmp_path: Path) -> None:
    """The loss of the root is reported once, although several tasks notice; then no method works."""
    lost: list[BridgeError] = []
    root = tmp_path / "root"
    root.mkdir()

    async def ignore(_: Inbound) -> None:
        pass

    async with opened(root, lost) as adapter:
        await adapter.subscribe("*", ignore)
        await adapter.subscribe("tail:*", ignore)
        root.rmdir()
        await until(lambda: lost, "the news of the loss")
        with pytest.raises(NotConnectedError):
            await adapter.publish("x", 1)
        with pytest.raises(NotConnectedError):
            await adapter.check()
    assert len(lost) == 1


async def test_a_subscription_that_is_cancelled_while_it_begins(tmp_path: Path) -> None:
    """A `subscribe` that is cancelled leaves no descriptor open."""
    for n in range(20):
        (tmp_path / f"{n}.log").touch()

    async def ignore(_: Inbound) -> None:
        pass

    async with opened(tmp_path) as adapter:
        before = descriptors()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(adapter.subscribe("tail:*", ignore))
            await asyncio.sleep(0)
            task.cancel()
        await until(lambda: descriptors() <= before, "the close of all files")


async def test_a_file_system_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps a few threads of its integration, however often that reconnects, and none of the others'."""
    answers, state = threading.Event(), {}
    really_check = Tree.check

    def check(tree: Tree) -> None:
        answers.wait(30)
        really_check(tree)

    monkeypatch.setattr(Tree, "check", check)
    before = threading.active_count()
    try:
        for _ in range(40):
            adapter = FileAdapter(adapter_setup("files", None, config=FileConfig(root=tmp_path), session_state=state))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(adapter.connect(), 0.002)
        assert threading.active_count() <= before + 8
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 10) == 1
    finally:
        answers.set()
    last = FileAdapter(adapter_setup("files", None, config=FileConfig(root=tmp_path), session_state=state))
    await asyncio.wait_for(last.connect(), 10)
    await last.disconnect()


async def test_a_poll_that_fails_after_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`unsubscribe` waits for a poll in its thread, whose error is then ignored."""
    begun, go_on, complaints = threading.Event(), threading.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def poll(_: Changes) -> list[Any]:
        begun.set()
        go_on.wait(10)
        raise NotConnectedError("too late")

    async def ignore(_: Inbound) -> None:
        pass

    monkeypatch.setattr(Changes, "poll", poll)
    async with opened(tmp_path) as adapter:
        subscription = await adapter.subscribe("*", ignore)
        await until(begun.is_set, "the poll")
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(adapter.unsubscribe(subscription))
            await asyncio.sleep(0)
            assert not ending.done()
            go_on.set()
    del subscription, ending
    gc.collect()
    assert complaints == []


def test_the_configuration(tmp_path: Path) -> None:
    """A configuration without `root` is refused."""
    with pytest.raises(ValidationError, match="root"):
        FileConfig.model_validate({})
    with pytest.raises(ValueError, match="needs a `config` block"):
        SPEC.create(adapter_setup("files", None))
