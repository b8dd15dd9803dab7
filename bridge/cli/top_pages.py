"""Make the pages of `nemo-bridge top`: the head, and the tables and texts under its tabs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET
from rich.text import Text

from bridge.cli.figures import age, bars, count, counted, duration, percent, rate
from bridge.cli.terminal import json_text
from bridge.cli.top_table import Column, Row, Table
from bridge.core.errors import ErrorObject
from bridge.core.model import FailedAttempt
from bridge.core.payloads import FabricRow, Inspection, IntegrationRow, Overview, Problem, RouteRow
from bridge.core.payloads.dead_letters import Letter
from bridge.core.payloads.measurements import FailedOperation
from bridge.core.payloads.views import Bucket, Rates
from bridge.core.printable import printable
from bridge.observe.summary import URGENCY, span

_HALTED: Final = ("paused", "stopped")
_GOOD: Final = frozenset({"connected", "ready", "closed", "live"})
_ENDED: Final = frozenset({"failed", "disconnected", "open", "stopped"})
#: Cells of the bars in a table.
_SPARK: Final = 20
#: Cells of the longest bar of a histogram.
_BAR: Final = 40

Block = list[Text]
"""Lines that belong together: the filter keeps or hides all of them."""


class Signs(msgspec.Struct, frozen=True):
    """The signs beyond ASCII, and what stands for them where the terminal has no others.

    Attributes:
        ascii_only: Whether there are none.
    """

    ascii_only: bool = False

    @property
    def sorts(self) -> str:
        """Two marks of a heading: sorted with the lowest first, and with the highest first."""
        return "^v" if self.ascii_only else "▴▾"

    def problem(self, severity: str) -> Text:
        """Return the mark of an error or a warning."""
        error, warning = "!*" if self.ascii_only else "▲◆"
        return Text(f"{error} ", "bold red") if severity == "error" else Text(f"{warning} ", "yellow")

    def foreign(self, text: str | None, style: str = "") -> Text:
        """Return text that others wrote; nothing in it controls the terminal."""
        shown = printable(text or "-")
        return Text(shown.encode("ascii", "backslashreplace").decode() if self.ascii_only else shown, style)

    def error(self, error: ErrorObject, style: str = "") -> Text:
        """Return an error as `kind: message`, with the remote's own code."""
        code = "" if error.code is UNSET else f" ({error.code})"
        return self.foreign(f"{error.kind}{code}: {error.message}", style)

    def series(self, row: IntegrationRow, now: int) -> Text:
        """Return the operations of the last 15 minutes; red where one failed."""
        drawn = Text()
        for sign, failed in bars(row.series, now, _SPARK, ascii_only=self.ascii_only):
            drawn.append(sign, "red" if failed else "green")
        return drawn


def state(word: str) -> Text:
    """Return a status or a state of a circuit, coloured."""
    style = "green" if word in _GOOD else "red" if word in _ENDED else "yellow"
    return Text(word.replace("_", "-"), style)


def is_unwell(row: IntegrationRow) -> bool:
    """Return whether an integration that should work does not: connection, circuit or a subscription."""
    return row.status not in _HALTED and (row.status != "connected" or row.circuit != "closed" or row.unwell > 0)


def headline(data: Overview) -> Text:
    """Return one line that says how all are: `10 of 31 integrations are not well`."""
    rows = data.integrations
    wrong = {name for one in data.problems if one.severity == "error" for name in one.integrations}
    unwell = wrong.union(row.integration for row in rows if is_unwell(row))
    halted = [row for row in rows if row.status in _HALTED]
    also = ""
    if halted:
        how = "paused" if all(row.status == "paused" for row in halted) else "paused or stopped"
        also = f", {count(len(halted))} {'is' if len(halted) == 1 else 'are'} {how}"
    if unwell:
        are = "is" if len(unwell) == 1 else "are"
        told = f"{count(len(unwell))} of {counted(len(rows), 'integration')} {are} not well"
        return Text(told + also, "bold red")
    if any(one.severity == "error" for one in data.problems):
        return Text(f"The bridge is not well{also}", "bold red")
    if not rows:
        return Text("There is no integration", "bold")
    told = f"No integration is down{also}" if halted else f"All of {counted(len(rows), 'integration')} are well"
    if len(rows) == 1 and not halted:
        told = "The integration is well"
    return Text(told, "bold yellow" if data.problems else "bold green")


def clock(milliseconds: int, *, millis: bool = False) -> str:
    """Return the local time of day, with the date where it is not today's."""
    when = datetime.fromtimestamp(milliseconds / 1000).astimezone()
    time = f"{when:%H:%M:%S}" + (f".{milliseconds % 1000:03d}" if millis else "")
    return time if when.date() == datetime.now().astimezone().date() else f"{when:%Y-%m-%d} {time}"


def _rates(rates: Rates) -> Text:
    whole = rates.succeeded + rates.failed
    text = Text(f"operations {rate(whole)}/s   ")
    text.append(f"failed {rate(rates.failed)}/s ({percent(rates.failed, whole)})", "red" if rates.failed else "")
    return text.append(
        f"   p50 {duration(rates.p50_ms)}  p95 {duration(rates.p95_ms)}   messages {rate(rates.messages)}/s"
    )


# --- the overview


def overview_head(data: Overview, signs: Signs, most_problems: int) -> Iterator[Text]:
    """Return the lines above the tabs: how the bridge is, how much happens, and what is wrong.

    Args:
        data: The overview.
        signs: How to write.
        most_problems: How many lines the problems may take.
    """
    bridge = data.bridge
    bus, outbox = bridge.bus, bridge.outbox
    yield headline(data)
    yield _rates(data.rates)
    line = Text(f"bus {rate(data.received)}/s in, {rate(data.published)}/s out   ")
    oldest = f", the oldest {age(outbox.oldest_ms)}" if outbox.pending else ""
    line.append(f"outbox {count(outbox.pending)}{oldest}   ", "yellow" if outbox.pending else "")
    line.append(counted(outbox.dead_letters, "dead letter"), "yellow" if outbox.dead_letters else "")
    for number, what in ((bus.rejected, "rejected"), (bus.missing, "missing"), (bus.dropped, "dropped")):
        if number:
            line.append(f"   {count(number)} {what}", "yellow")
    yield line
    if data.fabrics is not UNSET:
        yield _fabrics(data.fabrics, signs)
    problems = data.problems
    shown = problems if len(problems) <= most_problems else problems[: max(0, most_problems - 1)]
    for problem in shown:
        line = _problem(problem, data.at, signs, f"{_names(problem.integrations)}  " if problem.integrations else "")
        line.no_wrap = True  # all of it is in the list of problems
        yield line
    if len(shown) < len(problems) and most_problems:
        yield Text(f"  and {counted(len(problems) - len(shown), 'more problem')}: key 2", "dim")


def _fabrics(rows: Sequence[FabricRow], signs: Signs) -> Text:
    """Return one line for all fabrics; of each its status, how many nodes are connected, and what is wrong."""
    line = Text(no_wrap=True)  # what is wrong is among the problems, too
    for row in rows:
        line.append(", " if line else "fabric ").append_text(signs.foreign(row.fabric, "bold")).append(" ")
        line.append_text(state(row.status))
        line.append(f" {count(row.connected)} of {counted(row.nodes, 'node')}")
        for number, told in ((row.lost, "lost"), (row.warnings, "warning" if row.warnings == 1 else "warnings")):
            if number:
                line.append(f", {count(number)} {told}", "yellow")
        if row.error is not None:
            line.append(" ").append_text(signs.error(row.error, "red"))
    return line


def _problem(problem: Problem, now: int, signs: Signs, names: str = "") -> Text:
    since = f"{age(now - problem.since):>6}  "
    line = Text.assemble(signs.problem(problem.severity), (since, "dim"), signs.foreign(names, "bold") if names else "")
    return line.append_text(signs.foreign(problem.text))


def _names(names: Sequence[str], most: int = 3) -> str:
    left = len(names) - most
    return ", ".join(names) if left <= 1 else f"{', '.join(names[:most])} and {count(left)} more"


_INTEGRATIONS: Final = (
    Column("integration", 20, narrow=14),
    Column("type", 6),
    Column("status", 19),
    Column("for", 15, right=True),
    Column("circuit", 16),
    Column("op/s", 18, right=True),
    Column("failed/s", 17, right=True),
    Column("p50", 4, right=True),
    Column("p95", 8, right=True),
    Column("in flight", 3, right=True),
    Column("queued", 7, right=True),
    Column("outbox", 12, right=True),
    Column("dead", 11, right=True),
    Column("in/s", 9, right=True),
    Column("15 minutes", 5),
)


def integrations(data: Overview, signs: Signs) -> Table:
    """Return the table of all integrations, those that are not well first."""
    return Table(_INTEGRATIONS, [_integration(row, data.at, signs) for row in data.integrations], "There is none.")


def _integration(row: IntegrationRow, now: int, signs: Signs) -> Row:
    rates = row.rates
    whole = rates.succeeded + rates.failed
    below = Text()
    if row.error is not None:
        below = signs.error(row.error, "red")
    for number, what in ((row.unwell, "subscription"), (row.warnings, "warning"), (row.dropped, "message")):
        if number:
            told = counted(number, what) + {"subscription": " not live", "message": " from outside dropped"}.get(
                what, ""
            )
            below.append(f"{', ' if below else ''}{told}", "yellow")
    return Row(
        row.integration,
        (
            signs.foreign(row.integration, "bold red" if is_unwell(row) else ""),
            signs.foreign(row.type, "dim"),
            state(row.status),
            Text(age(now - row.since)),
            Text() if row.circuit == "closed" else state(row.circuit),
            _number(whole, rate(whole)),
            _number(rates.failed, rate(rates.failed), "red"),
            Text(duration(rates.p50_ms)),
            Text(duration(rates.p95_ms)),
            _number(row.in_flight, count(row.in_flight)),
            _number(row.queued, count(row.queued)),
            _number(row.pending, count(row.pending), "yellow"),
            _number(row.dead_letters, count(row.dead_letters), "yellow"),
            _number(rates.messages, rate(rates.messages)),
            signs.series(row, now),
        ),
        (
            row.integration,
            row.type,
            URGENCY.index(row.status),
            -row.since,
            ("open", "half_open", "closed").index(row.circuit),
            -whole,
            -rates.failed,
            -(rates.p50_ms or -1),
            -(rates.p95_ms or -1),
            -row.in_flight,
            -row.queued,
            -row.pending,
            -row.dead_letters,
            -rates.messages,
            -whole,
        ),
        row.integration,
        below or None,
    )


def _number(value: float, text: str, style: str = "") -> Text:
    return Text(text, style if value else "dim")


def problems(data: Overview, signs: Signs) -> list[Block]:
    """Return all problems, each with the names of all integrations that it concerns."""
    found = []
    for one in data.problems:
        block = [_problem(one, data.at, signs)]
        if one.integrations:
            block.append(signs.foreign(f"          {', '.join(one.integrations)}", "bold"))
        found.append(block)
    return found


def _routes(rows: Iterable[RouteRow], signs: Signs, *, of_one: bool = False) -> Table:
    columns = (
        Column("route", 9, narrow=16),
        Column("on", 8, narrow=16),
        Column("integration", 1 if of_one else 7, narrow=12),
        Column("operation", 4),
        Column("durable", 3),
        Column("op/s", 10, right=True),
        Column("succeeded", 5, right=True),
        Column("failed", 6, right=True),
    )
    made = [
        Row(
            f"{number} {row.route}",
            (
                signs.foreign(row.route),
                signs.foreign(", ".join(row.on)),
                signs.foreign(row.integration),
                signs.foreign(row.operation),
                Text("yes" if row.durable else ""),
                _number(row.rate, rate(row.rate)),
                _number(row.succeeded, count(row.succeeded)),
                _number(row.failed, count(row.failed), "red"),
            ),
            (
                row.route,
                row.on,
                row.integration,
                row.operation,
                not row.durable,
                -row.rate,
                -row.succeeded,
                -row.failed,
            ),
            None if of_one else row.integration,
        )
        for number, row in enumerate(rows)
    ]
    return Table(columns, made, "None: only commands use it." if of_one else "There is none.")


def routes(data: Overview, signs: Signs) -> Table:
    """Return the table of the routes."""
    return _routes(data.routes, signs)


def subscriptions(data: Overview, signs: Signs) -> Table:
    """Return the table of the subscriptions of all integrations."""
    columns = (
        Column("integration", 7, narrow=12),
        Column("subscription", 5, narrow=14),
        Column("topic or queue", 8, narrow=16),
        Column("emits", 6, narrow=16),
        Column("in/s", 10, right=True),
        Column("messages", 4, right=True),
    )
    made = [
        Row(
            f"{row.integration} {row.subscription}",
            (
                signs.foreign(row.integration),
                signs.foreign(row.subscription),
                signs.foreign(row.topic),
                signs.foreign(row.emit or f"message.{row.integration}"),
                _number(row.rate, rate(row.rate)),
                _number(row.messages, count(row.messages)),
            ),
            (row.integration, row.subscription, row.topic, row.emit or "", -row.rate, -row.messages),
            row.integration,
        )
        for row in data.subscriptions
    ]
    return Table(columns, made, "There is none.")


# --- one integration


def integration_head(data: Inspection, signs: Signs, most_troubles: int) -> Iterator[Text]:
    """Return the lines above the tabs: how the integration is, why, and how much happens.

    Args:
        data: What is known of the integration.
        signs: How to write.
        most_troubles: How many lines errors and warnings may take.
    """
    row, health = data.row, data.health
    before = "" if health.previous is None else f", {health.previous} before"
    line = Text.assemble(signs.foreign(row.integration, "bold"), "  ", signs.foreign(row.type, "dim"), "  ")
    line.append_text(state(row.status)).append(f" for {span(data.at - row.since)}{before}   circuit ")
    yield line.append_text(state(row.circuit))
    troubles = list(_troubles(data, signs))
    shown = troubles if len(troubles) <= most_troubles else troubles[: max(0, most_troubles - 1)]
    yield from shown
    if len(shown) < len(troubles) and most_troubles:
        yield Text(f"  and {count(len(troubles) - len(shown))} more", "dim")
    yield _rates(row.rates)
    line = Text(f"in flight {count(row.in_flight)}   queued {count(row.queued)}   ")
    line.append(f"outbox {count(row.pending)}   ", "yellow" if row.pending else "")
    line.append(counted(row.dead_letters, "dead letter"), "yellow" if row.dead_letters else "")
    yield line.append(f"   health check {duration(health.latency_ms)}   {counted(health.reconnects, 'reconnection')}")
    sums = health.accounting
    parts = (
        (sums.succeeded, "succeeded"),
        (sums.failed, "failed"),
        (sums.dead_lettered, "dead-lettered"),
        (sums.expired, "expired"),
        (sums.shed, "shed"),
    )
    told = ", ".join(f"{count(number)} {what}" for number, what in parts if number) or "none yet"
    yield Text(
        f"since the start: {told}; {counted(data.attempts, 'attempt')}, {count(data.retries)} of them retries", "dim"
    )
    if data.failures:
        kinds = sorted(data.failures.items(), key=lambda one: -one[1])
        told = ", ".join(f"{kind} {count(number)}" for kind, number in kinds)
        yield signs.foreign(f"failed by kind: {told}", "dim")


def _troubles(data: Inspection, signs: Signs) -> Iterator[Text]:
    health = data.health
    if data.row.error is not None:
        yield Text.assemble(signs.problem("error"), signs.error(data.row.error, "red"))
    for name, one in health.subscriptions.items():
        line = Text.assemble(signs.problem("error"), signs.foreign(f"subscription {name}: {one.status}", "red"))
        yield line if one.error is None else line.append(": ").append_text(signs.error(one.error, "red"))
    if health.dropped:
        told = f"{counted(health.dropped, 'message')} from outside could not become an event"
        yield Text.assemble(signs.problem("error"), (told, "red"))
    for text in health.warnings:
        yield Text.assemble(signs.problem("warning"), signs.foreign(text, "yellow"))


def failures(data: Inspection, signs: Signs) -> list[Block]:
    """Return the last failed operations, the newest first, each with all its attempts."""
    return [_failure(one, data.at, signs) for one in data.failed] or _nothing(
        "No operation has failed after an attempt."
    )


def _failure(one: FailedOperation, now: int, signs: Signs) -> Block:
    head = _happened(one.at, now)
    head.append_text(signs.foreign(one.route or one.operation, "bold")).append("  ")
    head.append_text(signs.error(one.error, "red"))
    head.append(f"  {counted(one.attempts, 'attempt')}, {duration(one.duration_ms)}", "dim")
    facts = f"    {one.operation}{', from the outbox' if one.durable else ''}, because of {one.cause.event_type}"
    facts += f" from {one.cause.source or 'an unnamed program'}, number {one.cause.id}"
    if one.correlation_id is not None:
        facts += f", correlation id {one.correlation_id}"
    if one.traceparent is not None:
        facts += f", trace {one.traceparent}"
    return [head, signs.foreign(facts, "dim"), *_attempts(one.history, one.attempts, signs)]


def _happened(at: int, now: int) -> Text:
    return Text.assemble((f"{clock(at)}  ", "bold"), (f"{age(now - at)} ago  ", "dim"))


def _attempts(history: Sequence[FailedAttempt], attempts: int, signs: Signs) -> Iterator[Text]:
    """Return a line for each attempt; of many, those in the middle are not known."""
    left = attempts - len(history)
    half = len(history) if left <= 0 else len(history) // 2
    for at, one in enumerate(history):
        if at == half:
            yield Text(f"    {counted(left, 'attempt')} between them are not kept", "dim")
        number = at + 1 if at < half else left + at + 1
        line = Text(f"    {number:>3}  {clock(one.at, millis=True)}  {duration(one.duration_ms):>8}  ")
        yield line.append_text(signs.error(one.error))


def circuit(data: Inspection, signs: Signs) -> list[Block]:
    """Return the last changes of the circuit, the newest first, and how long each state lasted."""
    found, until = [], data.at
    for one in data.circuit:
        line = Text.assemble((f"{clock(one.at, millis=True)}  ", "bold"), state(one.state))
        line.append(f" for {duration(until - one.at)}")
        if one.error is not None:
            line.append("  because of ").append_text(signs.error(one.error, "red"))
        elif one.state == "open":
            line.append("  because of a command")
        found.append([line])
        until = one.at
    return found or _nothing("The circuit has been closed since the start.")


def durations(data: Inspection, signs: Signs) -> list[Block]:
    """Return a histogram for each operation."""
    found = [
        [signs.foreign(name, "bold"), *_histogram(buckets, signs), Text()]
        for name, buckets in data.durations.items()
        if any(one.count for one in buckets)
    ]
    return found or _nothing("No operation has had an attempt.")


def _histogram(buckets: Sequence[Bucket], signs: Signs) -> Iterator[Text]:
    """Return a line for each bucket, from the first to the last that is not empty."""
    used = [at for at, one in enumerate(buckets) if one.count]
    most = max(one.count for one in buckets)
    sign = "#" if signs.ascii_only else "█"
    for one in buckets[used[0] : used[-1] + 1]:
        limit = f"up to {duration(one.up_to_ms)}" if one.up_to_ms is not None else "more"
        bar = sign * max(1, round(_BAR * one.count / most)) if one.count else ""
        yield Text.assemble(f"  {limit:>13}  ", (bar, "green"), f" {count(one.count)}")


def integration_routes(data: Inspection, signs: Signs) -> Table:
    """Return the table of the routes that use the integration."""
    return _routes(data.routes, signs, of_one=True)


def integration_subscriptions(data: Inspection, signs: Signs) -> Table:
    """Return the table of the integration's subscriptions."""
    columns = (
        Column("subscription", 6, narrow=14),
        Column("topic or queue", 9, narrow=16),
        Column("emits", 5, narrow=16),
        Column("status", 10),
        Column("asked for by", 3, narrow=14),
        Column("messages", 8, right=True),
    )
    is_live = data.row.status in {"connected", "degraded"}
    made = []
    for one in data.subscriptions:
        trouble = data.health.subscriptions.get(one.subscription)
        status = trouble.status if trouble is not None else "live" if is_live else str(data.row.status)
        by = "the configuration" if one.asked is None else one.asked.source or "an unnamed program"
        below = None if trouble is None or trouble.error is None else signs.error(trouble.error, "red")
        cells = (
            signs.foreign(one.subscription),
            signs.foreign(one.topic),
            signs.foreign(one.emit or f"message.{data.row.integration}"),
            state(status),
            signs.foreign(by),
            _number(one.messages, count(one.messages)),
        )
        values = (*(cell.plain for cell in cells[:5]), -one.messages)
        made.append(Row(one.subscription, cells, values, None, below))
    return Table(columns, made, "There is none.")


def letters(data: Inspection, signs: Signs) -> list[Block]:
    """Return the oldest dead letters, each with its attempts and its event."""
    found = [_letter(one, data.at, signs) for one in data.dead_letters]
    left = data.row.dead_letters - len(found)
    if found and left > 0:
        found.append([Text(f"{count(left)} more: nemo-bridge dead-letters list", "dim")])
    return found or _nothing("They could not be read." if data.row.dead_letters else "There is none.")


def _letter(one: Letter, now: int, signs: Signs) -> Block:
    head = _happened(one.at, now).append_text(signs.foreign(f"{one.letter_id}  ", "bold"))
    head.append_text(signs.foreign(one.route)).append("  ").append_text(signs.error(one.error, "red"))
    head.append(f"  {counted(one.attempts, 'attempt')}", "dim")
    event = one.event
    facts = f"    {one.operation}, key {one.idempotency_key}, event {event.event_type}"
    facts += f" from {event.source or 'an unnamed program'} at {clock(event.timestamp)}"
    if event.correlation_id is not None:
        facts += f", correlation id {event.correlation_id}"
    block = [head, signs.foreign(facts, "dim")]
    if one.unknown:
        told = "    The remote may have acted on it: it has not answered, and the call must not be repeated."
        block.append(Text(told, "yellow"))
    block.extend(_attempts(one.history, one.attempts, signs))
    payload = "left out, it is too large" if one.cut else json_text(event.payload)
    return [*block, signs.foreign(f"    payload {payload}")]


def configuration(data: Inspection, signs: Signs) -> list[Block]:
    """Return the settings, one block for each key; secrets are masked."""
    return list(_settings(data.configuration, signs)) or _nothing("There is none.")


def _settings(settings: Mapping[str, Any], signs: Signs) -> Iterator[Block]:
    for key, value in settings.items():
        lines = json_text(value, indent=2).split("\n")
        yield [signs.foreign(f"{key} = {lines[0]}"), *(signs.foreign(line) for line in lines[1:])]


def _nothing(text: str) -> list[Block]:
    return [[Text(text, "dim")]]
