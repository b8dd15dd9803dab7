"""Static values: what a file may hold, reading by key, and delivering each value once."""

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from pydantic import ValidationError

from bridge.adapters.static import SPEC, StaticAdapter, StaticConfig
from bridge.config import load
from bridge.core.errors import ConfigError, InvalidError, NotConnectedError, NotSupportedError, RejectedError
from bridge.core.model import Inbound, Request
from bridge.registry import AdapterRegistry
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup

#: 341 bytes that become 10**9 values.
BOMB = "".join(
    f"{letter}: &{letter} [{', '.join([f'*{before}' if before else 'x'] * 9)}]\n"
    for before, letter in zip(["", *"abcdefgh"], "abcdefghi", strict=True)
)
#: The same with keys that are merged.
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{letter}: &{letter} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, letter in zip("abcdefgh", "bcdefghi", strict=True)
)


async def opened(**config: Any) -> StaticAdapter:
    """Connect an adapter."""
    adapter = StaticAdapter(adapter_setup("fixed", None, config=StaticConfig(**config)))
    await adapter.connect()
    return Direct(adapter)


def written(directory: Path, name: str, text: str) -> Path:
    """Write a file of values."""
    file = directory / name
    file.write_text(text, "utf-8")
    return file


async def test_get_reads_by_key() -> None:
    """`get` returns the value of a key, None included."""
    adapter = await opened(values={"a": {"b": [1, None]}, "nothing": None})
    assert await adapter.request("get", {"key": "a"}) == {"b": [1, None]}
    assert await adapter.request("get", {"key": "nothing"}) is None
    assert adapter.is_idempotent(Request(method="get"))


async def test_get_of_an_unknown_key_is_rejected() -> None:
    """An unknown key is rejected with the code `not_found`; a notification has no error."""
    adapter = await opened(values={"a": 1})
    with pytest.raises(RejectedError, match="no key 'b'") as caught:
        await adapter.request("get", {"key": "b"})
    assert caught.value.code == "not_found"
    assert await adapter.request("get", {"key": "b"}, notify=True) is None


@pytest.mark.parametrize("params", [UNSET, None, {}, {"key": 1}, {"key": "a", "more": 1}, ["a"]])
async def test_wrong_params_are_invalid(params: Any) -> None:
    """Params other than `{key}` are `invalid`."""
    adapter = await opened(values={"a": 1})
    with pytest.raises(InvalidError, match=r"params: `get` takes"):
        await adapter.request("get", params)


async def test_there_is_no_other_method() -> None:
    """Another method is not supported, and the message names `get`."""
    adapter = await opened(values={"a": 1})
    with pytest.raises(NotSupportedError, match="there is `get`"):
        await adapter.request("set", {"key": "a"})


async def test_a_subscription_says_the_value_once() -> None:
    """A subscription to a key gets its value once, one to `*` all values, and then nothing."""
    got: list[tuple[str, Any]] = []

    async def deliver(message: Inbound) -> None:
        got.append((message.topic, message.message))

    adapter = await opened(values={"a": 1, "b": {"c": 2}})
    one = await adapter.subscribe("b", deliver)
    assert got == [("b", {"c": 2})]
    got.clear()
    await adapter.subscribe("*", deliver)
    assert got == [("a", 1), ("b", {"c": 2})]
    with pytest.raises(InvalidError, match="no key 'd'"):
        await adapter.subscribe("d", deliver)
    await adapter.unsubscribe(one)


async def test_without_a_session_nothing_works() -> None:
    """Nothing works before `connect` or after `disconnect`."""
    adapter = await opened(values={"a": 1})
    await adapter.disconnect()
    with pytest.raises(NotConnectedError):
        await adapter.request("get", {"key": "a"})


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("v.json", '{"a": 1, "b": {"c": [true]}}', {"a": 1, "b": {"c": [True]}}),
        ("v.json", '\ufeff{"a": "ä"}', {"a": "ä"}),
        ("v.yaml", "a: NO\nb: [1, 2.5, null, true]\n", {"a": "NO", "b": [1, 2.5, None, True]}),
        ("v.yml", '"a": {"b": 012}', {"a": {"b": 12}}),
        ("v.csv", "key,value\na,1\n\nb,x\n", {"a": "1", "b": "x"}),
        ("v.CSV", 'id,name,city\r\n7,"A, B",Köln\r\n', {"7": {"name": "A, B", "city": "Köln"}}),
        ("v.csv", 'key,value\na,"two\nlines"\n', {"a": "two\nlines"}),
    ],
)
async def test_files_of_values(tmp_path: Path, name: str, text: str, values: dict[str, Any]) -> None:
    """JSON and YAML 1.2 keep their types; CSV gives text."""
    adapter = await opened(file=written(tmp_path, name, text))
    assert {key: await adapter.request("get", {"key": key}) for key in values} == values


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("v.json", "{", "is not JSON"),
        ("v.json", "[1]", "must hold a map"),
        ("v.json", '{"a": 1, "a": 2}', "a key twice: 'a'"),
        ("v.json", '{"a": 18446744073709551616}', "values.a: integers have at most 64 bit"),
        ("v.json", '{"a": [NaN]}', r"values.a\[0\]: neither NaN"),
        ("v.json", "[" * 200_000, "nested too deeply"),
        ("v.yaml", "", "must hold a map"),
        ("v.yaml", "a: 1\na: 2\n", 'line 2: found duplicate key "a"'),
        ("v.yaml", "a: [", "line 1: expected the node content"),
        ("v.yaml", "a: !!python/object:os.system x", "could not determine a constructor"),
        ("v.yaml", "a: 2024-01-01", "values.a: date cannot be JSON"),
        ("v.yaml", "1: x", "values: a key is int"),
        ("v.yaml", "a: .nan", "values.a: neither NaN"),
        ("v.yaml", "a: \x01", "unacceptable character"),
        ("v.yaml", "[" * 5000, "nested too deeply"),
        ("v.yaml", "a: !!bool x", r"not as its tag says \(KeyError\)"),
        ("v.yaml", 'a: !!int ""', r"not as its tag says \(IndexError\)"),
        ("v.yaml", "? !!seq [[1]]\n: 1", r"not as its tag says \(TypeError\)"),
        ("v.yaml", 'a: "\\U99999999"', r"not as its tag says \(OverflowError\)"),
        ("v.yaml", 'a: "\\ud800"', "values: text with half of a surrogate pair cannot be JSON"),
        ("v.json", '{"a": "\\ud800"}', "values: text with half of a surrogate pair cannot be JSON"),
        ("v.yaml", "a: &a [*a]", "nested deeper than 30 levels"),
        ("v.yaml", BOMB, "repeats more than 100000 values by aliases"),
        ("v.yaml", MERGES, "repeats more than 100000 values by aliases"),
        ("v.yaml", f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]", "repeats more than 100000 values"),
        ("v.csv", "", "needs a header"),
        ("v.csv", "key,key\n", "needs a header"),
        ("v.csv", "key,value\na\n", "line 2: 1 columns, the header has 2"),
        ("v.csv", "key,value\na,1\na,2\n", "line 3: has the key 'a' for the second time"),
        ("v.csv", 'key,value\na,"1\n', "line 2: unexpected end of data"),
        ("v.txt", "", r"\*.json, \*.yaml or \*.csv, not v.txt"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    """Each mistake in a file is an error of the configuration."""
    with pytest.raises(ValidationError, match=complaint):
        StaticConfig(file=written(tmp_path, name, text))


def test_aliases_that_are_few(tmp_path: Path) -> None:
    """Aliases and merged keys have their values."""
    text = "a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}\nd: [*a, *a]\n"
    content = StaticConfig(file=written(tmp_path, "v.yaml", text)).content
    a = {"x": [1, 2]}
    assert content == {"a": a, "b": a, "c": {**a, "y": 3}, "d": [a, a]}


def test_only_regular_files_of_a_size_are_read(tmp_path: Path) -> None:
    """A pipe, a device and a file that is too large are refused at once; a pipe would be waited for."""
    os.mkfifo(tmp_path / "v.yaml")
    (tmp_path / "v.csv").symlink_to("/dev/zero")
    (tmp_path / "v.yml").write_bytes(b"#" * ((256 << 10) + 1))
    with (tmp_path / "v.json").open("wb") as file:
        file.truncate((16 << 20) + 1)
    for name, why in (
        ("v.yaml", "is not a regular file"),
        ("v.csv", "is not a regular file"),
        ("v.yml", "is larger than 256 KiB"),  # reading it takes up to 8 s
        ("v.json", "is larger than 16 MiB"),
    ):
        with pytest.raises(ValidationError, match=f"cannot be read: {why}"):
            StaticConfig(file=tmp_path / name)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing, or not UTF-8, is an error of the configuration."""
    with pytest.raises(ValidationError, match="cannot be read: No such file"):
        StaticConfig(file=tmp_path / "v.json")
    (tmp_path / "v.csv").write_bytes(b"\xff")
    with pytest.raises(ValidationError, match="is not UTF-8"):
        StaticConfig(file=tmp_path / "v.csv")


@pytest.mark.parametrize("config", [{}, {"values": {}, "file": Path("v.json")}])
def test_one_source(config: dict[str, Any]) -> None:
    """There must be `values` or `file`, and not both."""
    with pytest.raises(ValidationError, match="give either `values` or `file`"):
        StaticConfig(**config)


def test_a_changed_file_is_a_changed_configuration(tmp_path: Path) -> None:
    """A changed file makes the configuration unequal, so that a reload makes a new session."""
    file = written(tmp_path, "v.csv", "key,value\na,1\n")
    first, same = StaticConfig(file=file), StaticConfig(file=file)
    written(tmp_path, "v.csv", "key,value\na,2\n")
    assert first == same
    assert first != StaticConfig(file=file)


def test_a_bad_file_is_a_complaint_with_its_line(tmp_path: Path) -> None:
    """`nemo-bridge check` reports a bad file with its line; the path is relative to the configuration."""
    written(tmp_path, "values.json", "[]")
    text = 'integration "fixed" {\n  type = "static"\n  config {\n    file = "values.json"\n  }\n}\n'
    with pytest.raises(ConfigError, match=r"bridge.hcl:3: .* must hold a map"):
        load([written(tmp_path, "bridge.hcl", text)], adapters=AdapterRegistry(), environ={})


def test_without_a_config_block_there_is_nothing() -> None:
    """An integration without a `config` block is refused."""
    with pytest.raises(ValueError, match="needs a `config` block"):
        SPEC.create(adapter_setup("fixed", None))
