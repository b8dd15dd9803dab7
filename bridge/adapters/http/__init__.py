"""HTTP requests, polling and server-sent events: `type = "http"`."""

from bridge.adapters.http.adapter import SPEC

__all__ = ["SPEC"]
