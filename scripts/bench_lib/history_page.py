"""The page of the history: the newest record in full, and the ratios and figures of all of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Record = Mapping[str, Any]

_HEAD: Final = """\
# Benchmarks

What `scripts/bench` measured of some commits. The page is written from `docs/benchmarks.json` by
`scripts/bench --record docs`. [Tuning](tuning.md#speed) tells what the numbers mean for a bridge.

Judge by the ratios. Each is of one run, in which the candidates took turns. Absolute figures differ by up to a factor
of two from machine to machine and from minute to minute. Processor time of a message differs least.

- *Naive* is a simple program with the same client libraries, which awaits one call for each message.
- *Benthos* is the stream processor in Go, version 4.27 with ZeroMQ and only the components that are needed, on the same
  work: it decodes each event and sends its payload as JSON, or parses JSON and makes an event of it. It binds the bus
  itself, so no broker is between it and the load. The sidecar's own broker is part of its processor time.
- *Benthos, tuned* has batches, larger reads and a larger heap (`GOGC=400`). Batches trade latency for throughput, so
  they are no help at a steady pace.
"""
#: Candidates that are compared; the sidecar's ratio to each of the others is shown.
_NAMES: Final = {"naive": "naive", "sidecar": "sidecar", "benthos": "Benthos", "benthos_tuned": "Benthos, tuned"}
#: The ways through a server, as columns of the history.
_WAYS: Final = {
    "nats-out": "bus → NATS",
    "redis-out": "bus → Redis",
    "mqtt-out": "bus → MQTT",
    "nats-in": "NATS → bus",
    "redis-in": "Redis → bus",
    "mqtt-in": "MQTT → bus",
}
#: Figures of the history, by row and name.
_FIGURES: Final = {
    ("start", "sidecar_first_message_ms"): "first message, ms",
    ("commands", "help_ms"): "`--help`, ms",
    ("commands", "check_ms"): "`check`, ms",
    ("memory", "sidecar_one_mb"): "one integration, MB",
    ("memory", "sidecar_four_mb"): "four, MB",
    ("memory", "sidecar_flood_mb"): "flood, MB",
    ("idle", "cpu_percent"): "idle, % of a core",
}
_PACED: Final = "-paced"
_AT_PACE: Final = {f"{name}{_PACED}": title for name, title in {"rpc": "RPC", **_WAYS}.items()}
#: Title, the other candidate, the quantity, and the rows that are the columns.
_TRENDS: Final = (
    ("Messages a second, times naive", "naive", "rate", {"rpc-32": "RPC, 32 callers", **_WAYS}),
    ("Messages a second, times Benthos tuned", "benthos_tuned", "rate", {"rpc-64": "RPC, 64 callers", **_WAYS}),
    ("Processor time of a message at a steady pace, ÷ naive", "naive", "cpu_us", _AT_PACE),
    ("Processor time of a message at a steady pace, ÷ Benthos", "benthos", "cpu_us", _AT_PACE),
)


def page(records: Sequence[Record]) -> str:
    """The page, in Markdown; the newest record is the last one."""
    parts = [*_newest(records[-1]), *_history(records)] if records else ["Nothing is recorded yet."]
    return "\n".join([_HEAD, *parts]).rstrip("\n") + "\n"


def _newest(record: Record) -> Iterator[str]:
    rows = record["rows"]
    compared = {name: row for name, row in rows.items() if {"naive", "sidecar"} <= row["candidates"].keys()}
    flood = [row for name, row in compared.items() if not name.endswith(_PACED)]
    paced = [row for name, row in compared.items() if name.endswith(_PACED)]
    yield f"## Commit {record['commit']}\n"
    yield f"{record['date']}, {record['machine']}.\n"
    yield from _compared("Messages a second, as many as go through", flood, "rate")
    yield from _compared("Processor time of each of these messages, µs", flood, "cpu_us")
    yield from _compared("Latency of these RPCs, 99th percentile, ms", flood, "p99_ms")
    yield from _compared("Processor time of a message at a steady pace, µs", paced, "cpu_us")
    yield from _compared("Latency at a steady pace, median, ms", paced, "p50_ms")
    yield from _compared("Latency at a steady pace, 99th percentile, ms", paced, "p99_ms")
    yield from _table(
        "Other comparisons",
        ("path", "candidate", "messages/s", "µs of processor"),
        [
            (row["title"], name, _short(one.get("rate")), _short(one.get("cpu_us")))
            for name_of_row, row in rows.items()
            if name_of_row not in compared
            for name, one in row["candidates"].items()
        ],
    )
    yield from _table(
        "Figures",
        ("of", "figure", "value"),
        [
            (row["title"], figure.replace("_", " "), _short(value))
            for row in rows.values()
            for figure, value in row["figures"].items()
        ],
    )


def _compared(title: str, rows: Sequence[Mapping[str, Any]], quantity: str) -> Iterator[str]:
    """A table of one quantity: each candidate's, and the sidecar's ratio to each other one."""
    measured = [row["candidates"] for row in rows]
    names = [name for name in _NAMES if any(quantity in candidates.get(name, ()) for candidates in measured)]
    others = [name for name in names if name != "sidecar"]
    yield from _table(
        title,
        ("path", *(_NAMES[name] for name in names), *(f"÷ {_NAMES[name]}" for name in others)),
        [
            (
                row["title"],
                *(_short(row["candidates"].get(name, {}).get(quantity)) for name in names),
                *(_short(_ratio(row, name, quantity)) for name in others),
            )
            for row in rows
            if quantity in row["candidates"]["sidecar"]
        ],
    )


def _history(records: Sequence[Record]) -> Iterator[str]:
    yield "## All commits\n"
    for title, other, quantity, columns in _TRENDS:
        yield from _table(
            title,
            ("date", "commit", *columns.values()),
            [
                (record["date"], record["commit"], *ratios)
                for record in reversed(records)
                if set(ratios := [_short(_ratio(record["rows"].get(row), other, quantity)) for row in columns]) != {"-"}
            ],
        )
    yield from _table(
        "Start and memory of the sidecar",
        ("date", "commit", *_FIGURES.values()),
        [
            (
                record["date"],
                record["commit"],
                *(_short(record["rows"].get(row, {}).get("figures", {}).get(name)) for row, name in _FIGURES),
            )
            for record in reversed(records)
        ],
    )


def _ratio(row: Mapping[str, Any] | None, other: str, quantity: str) -> float | None:
    """The sidecar's quantity, as a part of another candidate's."""
    candidates = {} if row is None else row["candidates"]
    one, two = (candidates.get(name, {}).get(quantity) for name in ("sidecar", other))
    return one / two if one is not None and two else None


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A heading and a table; nothing where there are no rows."""
    if rows:
        yield f"### {title}\n"
        for cells in (headings, ["---"] * len(headings), *rows):
            yield f"| {' | '.join(cells)} |"
        yield ""
