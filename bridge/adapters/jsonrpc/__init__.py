"""JSON-RPC 2.0 over HTTP and WebSocket: `type = "json-rpc"`."""

from bridge.adapters.jsonrpc.adapter import SPEC

__all__ = ["SPEC"]
