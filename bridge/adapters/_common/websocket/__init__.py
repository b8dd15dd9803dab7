"""WebSocket for adapters: `connector` opens connections, `connection` is one, `errors` is the table of errors."""

from typing import Final

from bridge.core.endpoint import Schemes

#: URL scheme → (default port, TLS).
SCHEMES: Final[Schemes] = {"ws": (80, False), "wss": (443, True)}
