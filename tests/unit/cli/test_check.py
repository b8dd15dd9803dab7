"""What `nemo-bridge check --json` prints, and its exit code."""

import asyncio
import json
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self

import jsonschema
import pytest

from bridge.cli import check, process
from bridge.cli.exit_codes import ExitCode
from bridge.cli.main import main
from bridge.cli.sidecar import read
from bridge.core.diagnostic import Code
from tests.unit.cli.test_exit_codes import GOOD, UNSAFE

#: `--json` as docs/configuration.md describes it: these keys and no others.
NUMBER = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
KEYS = {
    "severity": {"enum": ["error", "warning"]},
    "code": {"enum": [code.value for code in Code]},
    "message": {"type": "string", "minLength": 1},
    "file": TEXT,
    "line": NUMBER,
    "column": NUMBER,
    "end_line": NUMBER,
    "end_column": NUMBER,
    "block": TEXT,
    "hint": TEXT,
}
SCHEMA = {
    "type": "array",
    "items": {"type": "object", "properties": KEYS, "required": list(KEYS), "additionalProperties": False},
}
SHOP = 'integration "shop" {{\n  type = "http"\n  endpoint {{\n    url = "http://127.0.0.1:{}/"\n  }}\n}}\n'


def test_what_a_remote_said_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Why an endpoint fails may be a text of the remote: it fakes no line and does nothing to the terminal."""
    file = tmp_path / "shop.hcl"
    file.write_text(SHOP.format(1))
    check._show_integrations(read([file]), {"shop": "auth: no\n  bank: http  connected\x1b[2J\u202e"})
    assert capsys.readouterr().out == "  shop: http  auth: no\\n  bank: http  connected\\x1b[2J\\u202e\n"


def test_a_fabric_and_what_it_uses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its node is said, and what others offer is no endpoint: it is counted, and neither made nor connected."""
    file = tmp_path / "bridge.hcl"
    cluster = 'integration "cluster" {\n  type = "nats"\n  endpoint {\n    url = "nats://127.0.0.1:1"\n  }\n}\n'
    fabric = 'fabric "plant" {\n  integration = "cluster"\n  node = "desk-7"\n  use = ["printer"]\n}\n'
    file.write_text(cluster + fabric)
    assert check.check([file], [], connect=False, strict=True, as_json=False) == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        "ok: 2 integrations, 0 routes, 0 subscriptions, 1 fabric",
        "  cluster: nats",
        "  printer: offered by other nodes",
        '  fabric "plant": node desk-7, over cluster',
    ]


class ProcessThatStays:
    """Takes the place of `Process`, which ends the process some seconds later; a test run must go on."""

    exit_code = ExitCode.FAILED

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work)


def test_what_others_offer_is_not_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--connect` tries the endpoints of this bridge; what a fabric uses is shown without a result."""
    monkeypatch.setattr(process, "Process", ProcessThatStays)
    file = tmp_path / "bridge.hcl"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    cluster = (
        f'integration "cluster" {{\n  type = "nats"\n  endpoint {{\n    url = "nats://127.0.0.1:{port}"\n  }}\n}}\n'
    )
    file.write_text(cluster + 'fabric "plant" {\n  integration = "cluster"\n  node = "d"\n  use = ["printer"]\n}\n')
    assert check.check([file], [], connect=True, strict=True, as_json=False) == ExitCode.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("  cluster: nats  not_connected: ")
    assert lines[2] == "  printer: offered by other nodes"


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs `check --json` with a text and options; it gives exit code and what was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "Process", ProcessThatStays)

    def ended(text: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
        Path("bridge.hcl").write_text(text)
        monkeypatch.setattr(sys, "argv", ["nemo-bridge", "check", "bridge.hcl", "--json", *options])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        assert said.err == ""
        found = json.loads(said.out)
        jsonschema.validate(found, SCHEMA)
        return int(left.value.code or 0), found

    return ended


def test_errors(checked: Any) -> None:
    """Errors of syntax and of meaning come in one array on standard output, with their places; nothing else does."""
    code, found = checked(GOOD.replace('"timer"', '"tmier').replace("every", "evry"))
    assert code == ExitCode.INVALID
    assert found == [
        {
            "severity": "error",
            "code": "NB012",
            "message": "this string has no closing quote on its line",
            "file": "bridge.hcl",
            "line": 2,
            "column": 10,
            "end_line": 2,
            "end_column": 16,
            "block": 'integration "clock"',
            "hint": 'a `"` is missing',
        },
    ]


@pytest.mark.parametrize(("options", "code"), [((), ExitCode.OK), (("--strict",), ExitCode.INVALID)])
def test_warnings(checked: Any, options: tuple[str, ...], code: ExitCode) -> None:
    """A warning is in the array as well; only `--strict` makes it a failure."""
    ended, found = checked(UNSAFE, *options)
    assert ended == code
    assert [(one["severity"], one["code"], one["line"]) for one in found] == [("warning", "NB035", 1)]


def test_nothing_is_wrong(checked: Any) -> None:
    """The array is empty."""
    assert checked(GOOD) == (ExitCode.OK, [])


def test_what_is_no_hcl_elsewhere_is_a_warning(checked: Any) -> None:
    """What only the bridge reads passes, but not with `--strict`."""
    text = 'log { level = "info" format = "json" }\n'
    assert checked(text)[0] == ExitCode.OK
    code, found = checked(text, "--strict")
    assert code == ExitCode.INVALID
    assert [(one["code"], one["line"], one["column"], one["end_column"]) for one in found] == [("NB017", 1, 22, 28)]


def test_an_endpoint_that_is_not_there(checked: Any) -> None:
    """With `--connect`, an integration that cannot be reached is an error NB070 at its block; exit code 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port, and a connection is refused
        code, found = checked(SHOP.format(taken.getsockname()[1]), "--connect")
    assert code == ExitCode.FAILED
    (one,) = found
    assert one["message"].startswith("not_connected")
    place = {"code": "NB070", "severity": "error", "line": 1, "column": 1, "end_column": 19, "file": "bridge.hcl"}
    assert one.items() >= {**place, "block": 'integration "shop"'}.items()


def test_an_endpoint_that_is_there(checked: Any) -> None:
    """With `--connect`, the array is empty where all can be reached."""
    assert checked(GOOD, "--connect") == (ExitCode.OK, [])
