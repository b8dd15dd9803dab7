"""How rows look to a person."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench_lib.rows import Figure, Row


def show(console: Console, rows: Sequence[Row]) -> None:
    """One table, then what must be said in words."""
    table = Table(title_justify="left", header_style="bold")
    table.add_column("way", overflow="fold")
    table.add_column("candidate")
    for heading in ("rate/s", "CPU µs", "p50 ms", "p99 ms", "times naive", "times alone"):
        table.add_column(heading, justify="right")
    table.add_column("asked")
    table.add_column("measured", justify="right")
    table.add_column("verdict")
    for row in rows:
        _add(table, row)
        table.add_section()
    console.print(table)
    for row in rows:
        if row.figures:
            figures = "; ".join(f"{what} {_short(value)}" for what, value in row.figures.items())
            console.print(f"[dim]also[/]  {row.title}: {figures}", highlight=False)
        for problem in row.problems:
            console.print(f"[bold red]wrong[/] {row.title}: {problem}", highlight=False)
        for note in row.notes:
            console.print(f"[yellow]note[/]  {row.title}: {note}", highlight=False)


def _add(table: Table, row: Row) -> None:
    asked = "\n".join(map(str, row.checks)) or "-"
    measured = "\n".join(_short(check.value) for check in row.checks) or "-"
    verdict = "\n".join("[green]met[/]" if check.met else "[red]missed[/]" for check in row.checks) or "-"
    if row.problems:
        verdict = "[bold red]wrong[/]"
    if row.skipped is not None:
        table.add_row(row.title, "", "", "", "", "", "", "", "-", "-", f"skipped: {row.skipped}")
    elif not row.samples:
        table.add_row(row.title, "sidecar", "-", "-", "-", "-", "-", "-", asked, measured, verdict)
    last = list(row.samples)[-1] if row.samples else ""
    for index, name in enumerate(row.samples):
        table.add_row(
            row.title if index == 0 else "",
            name,
            _spread(row.figure(name, "rate")),
            _spread(row.figure(name, "cpu_us")),
            _one(row.figure(name, "p50")),
            _one(row.figure(name, "p99")),
            _spread(row.ratio(name, "naive", "rate")) if name != "naive" else "",
            _spread(row.ratio(name, "alone", "rate")) if name != "naive" and not name.startswith("alone") else "",
            *((asked, measured, verdict) if name == last else ("", "", "")),
        )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _one(figure: Figure | None) -> str:
    return "-" if figure is None else _short(figure.median)


def _spread(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    if figure.low == figure.high:
        return _short(figure.median)
    return f"{_short(figure.median)} [dim]({_short(figure.low)} to {_short(figure.high)})[/]"
