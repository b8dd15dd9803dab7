"""The settings in the `config { … }` block of a Redis integration."""

from typing import Annotated

from pydantic import Field

from bridge.adapters._common.content import CodecName
from bridge.core.endpoint import Strict
from bridge.core.units import PositiveDuration


class RedisConfig(Strict):
    """`config { … }` of a Redis integration."""

    codec: Annotated[CodecName, Field(description="how messages are written and read")] = "auto"
    db: Annotated[int | None, Field(ge=0, description="number of the database; 0 unless the address names one")] = None
    group: Annotated[
        str, Field(min_length=1, pattern="^[^/]+$", description="consumer group, shared among sidecars")
    ] = "nemo"
    consumer: Annotated[
        str | None,
        Field(
            min_length=1,
            description="this sidecar's name in the group; each needs its own, and keeps it over restarts. "
            "Default: nemo-<host>-<integration>",
        ),
    ] = None
    sentinel: Annotated[
        str | None,
        Field(
            min_length=1,
            description="name of a master: the endpoint is then a Sentinel (port 26379, without credentials), which is "
            "asked at each connection where that master is; `auth` is for the master",
        ),
    ] = None
    sentinels: Annotated[
        tuple[str, ...],
        Field(
            description="more Sentinels as host:port, which are asked where the first one does not answer; those that "
            "a Sentinel names are remembered, too"
        ),
    ] = ()
    cluster: Annotated[
        bool | tuple[str, ...],
        Field(
            description="true, or a list of more nodes as host:port: the endpoint is a node of a cluster, which says "
            "where the others are. Dead letters are then in {<queue>}:dead, on the node of their queue"
        ),
    ] = False
    max_length: Annotated[
        int | None,
        Field(
            gt=0,
            description="about how many entries a stream keeps that this integration writes to. "
            "What a group has not yet read and acknowledged is always kept; needs the right to EVAL",
        ),
    ] = None
    claim_after: Annotated[
        PositiveDuration,
        Field(description="an entry that its consumer has not acknowledged for so long is delivered again, to anybody"),
    ] = 60.0
    max_deliveries: Annotated[
        int | None,
        Field(gt=0, description="an entry delivered so often goes to the stream <queue>:dead; default: never"),
    ] = None
