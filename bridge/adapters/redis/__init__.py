"""Redis: Pub/Sub and Streams: `type = "redis"`."""

from bridge.adapters.redis.spec import SPEC

__all__ = ["SPEC"]
