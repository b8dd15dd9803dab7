"""Turn HCL text into a checked, typed configuration; each diagnostic names file and line."""

from bridge.config.expressions import Expression, Literal, Scope
from bridge.config.functions import FUNCTIONS
from bridge.config.loader import load
from bridge.config.models import (
    BridgeSettings,
    BusSettings,
    Configuration,
    CurveSettings,
    FabricSettings,
    Integration,
    LogSettings,
    Route,
    SubscriptionSettings,
)
from bridge.config.show import masked, show
from bridge.core.diagnostic import Location

__all__ = [
    "FUNCTIONS",
    "BridgeSettings",
    "BusSettings",
    "Configuration",
    "CurveSettings",
    "Expression",
    "FabricSettings",
    "Integration",
    "Literal",
    "Location",
    "LogSettings",
    "Route",
    "Scope",
    "SubscriptionSettings",
    "load",
    "masked",
    "show",
]
