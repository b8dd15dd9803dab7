"""WebSocket: `type = "websocket"`."""

from bridge.adapters.websocket.adapter import SPEC

__all__ = ["SPEC"]
