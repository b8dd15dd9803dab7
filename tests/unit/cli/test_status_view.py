"""What `nemo-bridge status` makes of an answer."""

import re
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bridge.cli import status
from bridge.contract import examples
from bridge.core.payloads import Overview
from bridge.observe.summary import is_well, span

ANSWER: dict[str, Any] = {"bridge": examples.BRIDGE, "backend_api": examples.INTEGRATION}


def changed(**more: Any) -> dict[str, Any]:
    """The example's answer with its integration changed."""
    return deepcopy(ANSWER) | {"backend_api": deepcopy(examples.INTEGRATION) | more}


def printed(
    answer: dict[str, Any], width: int = 80, *, overview: Overview | None = None, wrong_first: bool = False
) -> str:
    """The page as a terminal, without colours, shows it."""
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(status._page(answer, {}, overview, wrong_first=wrong_first), soft_wrap=False)
    return capture.get()


def test_all_is_well():
    """A ready bridge whose integrations are connected and accounted for is 0; the page shows each sum."""
    assert is_well(ANSWER)
    page = printed(ANSWER)
    assert "bridge bridge  ready  0.1.0, up 1 min 1 s" in page
    states, sums = (line.split() for line in page.splitlines() if line.startswith("backend_api"))
    assert (states[:3], states[-3:]) == (["backend_api", "json-rpc", "connected"], ["closed", "3.2", "ms"])
    assert sums[1:] == ["97", "90", "3", "0", "1", "1", "2", "0"]
    assert "…" not in page
    assert "…" not in printed(ANSWER, 40)  # nothing is cut off


@pytest.mark.parametrize(
    "answer",
    [
        changed(status="disconnected"),
        changed(status="degraded", circuit="open"),
        changed(status="failed", error={"kind": "auth", "message": "no", "retryable": False}),
        changed(accounting=examples.INTEGRATION["accounting"] | {"accepted": 98}),
        deepcopy(ANSWER) | {"bridge": examples.BRIDGE | {"status": "draining"}},
    ],
)
def test_something_is_not_well(answer):
    """Anything that is not connected, not ready, or does not balance makes it 1."""
    assert not is_well(answer)
    assert "do not balance" not in printed(answer) or answer["backend_api"]["accounting"]["accepted"] == 98


def test_fabrics():
    """Each is a line, also one that is still connecting, of which no problem is told yet; without one there is none."""
    answer = deepcopy(examples.RESULTS["bridge.overview"])
    row = answer["fabrics"][0]
    answer["fabrics"].append(row | {"fabric": "\x1b[2Joffice", "status": "connecting"})
    page = printed(ANSWER, 100, overview=msgspec.convert(answer, Overview))
    assert re.search(r"^plant +desk-7 +connected +.* 2 of 3 connected", page, re.MULTILINE)
    assert re.search(r"office +desk-7 +connecting ", page)
    assert "\x1b" not in page
    del answer["fabrics"]
    for none in (None, msgspec.convert(answer, Overview)):
        assert "fabric" not in printed(ANSWER, overview=none)


def test_what_a_remote_says_does_nothing_to_the_terminal():
    """Neither control characters nor rich's own markup in an error or a warning are obeyed."""
    error = {"kind": "auth", "message": "\x1b[2J[red]no[/red]", "retryable": False}
    subscriptions = {"\x1b[2Jjobs": {"status": "failed", "error": error}}
    page = printed(changed(error=error, warnings=["[bold]not safe"], subscriptions=subscriptions))
    assert "backend_api: subscription \\x1b[2Jjobs: failed: auth: \\x1b[2J[red]no[/red]" in page
    assert "backend_api: auth: \\x1b[2J[red]no[/red]" in page
    assert "[bold]not safe" in page


@pytest.mark.parametrize(
    ("milliseconds", "wanted"), [(999, "0 s"), (61_000, "1 min 1 s"), (7_260_000, "2 h 1 min"), (9e7, "1 d 1 h")]
)
def test_spans(milliseconds, wanted):
    """Times are told in two units at most."""
    assert span(milliseconds) == wanted


def test_what_is_wrong_with_the_outbox_is_said():
    """A bridge that accepts nothing for the outbox is not well, and the page says why."""
    outbox = examples.BRIDGE["outbox"] | {"problem": "the disk is full"}
    answer = deepcopy(ANSWER) | {"bridge": examples.BRIDGE | {"status": "degraded", "outbox": outbox}}
    assert not is_well(answer)
    assert "outbox: the disk is full" in printed(answer)
    assert "None" not in printed(ANSWER)


def test_what_is_wrong_comes_first_on_a_screen():
    """`--watch` begins with it, as a small terminal shows the beginning; the same trouble of several is one line."""
    error = {"kind": "not_connected", "message": "connection refused", "retryable": True}
    down = deepcopy(examples.INTEGRATION) | {"status": "disconnected", "error": error, "warnings": ["in the clear"]}
    answer = deepcopy(ANSWER) | {name: down | {"integration": name} for name in ("a", "b")}
    lines = printed(answer, wrong_first=True).splitlines()
    assert lines[1:4] == [
        "2 of 3 integrations are not well",
        "a, b: not_connected: connection refused",
        "a, b: in the clear",
    ]
    assert printed(answer).splitlines()[-2:] == lines[2:4]
    assert printed(ANSWER, wrong_first=True).splitlines()[1:3] == ["", *printed(ANSWER).splitlines()[1:2]]
