"""Each line of the log is explained."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical", "exception"})


def events(source: str) -> Iterator[str]:
    """Return the events that a module logs by name: by `log`, `self._log` or `structlog.get_logger()`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[what, *_]) if level in LEVELS:
                if ast.unparse(logger) in {"log", "self._log", "structlog.get_logger()"}:
                    choices = [what.body, what.orelse] if isinstance(what, ast.IfExp) else [what]
                    yield from (str(one.value) for one in choices if isinstance(one, ast.Constant))


def explained() -> set[str]:
    """Return the events of the table in `docs/operation.md`; one that ends in `…` is the beginning of others."""
    text = (ROOT / "docs/operation.md").read_text("utf-8")
    rows = text.partition("## Reading the log")[2].partition("\n## ")[0].splitlines()
    cells = (row.split("|")[1] for row in rows if row.startswith("| `") and not row.startswith("| `event`"))
    return {one for cell in cells for one in cell.split("`")[1::2]}


def test_each_line_of_the_log_is_explained() -> None:
    """By its own name or by its beginning, so that whoever searches for it finds it; and nothing else is explained."""
    logged = {one for path in (ROOT / "bridge").rglob("*.py") for one in events(path.read_text("utf-8"))}
    # What is not named where it is logged.
    logged |= {"integration paused", "integration stopped", "operation failed", "ended by force"}
    known = explained()
    beginnings = tuple(one.rstrip(" …") for one in known if one.endswith("…"))
    assert len(logged) > 40
    assert not [one for one in logged if one not in known and not one.startswith(beginnings)]
    assert not [
        one for one in known if one not in logged and not any(said.startswith(one.rstrip(" …")) for said in logged)
    ]


def test_events_are_found() -> None:
    """With each of the loggers that the package has, and where one of two is chosen."""
    source = (
        "log.info('a', b=1)\nself._log.warning('c' if x else 'd')\nstructlog.get_logger().critical('e')\nlog.x('f')"
    )
    assert list(events(source)) == ["a", "c", "d", "e"]
