"""Integrations that other nodes of a fabric offer: what `use` of a `fabric` block names."""

from typing import Annotated, Final

from pydantic import Field

from bridge.core.endpoint import Strict
from bridge.core.fabric import USED
from bridge.core.ports import AdapterSetup, AdapterSpec, ProtocolAdapter


class FabricUse(Strict):
    """`config { … }` of such an integration, which the configuration makes of a `fabric` block."""

    fabric: Annotated[str, Field(description="Label of the fabric.")]
    integration: Annotated[str, Field(description="Label of the integration at the nodes that offer it.")]


def _create(setup: AdapterSetup) -> ProtocolAdapter:
    from bridge.adapters.fabric.adapter import FabricAdapter  # noqa: PLC0415 - the configuration needs only the spec

    return FabricAdapter(setup)


SPEC: Final = AdapterSpec(
    protocol=USED,
    summary="integrations that other nodes of a fabric offer",
    operations=frozenset({"request", "publish", "enqueue"}),
    auth=frozenset({"none"}),
    config=FabricUse,
    schemes={},
    create=_create,
    has_session=False,
    needs_endpoint=False,
    side_by_side=True,
    sees_operations=True,
)
