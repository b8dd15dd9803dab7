"""MQTT 3.1.1 and 5: `type = "mqtt"`."""

from bridge.adapters.mqtt.adapter import SPEC

__all__ = ["SPEC"]
