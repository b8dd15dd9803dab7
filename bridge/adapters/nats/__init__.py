"""NATS: core and JetStream: `type = "nats"`."""

from bridge.core.lean import by_module

by_module("nats", "nats.aio", "nats.js", "nats.micro")
from bridge.adapters.nats.adapter import SPEC  # noqa: E402 - it imports modules of nats-py

__all__ = ["SPEC"]
