"""Write a recorded run of the demo as SVG to the file that is named."""

import sys
from pathlib import Path

from recording import recording_console, write_svg

from bridge.cli import demo

console = recording_console()
code = demo.run(console)
if code:
    print(console.export_text())
    sys.exit(code)
write_svg(console, "scripts/demo", Path(sys.argv[1]))
