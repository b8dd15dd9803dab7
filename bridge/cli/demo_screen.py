"""Show the demo: a title for each part, one line for each event, and a summary of the measurements."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from bridge.core.model import Event

#: The longest event type that the demo shows, `resilience.shop.circuit.half_opened`.
_TYPE_WIDTH: Final = 35
#: Fields of a payload that are shown.
_MOST_FIELDS: Final = 2
_MIN_WIDTH, _MAX_WIDTH = 80, 100


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError. Rich would end the process at once, but the demo must stop its processes first."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise BrokenPipeError from None


class Screen:
    """Print the demo on a console, which decides about colours and width."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _Output(highlight=False)
        self.console.width = max(_MIN_WIDTH, min(_MAX_WIDTH, self.console.width))
        plain = self.console.options.ascii_only
        self._signs = {"in": ">", "out": "<", "act": "*"} if plain else {"in": "→", "out": "←", "act": "●"}
        self._parts = 0
        self._health: dict[str, tuple[Any, ...]] = {}

    def opening(self) -> None:
        """Print the heading and the meaning of the signs."""
        self.console.print()
        self.console.print(Text("nemo-bridge demo", style="bold"))
        legend = Text(style="dim")
        legend.append(self._signs["in"], style="cyan").append(" the application emits   ")
        legend.append(self._signs["out"], style="green").append(" the bridge answers or reports   ")
        legend.append(self._signs["act"], style="magenta").append(" the demo acts")
        self.console.print(legend)

    def title(self, headline: str, *explanation: str) -> None:
        """Begin a part: print its number and title."""
        self._parts += 1
        self._headline(f"{self._parts}  {headline}")
        for line in explanation:
            self.console.print(Padding(Text(line, style="italic dim"), (0, 1)))

    def _headline(self, text: str) -> None:
        self.console.print()
        self.console.print(Rule(Text(text, style="bold"), align="left", style="dim"))

    def code(self, text: str) -> None:
        """Print a part of the configuration."""
        self.console.print(Padding(Text(text.strip("\n"), style="dim"), (0, 4)))

    def act(self, what: str) -> None:
        """Print one line for an action of the demo itself, with the current time."""
        self._line(time.time(), "act", Text(what, style="magenta"), None)

    def event(self, event: Event) -> None:
        """Print one line for an event, with its own time stamp; health only when it has changed."""
        if event.event_type.startswith("health.") and not self._has_changed(event):
            return
        detail, style = describe(event)
        way = "out" if (event.source or "").startswith("bridge") else "in"
        self._line(event.timestamp / 1000, way, Text(event.event_type, style=style), Text(detail))

    def _has_changed(self, event: Event) -> bool:
        health = event.payload
        facts = (health["status"], health.get("circuit"))
        known = self._health.get(event.event_type)
        self._health[event.event_type] = facts
        return facts != known

    def _line(self, at: float, way: str, what: Text, detail: Text | None) -> None:
        moment = datetime.fromtimestamp(at).astimezone()
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=13)
        grid.add_column(width=1)
        colour = {"in": "cyan", "out": "green", "act": "magenta"}[way]
        start = (
            Text(f" {moment:%H:%M:%S}.{moment.microsecond // 1000:03d}", style="dim"),
            Text(self._signs[way], style=colour),
        )
        if detail is None:
            grid.add_column()
            grid.add_row(*start, what)
        else:
            grid.add_column(width=_TYPE_WIDTH)
            grid.add_column()
            grid.add_row(*start, what, detail)
        self.console.print(grid)

    def summary(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print the measurements, each with its meaning."""
        self._headline("Every step happened")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(justify="right", style="bold green", no_wrap=True, width=10)
        grid.add_column()
        for number, what in rows:
            grid.add_row(number, what)
        self.console.print(grid)
        self.console.print()

    def failed(self, expected: str, log: str) -> None:
        """Print which step did not happen, and the end of the sidecar's log."""
        self.console.print()
        self.console.print(Text(f"This did not happen: {expected}", style="bold red"))
        if log:
            self.console.print(Text("The end of the sidecar's log:", style="red"))
            self.console.print(Padding(Text(log, style="dim"), (0, 2)))


def describe(event: Event) -> tuple[str, str]:
    """Return the most important fields of an event as text, and the style for its type."""
    kind, payload = event.event_type, event.payload
    if kind.startswith("response."):
        return _response(payload)
    if kind.startswith("health."):
        circuit = payload.get("circuit")
        colour = {"connected": "green", "ready": "green"}.get(payload["status"], "yellow")
        return payload["status"] + (f", circuit {circuit}" if circuit else ""), f"bold {colour}"
    if kind.endswith(".retry"):
        wait = payload["delay_ms"]
        return f"try {payload['attempt']} of {payload['max_attempts']}, next in {wait:.0f} ms", "yellow"
    if kind.endswith(".failed"):
        return f"{payload['error']['kind']}, tries: {payload['attempts']}", "red"
    if kind.endswith(".circuit.opened"):
        return f"after {payload['failures']} failures in a row", "bold red"
    if kind.endswith((".circuit.half_opened", ".circuit.closed")):
        return f"from {payload['from']}", "bold green" if kind.endswith("closed") else "bold yellow"
    if kind.endswith(".shed"):
        return f"{payload['reason']}, {payload['count']} rejected", "yellow"
    return _fields(payload), "cyan" if not (event.source or "").startswith("bridge") else "bold cyan"


def _response(payload: Mapping[str, Any]) -> tuple[str, str]:
    if payload["ok"]:
        tries = "" if payload["attempts"] == 1 else f", tries: {payload['attempts']}"
        return f"ok, {payload['duration_ms']:.1f} ms{tries}", "bold green"
    error = payload["error"]
    if error["kind"] == "circuit_open":
        return f"circuit_open, {payload['duration_ms']:.2f} ms", "bold red"
    return f"{error['kind']}, {payload['duration_ms']:.0f} ms", "bold red"


def _fields(payload: Any) -> str:
    if not isinstance(payload, dict):
        return "" if payload is None else str(payload)
    return ", ".join(f"{name} {value}" for name, value in list(payload.items())[:_MOST_FIELDS])
