"""Render the status page: one HTML file that loads nothing else, filled in for each request.

Names and messages come from configuration, applications and remotes. All of them are escaped, and the page's policy
allows no script and no style but its own.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, Final

from bridge.observe.summary import PARTS, Status, balanced, integrations, is_well, span, unwell

#: Colour and symbol of a state; the symbol is for people who do not see the colour.
_GOOD, _WARN, _BAD = ("good", "●"), ("warn", "◆"), ("bad", "▲")
_MARKS: Final = {
    "ready": _GOOD,
    "connected": _GOOD,
    "closed": _GOOD,
    "starting": _WARN,
    "degraded": _WARN,
    "draining": _WARN,
    "connecting": _WARN,
    "paused": _WARN,
    "half_open": _WARN,
}
_COLUMNS: Final = ("integration", "type", "status", "since", "circuit", "latency", "accepted", *PARTS, "messages in")


class Page:
    """Render the status page.

    Attributes:
        policy: The page's `Content-Security-Policy`, with the hashes of its own style and script.
    """

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        """Read the template; `wall_ms` returns Unix time in milliseconds."""
        text = files("bridge.observe").joinpath("page.html").read_text("utf-8")
        self._template = Template(text)
        self._wall_ms = wall_ms
        self.policy = (
            f"default-src 'none'; style-src {_hash(text, 'style')}; script-src {_hash(text, 'script')}; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def render(self, status: Status) -> str:
        """Return the page for an answer of `bridge.status`."""
        one = status["bridge"]
        mark = "●" if is_well(status) else "▲"
        title = escape(f"{mark} {one['name']}: {one['status']}")
        return self._template.substitute(title=title, main="\n".join(self._main(status)))

    def _main(self, status: Status) -> Iterator[str]:
        one = status["bridge"]
        yield f"<header><h1>{escape(one['name'])}</h1>{_state(one['status'])}</header>"
        yield "<dl>"
        yield _pair("version", one["version"])
        yield _pair("up", span(one["uptime_ms"]))
        yield _pair("process", one["pid"])
        for name in ("received", "published", "rejected", "missing", "dropped"):
            yield _pair(f"bus {name}", one["bus"][name], bad=name in {"rejected", "missing", "dropped"})
        outbox = one["outbox"]
        text = f"{outbox['pending']} pending, {outbox['bytes']} bytes"
        yield _pair("outbox", f"{text}, oldest {span(outbox['oldest_ms'])}" if outbox["pending"] else text)
        yield _pair("dead letters", outbox["dead_letters"], bad=True)
        yield "</dl>"
        if outbox["problem"] is not None:
            yield f'<p class="bad">▲ outbox: {escape(outbox["problem"])}</p>'
        if outbox["missing"] is not None:
            yield f'<p class="bad">▲ outbox: {escape(outbox["missing"])}</p>'
        yield '<div class="scroll"><table><thead><tr>'
        yield "".join(f'<th scope="col"{_right(name)}>{_heading(name)}</th>' for name in _COLUMNS)
        yield "</tr></thead>"
        for integration in integrations(status):
            yield from self._row(integration)
        yield "</table></div>"

    def _row(self, one: Mapping[str, Any]) -> Iterator[str]:
        sums = one["accounting"]
        latency = "-" if one["latency_ms"] is None else f"{one['latency_ms']:.1f} ms"
        yield "<tbody><tr>"
        yield f'<th scope="row">{escape(one["integration"])}</th><td class="soft">{escape(one["type"])}</td>'
        yield f"<td>{_state(one['status'])}</td><td>{span(self._wall_ms() - one['since'])}</td>"
        yield f'<td>{_state(one["circuit"])}</td><td class="number">{latency}</td>'
        yield "".join(_number(sums[name]) for name in ("accepted", *PARTS)) + _number(one["messages"])
        yield "</tr>"
        if one["error"] is not None:
            yield _note("bad", f"{one['error']['kind']}: {one['error']['message']}")
        for line in unwell(one):
            yield _note("bad", line)
        for warning in one["warnings"]:
            yield _note("warn", warning)
        if not balanced(sums):
            yield _note("bad", "the sums do not balance: accepted is not the sum of all that follows it")
        yield "</tbody>"


def _hash(text: str, tag: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    assert found is not None  # noqa: S101 - our own file
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"


def _state(name: str) -> str:
    colour, mark = _MARKS.get(name, _BAD)
    return f'<span class="{colour}">{mark} {escape(name.replace("_", "-"))}</span>'


def _pair(name: str, value: object, *, bad: bool = False) -> str:
    colour = ' class="warn"' if bad and value else ""
    return f"<div><dt>{escape(name)}</dt><dd{colour}>{escape(str(value))}</dd></div>"


def _heading(column: str) -> str:
    return "dead" if column == "dead_lettered" else column.replace("_", " ")


def _right(column: str) -> str:
    return "" if column in _COLUMNS[:5] else ' class="number"'


def _number(value: int) -> str:
    return f'<td class="number{"" if value else " zero"}">{value}</td>'


def _note(colour: str, text: str) -> str:
    return f'<tr class="note"><td class="{colour}" colspan="{len(_COLUMNS)}"><div>{escape(text)}</div></td></tr>'
