"""nemo-bridge: the sidecar between a Nemo application's event bus and the outside world.

`docs/architecture.md` describes how it works and where to find what; start reading at `bridge.gateway`.
"""

from typing import Final

__version__: Final = "0.1.0"
