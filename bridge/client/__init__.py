"""What a Python program on the bus uses to reach the bridge."""

from bridge.client.bus import BusClient
from bridge.client.rpc import CallFailedError, RpcClient

__all__ = ["BusClient", "CallFailedError", "RpcClient"]
