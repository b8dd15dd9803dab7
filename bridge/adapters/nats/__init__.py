"""NATS: core and JetStream: `type = "nats"`."""

from bridge.adapters.nats.adapter import SPEC

__all__ = ["SPEC"]
