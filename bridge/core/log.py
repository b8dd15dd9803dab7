"""Import structlog for the whole bridge, without rich and greenlet: see `core.lean`."""

from bridge.core.lean import without

with without("greenlet", "rich"):
    import structlog

__all__ = ["structlog"]
