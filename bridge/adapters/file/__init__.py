"""Files below one folder: `type = "file"`."""

from bridge.adapters.file.adapter import SPEC

__all__ = ["SPEC"]
