"""What a Python program on the bus uses to reach the bridge, and through it the integrations.

`BusClient` is its place on the bus; `RpcClient`, `PubSubClient` and `QueueClient` speak to one integration each way.
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
