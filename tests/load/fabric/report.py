"""How a part of the test ended."""

from dataclasses import dataclass, field


@dataclass
class Report:
    """The result of one part, or of one seed of it.

    Attributes:
        name: Which part.
        figures: What a person wants to know: name → value with its unit, in order.
        violations: What must never be, each one line.
    """

    name: str
    figures: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def note(self, what: str, found: list[object]) -> None:
        """Add a violation where something was found."""
        if found:
            self.violations.append(f"{len(found)} {what}, as {found[:3]}")

    def lines(self) -> list[str]:
        """Return it for a person."""
        figures = ", ".join(f"{name} {value}" for name, value in self.figures.items())
        return [f"{self.name}: {figures}", *(f"  VIOLATED  {violation}" for violation in self.violations)]
