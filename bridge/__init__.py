"""nemo-bridge: the sidecar between a Nemo application's event bus and the outside world.

The way through the house is drawn in `docs/architecture.md`; start reading at `bridge.gateway`.
"""

from typing import Final

__version__: Final = "0.1.0"
