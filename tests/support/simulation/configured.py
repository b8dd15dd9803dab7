"""Configurations for simulations, from HCL text."""

from pathlib import Path

from bridge.config import Configuration, load
from bridge.registry import AdapterRegistry

#: A JSON-RPC integration with a durable route.
SHOP = """
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:1/rpc"
  }
}
route "orders" {
  on          = ["order.created"]
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params      = event.payload
  emit        = "order.confirmed"
  delivery    = "at_least_once"
  receipts    = true
}
"""
#: An MQTT integration with a subscription.
BROKER = """
integration "events" {
  type = "mqtt"
  endpoint {
    url = "mqtt://127.0.0.1:1"
  }
}
subscription "metrics" {
  integration = "events"
  topic       = "metrics/#"
  emit        = "data.metrics"
}
"""


def configured(folder: Path, text: str) -> Configuration:
    """Read a configuration that is written into a file of this folder."""
    file = folder / "simulated.hcl"
    file.write_text(text, "utf-8")
    return load([file], adapters=AdapterRegistry(), environ={})
