"""The bus: a client of it, its broker, the codec of its events."""

from bridge.bus.address import default_publish, default_subscribe, parse_endpoint
from bridge.bus.broker.broker import Broker
from bridge.bus.broker.curve import CurveClient, CurveServer, new_pair
from bridge.bus.bus import Bus
from bridge.bus.codec import Codec
from bridge.bus.recording import encode_event, read_events
from bridge.bus.rejection import Limits, Reason, Rejected
from bridge.bus.stats import BusStats
from bridge.bus.transport import Transport, TransportEvents

__all__ = [
    "Broker",
    "Bus",
    "BusStats",
    "Codec",
    "CurveClient",
    "CurveServer",
    "Limits",
    "Reason",
    "Rejected",
    "Transport",
    "TransportEvents",
    "default_publish",
    "default_subscribe",
    "encode_event",
    "new_pair",
    "parse_endpoint",
    "read_events",
]
