"""Import structlog for the whole bridge, without rich: see `core.lean`."""

from bridge.core.lean import without

with without("rich"):
    import structlog

__all__ = ["structlog"]
