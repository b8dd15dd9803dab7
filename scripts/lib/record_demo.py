"""Write a recorded run of the demo as SVG to the file that is named."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from bridge.cli import demo

console = Console(
    record=True, width=92, highlight=False, force_terminal=True, color_system="truecolor", file=io.StringIO()
)
code = demo.run(console)
if code:
    print(console.export_text())
    sys.exit(code)
svg = console.export_svg(title="scripts/demo")
# An image in a page may load no fonts from elsewhere, so it gets the reader's own.
svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
svg = svg.replace("font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, monospace")
svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
Path(sys.argv[1]).write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", "utf-8")
