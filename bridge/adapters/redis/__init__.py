"""Redis: Pub/Sub and Streams: `type = "redis"`."""

from bridge.adapters.redis.adapter import SPEC

__all__ = ["SPEC"]
