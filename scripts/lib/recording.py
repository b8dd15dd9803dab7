"""Record what is printed on a console as SVG."""

import io
import re
from pathlib import Path

from rich.console import Console


def recording_console() -> Console:
    """Return a console that prints nowhere and records everything."""
    return Console(
        record=True, width=92, highlight=False, force_terminal=True, color_system="truecolor", file=io.StringIO()
    )


def write_svg(console: Console, title: str, path: Path) -> None:
    """Write what was recorded to a file."""
    svg = console.export_svg(title=title)
    # An image in a page may load no fonts from elsewhere, so it gets the reader's own.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, monospace")
    svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", "utf-8")
