"""Record what is printed on a console as SVG."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console


def recording_console(width: int = 92) -> Console:
    """Return a console that prints nowhere and records everything."""
    return Console(
        record=True, width=width, highlight=False, force_terminal=True, color_system="truecolor", file=io.StringIO()
    )


def write_svg(console: Console, title: str, path: Path) -> None:
    """Write what was recorded to a file."""
    _write(_svg(console, title), path)


def write_animation(frames: Sequence[tuple[str, float]], path: Path) -> None:
    """Write pictures that follow each other, again and again, to a file.

    Args:
        frames: The text of each picture, from `frame_svg`, and how many seconds it is shown.
        path: The file.
    """
    whole = sum(seconds for _, seconds in frames)
    size = re.search(r'viewBox="([^"]*)"', frames[0][0])
    assert size is not None
    begin, styles, bodies = 0.0, [], []
    for number, (svg, seconds) in enumerate(frames):
        end = begin + seconds
        steps = f"0%{{visibility:hidden}} {100 * begin / whole:.2f}%{{visibility:visible}} "
        steps += f"{100 * end / whole:.2f}%{{visibility:hidden}}"
        styles.append(f"@keyframes frame{number} {{{steps}}}")
        styles.append(f".frame{number} {{visibility:hidden; animation: frame{number} {whole:g}s step-end infinite}}")
        bodies.append(f'<g class="frame{number}">{svg}</g>')
        begin = end
    # Who wants no motion sees the first picture.
    still = ", ".join(f".frame{number}" for number in range(1, len(frames)))
    styles.append(
        f"@media (prefers-reduced-motion: reduce) {{.frame0 {{animation: none; visibility: visible}} {still} "
        "{animation: none}}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size[1]}">'
    _write("\n".join([head, "<style>", *styles, "</style>", *bodies, "</svg>"]), path)


def frame_svg(console: Console, title: str, number: int) -> str:
    """Return what was recorded as one picture of an animation, and begin the next one."""
    return _svg(console, title, f"frame-{number}")


def _svg(console: Console, title: str, unique_id: str | None = None) -> str:
    svg = console.export_svg(title=title, unique_id=unique_id)
    # An image in a page may load no fonts from elsewhere, so it gets the reader's own.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, monospace")
    return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)


def _write(svg: str, path: Path) -> None:
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", "utf-8")
