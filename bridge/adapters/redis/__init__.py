"""Redis: Pub/Sub and Streams: `type = "redis"`."""

from bridge.core.lean import by_module

by_module("redis", "redis.asyncio")
from bridge.adapters.redis.spec import SPEC  # noqa: E402 - it imports modules of redis-py

__all__ = ["SPEC"]
