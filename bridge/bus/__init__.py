"""All of ZeroMQ: broker, sockets, codec, filters."""

from bridge.bus.address import default_publish, default_subscribe, parse_endpoint
from bridge.bus.broker import Broker
from bridge.bus.bus import Bus, BusStats
from bridge.bus.codec import Codec
from bridge.bus.recording import read_events, write_event
from bridge.bus.rejection import Limits, Reason, Rejected

__all__ = [
    "Broker",
    "Bus",
    "BusStats",
    "Codec",
    "Limits",
    "Reason",
    "Rejected",
    "default_publish",
    "default_subscribe",
    "parse_endpoint",
    "read_events",
    "write_event",
]
