"""What is measured and how it is judged: samples, rows, checks. Rates are per second, latencies in milliseconds."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often to measure.

    Attributes:
        rounds: Each round measures every candidate once, so that a slow minute of the machine hits them all.
        server_rounds: The same for the ways through a server, of which there are many.
        seconds: Length of one measurement.
        idle_seconds: How long an idle sidecar is watched.
        say: Tells a person what is being done.
        against: A Benthos-compatible program to measure beside the sidecar, if there is one.
        pace: Messages a second that are sent one by one; None sends as many as go through.
    """

    rounds: int
    server_rounds: int
    seconds: float
    idle_seconds: float
    say: Callable[[str], None]
    against: Path | None = None
    pace: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one candidate.

    Attributes:
        rate: Units of work a second.
        p50: Median latency, None where there is no caller who waits.
        p99: The latency that 1 % exceed.
        done: Units of work that were completed.
        cpu_us: Microseconds of processor time of the bridge for each unit of work, None where it is not looked at.
        problems: What was wrong: anything lost, answered twice, answered wrongly.
        notes: What a reader of the numbers should know.
    """

    rate: float
    p50: float | None = None
    p99: float | None = None
    done: int = 0
    cpu_us: float | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of several values, and how far they spread."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Raises ValueError for no values."""
        return cls(statistics.median(values), min(values), max(values))

    def to_json(self) -> dict[str, float]:
        """For machines."""
        return {"median": round(self.median, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


@dataclass(frozen=True, slots=True)
class Check:
    """One demand: `value` must be at least, or at most, `asked`."""

    what: str
    value: float
    relation: Literal["≥", "≤"]
    asked: float

    @property
    def met(self) -> bool:
        """Whether the demand is met."""
        return self.value >= self.asked if self.relation == "≥" else self.value <= self.asked

    def __str__(self) -> str:
        return f"{self.what} {self.relation} {self.asked:.3g}"

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        value = round(self.value, 4)
        return {"what": self.what, "value": value, "relation": self.relation, "asked": self.asked, "met": self.met}


Quantity = Literal["rate", "p50", "p99", "cpu_us"]


@dataclass
class Row:
    """One row of the targets: candidates measured on the same work in the same run.

    Attributes:
        name: For `--json` and for choosing it.
        title: For a person.
        samples: Candidate → one sample a round, in the order in which they were taken.
        figures: Single values that are no rate, such as megabytes.
        checks: What is asked.
        skipped: Why nothing was measured.
    """

    name: str
    title: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    skipped: str | None = None

    def add(self, candidate: str, sample: Sample) -> None:
        """Record one measurement."""
        self.samples.setdefault(candidate, []).append(sample)

    def fail(self, candidate: str, problem: str) -> None:
        """Say what was seen to be wrong after the measurement."""
        samples = self.samples[candidate]
        samples[-1] = dataclasses.replace(samples[-1], problems=(*samples[-1].problems, problem))

    def values(self, candidate: str, quantity: Quantity) -> list[float]:
        """One quantity of each round; empty where it was not measured."""
        values = [getattr(sample, quantity) for sample in self.samples.get(candidate, ())]
        return [value for value in values if value is not None]

    def figure(self, candidate: str, quantity: Quantity) -> Figure | None:
        """The median of a quantity over the rounds."""
        values = self.values(candidate, quantity)
        return Figure.of(values) if values else None

    def ratio(self, candidate: str, other: str, quantity: Quantity) -> Figure | None:
        """Each round's ratio for itself, then the median: within a round the machine was about the same."""
        pairs = list(zip(self.values(candidate, quantity), self.values(other, quantity), strict=False))
        return Figure.of([one / two for one, two in pairs if two]) if pairs and all(two for _, two in pairs) else None

    def ask(self, what: str, figure: Figure | None, relation: Literal["≥", "≤"], asked: float) -> None:
        """Judge a figure; what could not be measured is no check but a problem of its samples."""
        if figure is not None:
            self.checks.append(Check(what, figure.median, relation, asked))

    @property
    def problems(self) -> list[str]:
        """Everything wrong in any sample, each with its candidate, none twice."""
        found = [
            f"{name}: {text}" for name, samples in self.samples.items() for one in samples for text in one.problems
        ]
        return list(dict.fromkeys(found))

    @property
    def notes(self) -> list[str]:
        """What a reader should know, each with its candidate, none twice."""
        found = [f"{name}: {text}" for name, samples in self.samples.items() for one in samples for text in one.notes]
        return list(dict.fromkeys(found))

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        candidates = {}
        for name, samples in self.samples.items():
            entry: dict[str, Any] = {"done": sum(sample.done for sample in samples), "rounds": len(samples)}
            for quantity, key in (("rate", "rate"), ("p50", "p50_ms"), ("p99", "p99_ms"), ("cpu_us", "cpu_us")):
                figure = self.figure(name, quantity)  # type: ignore[arg-type]
                entry[key] = None if figure is None else figure.to_json()
            candidates[name] = entry
        return {
            "name": self.name,
            "title": self.title,
            "candidates": candidates,
            "figures": self.figures,
            "checks": [check.to_json() for check in self.checks],
            "problems": self.problems,
            "notes": self.notes,
            "skipped": self.skipped,
        }
