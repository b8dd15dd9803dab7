"""HCL text to checked, typed configuration, with file and line in every complaint."""

from bridge.config.diagnostics import Where
from bridge.config.expressions import Expression, Literal, Scope
from bridge.config.functions import FUNCTIONS
from bridge.config.grammar import forget
from bridge.config.loader import load
from bridge.config.models import (
    AdapterProvider,
    BridgeSettings,
    BusSettings,
    Configuration,
    CurveSettings,
    Integration,
    LogSettings,
    Route,
    SubscriptionSettings,
)
from bridge.config.schema import schema
from bridge.config.show import masked, show

__all__ = [
    "FUNCTIONS",
    "AdapterProvider",
    "BridgeSettings",
    "BusSettings",
    "Configuration",
    "CurveSettings",
    "Expression",
    "Integration",
    "Literal",
    "LogSettings",
    "Route",
    "Scope",
    "SubscriptionSettings",
    "Where",
    "forget",
    "load",
    "masked",
    "schema",
    "show",
]
