"""Write numbers and times for a person at a terminal, in few characters."""

from collections.abc import Sequence
from typing import Final

from msgspec import UnsetType

from bridge.core.payloads import Series

#: Eight heights of a bar, the lowest first; and what stands for them where the terminal has ASCII only.
_BARS: Final = "▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = "_.-=+*#@"
#: The shortest part of a step, in milliseconds, that a rate is computed of.
_SHORTEST: Final = 2000


def count(number: int) -> str:
    """Return a count: `1,234`, from a million on `1.2 M`."""
    if number >= 1_000_000_000:
        return f"{number / 1e9:.1f} G"
    return f"{number / 1e6:.1f} M" if number >= 1_000_000 else f"{number:,}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return how many of one thing: `1 event`, `3 events`."""
    return f"{count(number)} {one if number == 1 else many or f'{one}s'}"


def rate(number: float) -> str:
    """Return a number a second: `0`, `<0.1`, `3.2`, `120`, `12.3 k`."""
    if number == 0:
        return "0"
    if number < 0.1:
        return "<0.1"
    if number < 9.95:
        return f"{number:.1f}"
    return count(round(number)) if number < 10_000 else f"{number / 1000:.1f} k"


def percent(part: float, whole: float) -> str:
    """Return a part of a whole in percent, as `1.3 %`; only none is `0 %`, only all is `100 %`."""
    if not whole or not part:
        return "0 %"
    found = 100 * part / whole
    if part == whole:
        return "100 %"
    if found < 0.1:
        return "<0.1 %"
    return f"{found:.1f} %" if found < 10 else f"{min(99, round(found))} %"


def duration(milliseconds: float | None) -> str:
    """Return milliseconds: `0.8 ms`, `12 ms`, `1.2 s`, `2 min`; `-` for None."""
    if milliseconds is None:
        return "-"
    if milliseconds < 10:
        return f"{milliseconds:.1f}".removesuffix(".0") + " ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f}".removesuffix(".0") + " s" if milliseconds < 60_000 else age(milliseconds)


def age(milliseconds: float) -> str:
    """Return a long time in one unit: `42 s`, `12 min`, `3 h`, `2 d`."""
    seconds = max(0, int(milliseconds / 1000))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def bars(series: Series | UnsetType, now: int, width: int, *, ascii_only: bool) -> list[tuple[str, bool]]:
    """Return operations of the last minutes as bars, each with whether one failed then.

    Args:
        series: What happened; nothing is drawn for what was left out.
        now: When that was measured, Unix time in milliseconds. The last step may not be over.
        width: How many bars there may be; each stands for as many steps as that needs.
        ascii_only: Draw with ASCII characters.
    """
    if not series:
        return []
    steps = len(series.succeeded)
    each = max(1, -(-steps // max(1, width)))
    last = min(series.step_ms, max(_SHORTEST, now - series.at))
    rates, failed = [], []
    for end in range(steps, 0, -each):
        begin = max(0, end - each)
        lost = sum(series.failed[begin:end])
        lasted = series.step_ms * (end - begin) - (series.step_ms - last if end == steps else 0)
        rates.append((sum(series.succeeded[begin:end]) + lost) / lasted)
        failed.append(lost > 0)
    return list(zip(_heights(rates[::-1], _ASCII_BARS if ascii_only else _BARS), failed[::-1], strict=True))


def _heights(values: Sequence[float], signs: str) -> list[str]:
    most = max(values, default=0)
    last = len(signs) - 1
    return [signs[round(last * value / most)] if value else " " for value in values]
