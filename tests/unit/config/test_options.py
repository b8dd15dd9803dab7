"""What the models say of each key, for the reference, `nemo-bridge adapters` and the schema."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr

from bridge.config.case_models import CaseBlock
from bridge.config.models import (
    AUTH_MODELS,
    BridgeSettings,
    BusSettings,
    FabricBlock,
    LogSettings,
    RouteBlock,
    SubscriptionBlock,
    VariableBlock,
)
from bridge.config.options import options, summary
from bridge.core.endpoint import Endpoint, Strict, Tls
from bridge.core.settings import HealthSettings, ResilienceSettings
from bridge.core.units import Duration, PositiveDuration, Rate, Size
from bridge.registry import AdapterRegistry

ADAPTERS = AdapterRegistry(bundled=True)
ROOTS: list[type[BaseModel]] = [
    *(BridgeSettings, BusSettings, LogSettings, RouteBlock, SubscriptionBlock, FabricBlock, VariableBlock),
    CaseBlock,
    *(Endpoint, Tls, HealthSettings, ResilienceSettings, *AUTH_MODELS.values()),
    *(ADAPTERS[name].config for name in ADAPTERS),
]


def blocks(roots: list[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """These models and those of all blocks within them."""
    for model in roots:
        yield model
        yield from blocks([key.block for key in options(model) if key.block is not None])


@pytest.mark.parametrize("model", dict.fromkeys(blocks(ROOTS)), ids=lambda model: model.__name__)
def test_every_key_is_described(model: type[BaseModel]):
    """Each key of each block has a description in whole sentences, and each block says what it is for."""
    for key in options(model):
        assert re.fullmatch(r"[A-Z`].{14,}\.", key.description), f"{model.__name__}.{key.name}: {key.description!r}"
    assert summary(model).endswith(".")


class Inner(Strict):
    """`inner { … }`: a block."""


class Every(Strict):
    """One key of each kind."""

    wait: Duration = 90.0
    limit: Annotated[PositiveDuration | None, Field(le=60)] = None
    room: Annotated[Size, Field(ge=4096)] = 1 << 20
    rate: Rate | None = 5.0
    count: Annotated[int | None, Field(gt=0)] = None
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    way: Literal["a", "b"] = "a"
    flag: bool = True
    file: Path | None = None
    token: SecretStr
    names: tuple[str, ...] = ()
    cluster: bool | tuple[str, ...] = False
    values: dict[str, Any] | None = None
    inner: Inner = Inner()
    more: Annotated[dict[str, Inner], Field(default_factory=dict)]
    several: tuple[Inner, ...] = ()
    maps: Annotated[list[Inner], Field(default_factory=list)]
    any: Any = None


def test_types_and_defaults_as_a_file_writes_them():
    """Each kind of key has its type in words, with its limits, and its default in the notation of a file."""
    assert {key.name: (key.kind, key.default, key.required) for key in options(Every)} == {
        "wait": ("duration, 0s or more", '"90s"', False),
        "limit": ("duration, at most 60s", None, False),
        "room": ("size, 4KiB or more", '"1MiB"', False),
        "rate": ("rate", '"5/s"', False),
        "count": ("whole number, 1 or more", None, False),
        "share": ("number, 0 to 1", "0.5", False),
        "way": ('`"a"` or `"b"`', '"a"', False),
        "flag": ("true or false", "true", False),
        "file": ("path", None, False),
        "token": ("text, secret", None, True),
        "names": ("list of text", None, False),
        "cluster": ("true or false or list of text", "false", False),
        "values": ("map", None, False),
        "inner": ("block", None, False),
        "more": ("blocks with a label", None, False),
        "several": ("blocks", None, False),
        "maps": ("list of maps", None, False),
        "any": ("any value", None, False),
    }
    assert summary(Inner) == "A block."
