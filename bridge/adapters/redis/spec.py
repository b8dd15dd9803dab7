"""Describes Redis as a protocol of the bridge, and creates its sessions: with one server, or with a cluster."""

from typing import Final

from bridge.adapters.redis.adapter import RedisAdapter
from bridge.adapters.redis.cluster import RedisClusterAdapter
from bridge.adapters.redis.config import RedisConfig
from bridge.adapters.redis.names import check_names, comes_back
from bridge.adapters.redis.target import SCHEMES, addressing, targets
from bridge.core.ports import AdapterSetup, AdapterSpec, ProtocolAdapter
from bridge.core.wildcards import Wildcards


def _create(setup: AdapterSetup) -> ProtocolAdapter:
    config = setup.config if isinstance(setup.config, RedisConfig) else RedisConfig()
    if config.cluster is False:
        return RedisAdapter(setup)
    if config.sentinel is not None:
        raise ValueError("config: `sentinel` and `cluster` exclude each other")
    seeds = targets(setup, config)
    if seeds[0].db:
        raise ValueError("a cluster has the database 0 only")
    return RedisClusterAdapter(setup, seeds)


SPEC: Final = AdapterSpec(
    protocol="redis",
    summary="Redis: channels and patterns of Pub/Sub, queues on Streams",
    operations=frozenset({"publish", "subscribe", "unsubscribe", "enqueue", "dequeue", "ack", "nack"}),
    auth=frozenset({"none", "basic", "certificate"}),
    config=RedisConfig,
    schemes=SCHEMES,
    acknowledges=frozenset({"consume"}),
    create=_create,
    side_by_side=True,
    addressing=addressing,
    check_names=check_names,
    comes_back=comes_back,
    wildcards=Wildcards("", "*", "*"),
)
