"""The commands that run a configuration on virtual time: their reports and exit codes."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.bus import encode_event
from bridge.cli.exit_codes import ExitCode
from bridge.cli.init import recipes
from bridge.cli.main import main
from bridge.core.model import Event

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "testing.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    """Return the code blocks of one kind in docs/testing.md."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the configuration that `nemo-bridge init` writes, and with the tests of the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("SHOP_URL", raising=False)
    (tmp_path / "shop.hcl").write_text(recipes()["json-rpc"].text, "utf-8")
    (tmp_path / "tests.hcl").write_text(blocks("hcl")[1], "utf-8")
    return tmp_path


def ended(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run `nemo-bridge` with these words in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["nemo-bridge", *words.split()])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_the_page_about_tests_is_true(shop, monkeypatch, capsys):
    """The page shows the recipe's first test; its own one fails as it shows, and passes with the right number."""
    first, failing, passing = blocks("text")
    assert blocks("hcl")[0] in (shop / "shop.hcl").read_text("utf-8")
    assert ended("test shop.hcl", monkeypatch) == ExitCode.OK
    assert capsys.readouterr().out == first
    assert ended("test shop.hcl tests.hcl", monkeypatch) == ExitCode.FAILED
    assert capsys.readouterr().out == failing
    tests = shop / "tests.hcl"
    tests.write_text(tests.read_text("utf-8").replace("cents = 3 }", "cents = 300 }"), "utf-8")
    assert ended("test shop.hcl tests.hcl", monkeypatch) == ExitCode.OK
    assert capsys.readouterr().out == passing


def test_chosen_tests(shop, monkeypatch, capsys):
    """`-k` runs the tests with a text in their names; one that no name has is an error with the names."""
    assert ended("test shop.hcl tests.hcl -k SURVIVES", monkeypatch) == ExitCode.OK
    assert re.fullmatch(r"ok      an order survives two failures  \(.* s\)\n1 test passed\n", capsys.readouterr().out)
    assert ended("test shop.hcl tests.hcl -k nothing-like-it", monkeypatch) == ExitCode.INVALID
    assert "no test has 'nothing-like-it' in its name; there are \"an order is confirmed\"" in capsys.readouterr().err


def test_the_whole_timeline(shop, monkeypatch, capsys):
    """`--timeline` shows what happened also where a test passes."""
    assert ended("test shop.hcl tests.hcl -k survives --timeline", monkeypatch) == ExitCode.OK
    assert "call     shop request orders.create" in capsys.readouterr().out


def test_no_test(shop, monkeypatch, capsys):
    """A configuration without tests is an error that says what to do."""
    (shop / "none.hcl").write_text((shop / "shop.hcl").read_text("utf-8").partition("\ntest ")[0], "utf-8")
    assert ended("test none.hcl", monkeypatch) == ExitCode.INVALID
    output = capsys.readouterr()
    assert not output.out
    assert "there is no `test` block; add one" in output.err


def test_faults_of_the_configuration(shop, monkeypatch, capsys):
    """They are told as `check` tells them, and no test runs."""
    (shop / "tests.hcl").write_text('test "t" {\n  step {\n    emt = "a"\n  }\n}\n')
    assert ended("test shop.hcl tests.hcl", monkeypatch) == ExitCode.INVALID
    output = capsys.readouterr()
    assert not output.out
    assert "did you mean `emit`?" in output.err


def test_a_secret_is_not_shown(shop, monkeypatch, capsys):
    """A secret of the environment is masked in diff and timeline; where it is not set, all is the same."""
    (shop / "tests.hcl").write_text(
        'test "t" {\n  step {\n    emit = "order.created"\n    payload = { id = env.SHOP_SECRET, total = 1 }\n  }\n'
        '  expect {\n    event = "order.confirmed"\n    payload = { id = env.SHOP_SECRET }\n  }\n}\n'
    )
    reports = []
    for value in ("hunter22", None):
        if value is None:
            monkeypatch.delenv("SHOP_SECRET")
        else:
            monkeypatch.setenv("SHOP_SECRET", value)
        assert ended("test shop.hcl tests.hcl", monkeypatch) == ExitCode.FAILED
        reports.append(capsys.readouterr().out)
    assert "hunter22" not in reports[0]
    assert '"id": "***"' in reports[0]
    assert reports[0] == reports[1]


def test_a_recording(shop, monkeypatch, capsys):
    """`simulate` prints what happens, or how many seeds were tried; a recording of nothing but a bridge is an error."""
    of_program = event("order.created", {"id": 1, "total": 3}, "till")
    (shop / "trace.bin").write_bytes(encode_event(of_program) + encode_event(event("order.confirmed", None, "bridge")))
    assert ended("simulate shop.hcl --trace trace.bin", monkeypatch) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '     0.000 s  emit     order.created {"id": 1, "total": 3}'
    assert lines[-1] == "all invariants hold"
    assert ended("simulate shop.hcl --trace trace.bin --seed 7 --seeds 2", monkeypatch) == ExitCode.OK
    assert capsys.readouterr().out == "2 seeds: all invariants hold\n"
    (shop / "trace.bin").write_bytes(encode_event(event("order.confirmed", None, "bridge")))
    assert ended("simulate shop.hcl --trace trace.bin", monkeypatch) == ExitCode.INVALID
    assert "the recording has no event of a program" in capsys.readouterr().err


def event(event_type: str, payload: Any, source: str) -> Event:
    """An event of a recording."""
    return Event(
        id=1,
        event_type=event_type,
        raw=msgspec.Raw(msgspec.msgpack.encode(payload)),
        timestamp=1_700_000_000_000,
        source=source,
        correlation_id=None,
    )


def test_two_runs_print_the_same_bytes(shop, monkeypatch, capsys):
    """Another process with another seed of hashes prints the same, and no place of this machine."""
    words = f"test {shop / 'shop.hcl'} {shop / 'tests.hcl'} --timeline"
    assert ended(words, monkeypatch) == ExitCode.FAILED
    here = capsys.readouterr().out
    environment = {**os.environ, "PYTHONHASHSEED": "7" if os.environ.get("PYTHONHASHSEED") != "7" else "8"}
    command = [sys.executable, "-m", "bridge", *words.split()]
    other = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert other.returncode == ExitCode.FAILED
    assert other.stdout.decode() == here
    assert str(shop) not in here
