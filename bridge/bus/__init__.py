"""All of ZeroMQ: broker, sockets, codec, filters."""

from bridge.bus.address import default_publish, default_subscribe, parse_endpoint
from bridge.bus.broker import Broker
from bridge.bus.bus import Bus, BusStats
from bridge.bus.codec import Codec
from bridge.bus.event_type import check_event_type
from bridge.bus.filters import (
    AllOf,
    AnyOf,
    Exact,
    Filter,
    Glob,
    Not,
    Prefix,
    Source,
    parse_pattern,
    subscription_prefix,
)
from bridge.bus.rejection import Limits, Reason, Rejected

__all__ = [
    "AllOf",
    "AnyOf",
    "Broker",
    "Bus",
    "BusStats",
    "Codec",
    "Exact",
    "Filter",
    "Glob",
    "Limits",
    "Not",
    "Prefix",
    "Reason",
    "Rejected",
    "Source",
    "check_event_type",
    "default_publish",
    "default_subscribe",
    "parse_endpoint",
    "parse_pattern",
    "subscription_prefix",
]
