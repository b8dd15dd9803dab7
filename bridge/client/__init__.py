"""Connect a Python program to the bus, and through the bridge to its integrations.

`BusClient` is the connection to the bus; `RpcClient`, `PubSubClient` and `QueueClient` each use one integration.
"""

from bridge.bus import CurveClient
from bridge.client.bus import BusClient
from bridge.client.errors import CallFailedError, ClosedError
from bridge.client.listener import Listener
from bridge.client.pubsub import PubSubClient
from bridge.client.queue import QueueClient, QueueMessage
from bridge.client.rpc import RpcClient
from bridge.client.subscription import Message, Subscription

__all__ = [
    "BusClient",
    "CallFailedError",
    "ClosedError",
    "CurveClient",
    "Listener",
    "Message",
    "PubSubClient",
    "QueueClient",
    "QueueMessage",
    "RpcClient",
    "Subscription",
]
