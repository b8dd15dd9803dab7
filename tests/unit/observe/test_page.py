"""Show that the status page is complete, and that text of others cannot change it."""

import re
from copy import deepcopy
from html.parser import HTMLParser
from typing import Any

from bridge.contract import examples
from bridge.observe.page import Page

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


def status(**more: Any) -> dict[str, Any]:
    """An answer of `bridge.status` with changes to its integration."""
    return {"bridge": deepcopy(examples.BRIDGE), "backend_api": deepcopy(examples.INTEGRATION) | more}


class Tags(HTMLParser):
    """Collects tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(answer: dict[str, Any]) -> Tags:
    """The page one minute after the integration's status came."""
    return Tags(Page(lambda: examples.INTEGRATION["since"] + 61_000).render(answer))


def test_it_shows_everything():
    """The page shows bridge, bus, outbox, and each integration's state and sums."""
    text = " ".join(page(status()).text.split())
    assert "● bridge: ready" in text
    for part in ("up 1 min 1 s", "bus received 120", "0 pending", "backend_api", "● connected", "1 min 1 s", "3.2 ms"):
        assert part in text.replace("up1", "up 1").replace("received120", "received 120").replace("bus ", "bus ")


def test_what_needs_a_look_is_first_and_says_why():
    """A failed integration is shown first, with its error; a wrong sum is reported."""
    answer = status()
    sums = answer["backend_api"]["accounting"] | {"accepted": 1}
    error = {"kind": "auth", "message": "no", "retryable": False}
    answer["z"] = answer["backend_api"] | {"integration": "z", "status": "failed", "error": error, "accounting": sums}
    found = page(answer)
    assert found.text.index("▲ failed") < found.text.index("● connected")
    assert "auth: no" in found.text
    assert found.text.count("do not balance") == 1
    assert "▲ bridge: ready" in found.text


def test_what_others_wrote_is_text():
    """Markup in names and messages adds no tag and no attribute to the page."""
    error = {"kind": "rejected", "message": HOSTILE, "retryable": False}
    calm_one, wild_one = ({"status": "failed", "error": error | {"message": text}} for text in ("x", HOSTILE))
    calm = page(
        status(error=error | {"message": "x"}, warnings=["x"], integration="x", type="x", subscriptions={"x": calm_one})
    )
    wild = page(
        status(error=error, warnings=[HOSTILE], integration=HOSTILE, type=HOSTILE, subscriptions={HOSTILE: wild_one})
    )
    assert wild.tags == calm.tags
    assert HOSTILE in wild.text


def test_subscriptions_that_are_not_live():
    """Each has its name, state and reason."""
    error = {"kind": "rejected", "message": "forbidden", "retryable": False}
    subscriptions = {"jobs": {"status": "failed", "error": error}, "late": {"status": "connecting", "error": None}}
    found = page(status(status="degraded", subscriptions=subscriptions))
    assert "subscription jobs: failed: rejected: forbidden" in found.text
    assert "subscription late: connecting" in found.text


def test_it_needs_nothing_from_elsewhere():
    """The page loads nothing from elsewhere; its policy allows exactly its own style and script."""
    made = Page(lambda: 0)
    html = made.render(status())
    assert not re.search(r"https?://|//[a-z]", html.replace("</", ""))
    assert not re.search(r"\sstyle=|\son\w+=", html)
    assert made.policy.count("sha256-") == 2
    assert made.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in made.policy


def test_the_outbox_is_on_it():
    """The page shows dead letters, and why the outbox accepts nothing."""
    answer = status()
    answer["bridge"]["outbox"] |= {"dead_letters": 3, "problem": "the disk is <full>"}
    found = page(answer)
    assert ("dd", {"class": "warn"}) in found.tags
    assert "outbox: the disk is <full>" in found.text
