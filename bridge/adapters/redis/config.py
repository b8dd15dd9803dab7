"""The settings in the `config { … }` block of a Redis integration."""

from typing import Annotated

from pydantic import Field

from bridge.adapters._common.content import CodecName
from bridge.core.endpoint import Strict
from bridge.core.units import PositiveDuration


class RedisConfig(Strict):
    """`config { … }` of a Redis integration."""

    codec: Annotated[
        CodecName,
        Field(
            description="How messages become bytes and back. `auto` writes text as text and all else as JSON, and "
            "reads JSON, else UTF-8 text, else bytes."
        ),
    ] = "auto"
    db: Annotated[
        int | None, Field(ge=0, description="The number of the database. Default: the one in the address, else 0.")
    ] = None
    group: Annotated[
        str,
        Field(
            min_length=1,
            pattern="^[^/]+$",
            description="The consumer group of streams. Sidecars of one group share the entries.",
        ),
    ] = "nemo"
    consumer: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The name of this sidecar in the group. Each sidecar needs its own, and keeps it over "
            "restarts. Default: `nemo-<host>-<integration>`.",
        ),
    ] = None
    sentinel: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The name of a master. The endpoint is then a Sentinel (port 26379, without credentials), "
            "which is asked at each connection where that master is. `auth` is for the master.",
        ),
    ] = None
    sentinels: Annotated[
        tuple[str, ...],
        Field(
            description='More Sentinels as `"host:port"`, which are asked if the first one does not answer. Those that '
            "a Sentinel names are remembered, too."
        ),
    ] = ()
    cluster: Annotated[
        bool | tuple[str, ...],
        Field(
            description="Whether the endpoint is a node of a cluster, which says where the others are: `true`, or a "
            'list of more nodes as `"host:port"`. Dead letters are then in `{<queue>}:dead`, on the node of their '
            "queue."
        ),
    ] = False
    max_length: Annotated[
        int | None,
        Field(
            gt=0,
            description="About how many entries a stream keeps that this integration writes to. What a group has not "
            "yet read and acknowledged is always kept. It needs the right to `EVAL`. Default: all.",
        ),
    ] = None
    claim_after: Annotated[
        PositiveDuration,
        Field(
            description="An entry that its consumer has not acknowledged for so long is delivered again, to any "
            "consumer of the group."
        ),
    ] = 60.0
    max_deliveries: Annotated[
        int | None,
        Field(
            gt=0, description="After so many deliveries an entry is moved to the stream `<queue>:dead`. Default: never."
        ),
    ] = None
