"""What is measured of the sidecar, and how it is judged: by the slope of each figure over the later part of the run."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Share of a run that is not judged: of 30 minutes the first ten fill what is kept for ten minutes, and in the next ten
#: its turnover makes the allocator's holes, which then stay.
WARM_UP: Final = 2 / 3
#: Figure → its unit, and by how much it may grow over the judged part.
FIGURES: Final[dict[str, tuple[str, float]]] = {
    "resident": ("MiB", 4.0),
    "descriptors": ("", 3.0),
    "threads": ("", 1.0),
    "lag": ("ms", 5.0),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """Measurements of the sidecar at one moment.

    Attributes:
        at: Seconds since the start.
        resident: MiB of memory.
        descriptors: Open files and sockets.
        threads: Threads.
        lag: Median round trip of a ping over the bus since the last sample, in milliseconds.
        worst: The longest of them.
        processor: Seconds of processor time used since the start of the sidecar.
    """

    at: float
    resident: float
    descriptors: float
    threads: float
    lag: float
    worst: float
    processor: float


@dataclass(frozen=True, slots=True)
class Slope:
    """How one figure changed over the later part of the run; `an_hour` is None where it does not depend on time."""

    figure: str
    first: float
    last: float
    an_hour: float | None
    growth: float
    allowed: float

    @property
    def good(self) -> bool:
        """Whether it grew no more than is allowed."""
        return self.growth <= self.allowed

    def __str__(self) -> str:
        unit = FIGURES.get(self.figure, ("MiB", 0.0))[0]
        word = "ok" if self.good else "TOO MUCH"
        slope = "" if self.an_hour is None else f"slope {self.an_hour:+8.2f} {unit}/h  "
        ends = f"{self.first:8.2f} → {self.last:8.2f} {unit:<3}"
        return f"{self.figure:<12} {ends}  {slope}growth {self.growth:+6.2f} of {self.allowed:g} allowed  {word}"


def take(pid: int, at: float, trips: Sequence[float]) -> Sample:
    """Measure a process now, from /proc; Linux only.

    Args:
        pid: The sidecar.
        at: Seconds since the start.
        trips: Round trips of pings since the last sample, in seconds.
    """
    place = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    return Sample(
        at=at,
        resident=int(status["VmRSS"].split()[0]) / 1024,
        descriptors=len(list((place / "fd").iterdir())),
        threads=int(status["Threads"]),
        lag=statistics.median(trips) * 1000 if trips else 0.0,
        worst=max(trips, default=0.0) * 1000,
        processor=(int(fields[11]) + int(fields[12])) / 100,
    )


def slopes(samples: Sequence[Sample]) -> list[Slope]:
    """Return the slope of each figure: the median of those of all pairs (Theil and Sen), which peaks do not change."""
    judged = [one for one in samples if one.at >= samples[-1].at * WARM_UP]
    span = judged[-1].at - judged[0].at
    found = []
    for figure, (_, allowed) in FIGURES.items():
        points = [(one.at, float(getattr(one, figure))) for one in judged]
        pairs = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(points, 2)]
        slope = statistics.median(pairs) if pairs else 0.0
        ends = max(1, len(points) // 10)
        first = statistics.median(value for _, value in points[:ends])
        last = statistics.median(value for _, value in points[-ends:])
        found.append(Slope(figure, first, last, slope * 3600, slope * span, allowed))
    return found
